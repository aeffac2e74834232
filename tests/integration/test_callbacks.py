"""Callbacks and calls, for clients of any node."""
import threading
from typing import Any, Callable, List, Tuple

import pytest

from ..support.client import Client
from ..support.json_values import Callback
from ..support.node_process import RemoteError
from ..support.wait import wait_until
from .conftest import Cluster

Connect = Callable[..., Client]
Unique = Callable[[str], str]

#: The arguments of acknowledgements.
ARGUMENTS: List[Tuple[Any, ...]] = [
    (), ('one',), (None,), (1, 'two', [3]), (b'\x00\xff', {'b': b'\x01'}),
    ({'nested': [None, 'ü']}, None)]


def wait_for_call(node: Any, tag: str) -> List[Tuple[Any, ...]]:
    """Wait until a callback was called; return all its calls."""
    return wait_until(lambda: node.recorded(tag), what=f'callback {tag}')


@pytest.mark.parametrize('args', ARGUMENTS, ids=repr)
@pytest.mark.parametrize('target', [0, 1], ids=['own', 'remote'])
def test_callback(cluster: Cluster, connect: Connect, unique: Unique,
                  target: int, args: Tuple[Any, ...]) -> None:
    client = connect(cluster[target])
    event, tag = unique('event'), unique('callback')
    client.answer(event, *args)
    cluster.a.emit(event, ('a', 1), to=client.sid, callback=Callback(tag))
    assert wait_for_call(cluster.a, tag) == [args]
    assert client.received(event) == [('a', 1)]


@pytest.mark.parametrize('args, expected', [
    ((), None), (('one',), 'one'), ((1, b'two'), (1, b'two'))])
def test_call(cluster: Cluster, connect: Connect, unique: Unique,
              args: Tuple[Any, ...], expected: Any) -> None:
    client, event = connect(cluster.b), unique('event')
    client.answer(event, *args)
    for node in cluster:
        answer = node.call(event, 'question', to=client.sid)
        # A tuple may arrive as a list.
        if isinstance(answer, list):
            answer = tuple(answer)
        assert answer == expected
    assert client.received(event) == [('question',)] * 3


def test_call_in_a_namespace(cluster: Cluster, connect: Connect,
                             unique: Unique) -> None:
    client, event = connect(cluster.c, '/chat'), unique('event')
    client.answer(event, 'yes')
    assert cluster.a.call(event, to=client.sid, namespace='/chat') == 'yes'


def test_call_from_an_event_handler(cluster: Cluster, connect: Connect,
                                    unique: Unique) -> None:
    """A handler waits for a client of another node, and does not block the
    task that delivers the answer."""
    asking, asked = connect(cluster.a), connect(cluster.b)
    event = unique('event')
    asked.answer(event, 'yes')
    answer = asking.call('invoke', 'server', 'call', [event],
                         {'to': asked.sid, 'timeout': 10})
    assert answer == 'yes'


def test_call_without_answer(cluster: Cluster, connect: Connect,
                             unique: Unique) -> None:
    client, event = connect(cluster.b), unique('event')
    client.never_answer(event)
    with pytest.raises(RemoteError) as info:
        cluster.a.call(event, to=client.sid, timeout=0.2)
    assert info.value.types[0] == 'TimeoutError'
    assert client.received(event) == [()]


def test_call_of_unknown_client(cluster: Cluster, unique: Unique) -> None:
    with pytest.raises(RemoteError) as info:
        cluster.a.call(unique('event'), to=unique('sid'), timeout=0.2)
    assert info.value.types[0] == 'TimeoutError'


def test_late_answer(cluster: Cluster, connect: Connect,
                     unique: Unique) -> None:
    """An answer after the timeout is ignored."""
    client = connect(cluster.b)
    late, prompt = unique('late'), unique('prompt')
    released = threading.Event()
    client.answer_with(late, lambda *args: released.wait(10) and 'late')
    client.answer(prompt, 'prompt')
    with pytest.raises(RemoteError):
        cluster.a.call(late, to=client.sid, timeout=0.2)
    released.set()
    assert cluster.a.call(prompt, to=client.sid) == 'prompt'


def test_many_calls_at_once(cluster: Cluster, connect: Connect,
                            unique: Unique) -> None:
    """Every answer reaches its own call."""
    clients = [connect(node) for node in cluster]
    event = unique('event')
    for number, client in enumerate(clients):
        client.answer_with(event, lambda question, number=number:
                           f'{question} to {number}')
    answers = {}

    def ask(question: int) -> None:
        target = question % 3
        answers[question] = cluster.a.call(
            event, question, to=clients[target].sid)

    threads = [threading.Thread(target=ask, args=(question,))
               for question in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {question: f'{question} to {question % 3}'
                       for question in range(24)}


def test_each_callback_is_called_once(cluster: Cluster, connect: Connect,
                                      unique: Unique) -> None:
    client = connect(cluster.b)
    event, tags = unique('event'), [unique('callback') for _ in range(10)]
    client.answer_with(event, lambda number: number)
    for number, tag in enumerate(tags):
        cluster.a.emit(event, number, to=client.sid, callback=Callback(tag))
    for number, tag in enumerate(tags):
        wait_for_call(cluster.a, tag)
    # A second call would have happened before this one's.
    client.answer(event, 'last')
    cluster.a.call(event, 0, to=client.sid)
    assert [cluster.a.recorded(tag) for tag in tags] == [
        [(number,)] for number in range(10)]


def test_callback_that_raises(cluster: Cluster, connect: Connect,
                              unique: Unique) -> None:
    """An exception of the application's affects only its own callback."""
    client, event = connect(cluster.b), unique('event')
    client.answer(event, 'yes')
    tag = unique('raise')
    cluster.a.emit(event, to=client.sid, callback=Callback(tag))
    assert wait_for_call(cluster.a, tag) == [('yes',)]
    assert cluster.a.call(event, to=client.sid) == 'yes'


def test_callback_that_emits(cluster: Cluster, connect: Connect,
                             unique: Unique) -> None:
    client, event = connect(cluster.b), unique('event')
    client.answer(event, 'yes')
    assert client.call('invoke', 'server', 'emit', [event], {}) is None
    client.wait_for(event)
