"""Events that clients acknowledge, asked by a server of either language."""
import random
from collections import Counter
from typing import Any, Callable, List

import pytest

from ..support.client import Client, Listener
from ..support.json_values import Callback
from ..support.node_process import RemoteError
from ..support.wait import wait_for_value
from .helpers import Asking, LANGUAGES, Unique

Connect = Callable[..., Client]

#: One for each client; what the fourth says is random and large.
ANSWERS: List[Any] = ['Zoë 🎉', {'a': [1, None, b'\x00\xff']}, 0.5,
                      random.Random(2).randbytes(1_000_000)]


def let_answer(asking: Asking, event: str) -> List[Listener]:
    """Have each client acknowledge an event with an answer of its own."""
    clients: List[Any] = [asking.client_of[server.name]
                          for server in asking.servers]
    for client, answer in zip(clients, ANSWERS):
        client.answer(event, answer)
    return list(clients)


def counted(values: List[Any]) -> Counter:
    """In no order, but each as often as it is there."""
    return Counter(map(repr, values))


@pytest.mark.parametrize('namespace', ['/', '/chat'])
@pytest.mark.parametrize('language', LANGUAGES)
def test_of_all(asking: Asking, unique: Unique, language: str,
                namespace: str) -> None:
    event = unique('event')
    clients = let_answer(asking, event)
    answers = asking.asker(language).emit_with_ack(
        event, ('question', b'\x00'), namespace=namespace)
    assert counted(answers) == counted(ANSWERS)
    assert [client.received(event) for client in clients] == [
        [('question', b'\x00')]] * len(clients)


@pytest.mark.parametrize('language', LANGUAGES)
def test_of_one(asking: Asking, unique: Unique, language: str) -> None:
    event = unique('event')
    clients = let_answer(asking, event)
    for client, answer in zip(clients, ANSWERS):
        assert asking.asker(language).emit_with_ack(
            event, to=client.sid) == [answer]
    assert [client.count(event) for client in clients] == [1] * len(clients)


@pytest.mark.parametrize('language', LANGUAGES)
def test_of_some(asking: Asking, unique: Unique, language: str) -> None:
    event, room = unique('event'), unique('room')
    clients = let_answer(asking, event)
    asker = asking.asker(language)
    asking.join(asker, room, clients[1:])
    answers = asker.emit_with_ack(event, to=room, skip_sid=clients[2].sid)
    assert counted(answers) == counted([ANSWERS[1], ANSWERS[3]])
    assert asker.emit_with_ack(event, to=unique('room')) == []
    assert [client.count(event) for client in clients] == [0, 1, 0, 1]


@pytest.mark.parametrize('language', LANGUAGES)
def test_answers_with_nothing_and_with_several(
        asking: Asking, unique: Unique, connect: Connect,
        language: str) -> None:
    """Python has all arguments of the clients of its own kind; the protocol
    of Node.js has room for the first."""
    asker = asking.asker(language)
    nothing, several = unique('nothing'), unique('several')
    for server in asking.servers:
        client = connect(server)
        client.answer(several, 'first', 'second')
        from_node = server in (asking.js, asking.other_js)
        assert asker.emit_with_ack(nothing, to=client.sid) == [None]
        assert asker.emit_with_ack(several, to=client.sid) == [
            'first' if from_node or language == 'JavaScript'
            else ('first', 'second')]


@pytest.mark.parametrize('language', LANGUAGES)
def test_who_does_not_answer(asking: Asking, unique: Unique,
                             language: str) -> None:
    """The wait ends, and tells what the others have answered."""
    event = unique('event')
    clients: List[Any] = let_answer(asking, event)
    asker = asking.asker(language)
    silent = asking.other_js if language == 'Python' else asking.other_python
    asking.client_of[silent.name].never_answer(event)  # type: ignore
    with pytest.raises(RemoteError) as info:
        asker.emit_with_ack(event, timeout=2.0)
    answers = [answer for server, answer in zip(asking.servers, ANSWERS)
               if server is not silent]
    assert counted(info.value.responses) == counted(answers)
    if language == 'Python':
        assert info.value.types[0] == 'ClusterTimeoutError'
        assert 'only 3 responses received out of 4' in info.value.text
    assert [client.count(event) for client in clients] == [1] * len(clients)


def test_callback(asking: Asking, unique: Unique) -> None:
    """python-socketio's own way of asking, of the clients of all."""
    event, tag = unique('event'), unique('calls')
    let_answer(asking, event)
    asking.python.emit(event, 'question', callback=Callback(tag))
    wait_for_value(lambda: counted(
        [answer for answer, in asking.python.recorded(tag)]),
        counted(ANSWERS), what='the answers')


def test_call(asking: Asking, unique: Unique) -> None:
    """``Server.call`` of one client of each server."""
    event = unique('event')
    for client, answer in zip(let_answer(asking, event), ANSWERS):
        assert asking.python.call(event, 'question', to=client.sid) == answer
