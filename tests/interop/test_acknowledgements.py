"""Events that clients acknowledge, emitted by a server in either language."""
import random
from collections import Counter
from typing import Any, Callable, List

import pytest

from ..support.client import Client, Listener
from ..support.json_values import Callback
from ..support.node_process import RemoteError
from ..support.wait import wait_for_value
from .helpers import Cluster, LANGUAGES, Unique

Connect = Callable[..., Client]

#: One for each client. The fourth is random and large.
ANSWERS: List[Any] = ['Zoë 🎉', {'a': [1, None, b'\x00\xff']}, 0.5,
                      random.Random(2).randbytes(1_000_000)]


def set_answers(cluster: Cluster, event: str) -> List[Listener]:
    """Let each client acknowledge an event with another answer."""
    clients: List[Any] = [cluster.client_of[server.name]
                          for server in cluster.servers]
    for client, answer in zip(clients, ANSWERS):
        client.answer(event, answer)
    return list(clients)


def as_counter(values: List[Any]) -> Counter:
    """The values in any order, with how often each of them occurs."""
    return Counter(map(repr, values))


@pytest.mark.parametrize('namespace', ['/', '/chat'])
@pytest.mark.parametrize('language', LANGUAGES)
def test_all_clients_answer(cluster: Cluster, unique: Unique, language: str,
                            namespace: str) -> None:
    event = unique('event')
    clients = set_answers(cluster, event)
    answers = cluster.in_language(language).emit_with_ack(
        event, ('question', b'\x00'), namespace=namespace)
    assert as_counter(answers) == as_counter(ANSWERS)
    assert [client.received(event) for client in clients] == [
        [('question', b'\x00')]] * len(clients)


@pytest.mark.parametrize('language', LANGUAGES)
def test_one_client_answers(cluster: Cluster, unique: Unique,
                            language: str) -> None:
    event = unique('event')
    clients = set_answers(cluster, event)
    for client, answer in zip(clients, ANSWERS):
        assert cluster.in_language(language).emit_with_ack(
            event, to=client.sid) == [answer]
    assert [client.count(event) for client in clients] == [1] * len(clients)


@pytest.mark.parametrize('language', LANGUAGES)
def test_clients_in_a_room_answer(cluster: Cluster, unique: Unique,
                                  language: str) -> None:
    event, room = unique('event'), unique('room')
    clients = set_answers(cluster, event)
    requester = cluster.in_language(language)
    cluster.join(requester, room, clients[1:])
    answers = requester.emit_with_ack(event, to=room, skip_sid=clients[2].sid)
    assert as_counter(answers) == as_counter([ANSWERS[1], ANSWERS[3]])
    assert requester.emit_with_ack(event, to=unique('room')) == []
    assert [client.count(event) for client in clients] == [0, 1, 0, 1]


@pytest.mark.parametrize('language', LANGUAGES)
def test_answers_without_and_with_several_arguments(
        cluster: Cluster, unique: Unique, connect: Connect,
        language: str) -> None:
    """Servers in Python return all arguments that clients of other servers
    in Python send. The protocol of Node.js has only the first."""
    requester = cluster.in_language(language)
    nothing, several = unique('nothing'), unique('several')
    for server in cluster.servers:
        client = connect(server)
        client.answer(several, 'first', 'second')
        from_node = server in (cluster.js, cluster.other_js)
        assert requester.emit_with_ack(nothing, to=client.sid) == [None]
        assert requester.emit_with_ack(several, to=client.sid) == [
            'first' if from_node or language == 'JavaScript'
            else ('first', 'second')]


@pytest.mark.parametrize('language', LANGUAGES)
def test_silent_client(cluster: Cluster, unique: Unique,
                       language: str) -> None:
    """The wait ends, and the error has the answers of the others."""
    event = unique('event')
    clients: List[Any] = set_answers(cluster, event)
    requester = cluster.in_language(language)
    silent = cluster.other_js if language == 'Python' else cluster.other_python
    cluster.client_of[silent.name].never_answer(event)  # type: ignore
    with pytest.raises(RemoteError) as info:
        requester.emit_with_ack(event, timeout=2.0)
    answers = [answer for server, answer in zip(cluster.servers, ANSWERS)
               if server is not silent]
    assert as_counter(info.value.responses) == as_counter(answers)
    if language == 'Python':
        assert info.value.types[0] == 'ClusterTimeoutError'
        assert 'only 3 responses received out of 4' in info.value.text
    assert [client.count(event) for client in clients] == [1] * len(clients)


def test_callback(cluster: Cluster, unique: Unique) -> None:
    """python-socketio's callback gets the answers of all servers' clients."""
    event, tag = unique('event'), unique('calls')
    set_answers(cluster, event)
    cluster.python.emit(event, 'question', callback=Callback(tag))
    wait_for_value(lambda: as_counter(
        [answer for answer, in cluster.python.recorded(tag)]),
        as_counter(ANSWERS), what='the answers')


def test_call(cluster: Cluster, unique: Unique) -> None:
    """``Server.call`` returns the answer of a client of any server."""
    event = unique('event')
    for client, answer in zip(set_answers(cluster, event), ANSWERS):
        assert cluster.python.call(event, 'question', to=client.sid) == answer
