"""Acknowledgements of clients, wherever they are connected."""
import threading
from typing import Any, Callable

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.protocol.messages import BroadcastAck, \
    BroadcastClientCount, MessageType

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..conftest import Log
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import messages, Pair

MakeManager = Callable[..., RedisStreamsManager]


@pytest.mark.parametrize('own', [True, False])
@pytest.mark.parametrize('args', [(), ('yes',), ('yes', {'two': b'x'}, 3)])
def test_callback_gets_acknowledgement(pair: Pair, log: Log, own: bool,
                                       args: Any) -> None:
    client = pair.a.connect() if own else pair.b.connect()
    pair.a.server.emit('question', 'x', to=client.sid,
                       callback=lambda *got: log(got))
    client.wait_for('question')
    client.acknowledge(client.events()[-1], *args)
    wait_for_value(lambda: log.calls, [args])
    # Nothing waits for it any more.
    assert len(pair.a.manager._live().node._requests) == 0


def test_callback_of_room_is_called_for_each_client(
        pair: Pair, log: Log) -> None:
    clients = [*pair.connect(), *pair.connect()]
    pair.a.server.emit('question', callback=log)
    for number, client in enumerate(clients):
        client.wait_for('question')
        client.acknowledge(client.events()[-1], number)
    wait_for_value(lambda: sorted(log.calls), [0, 1, 2, 3])
    wait_for_value(lambda: len(pair.a.manager._live().node._requests), 0)


def test_slow_callback_blocks_nothing(pair: Pair, log: Log) -> None:
    """Other callbacks run, and entries are read."""
    clients = [pair.b.connect(), pair.b.connect()]
    both = threading.Barrier(2)

    def callback(answer: int) -> None:
        both.wait(DEADLINE)
        log(answer)

    pair.a.server.emit('question', callback=callback)
    for number, client in enumerate(clients):
        client.wait_for('question')
        client.acknowledge(client.events()[-1], number)
    wait_for_value(lambda: sorted(log.calls), [0, 1])


def test_call_returns_acknowledgement(pair: Pair) -> None:
    client = pair.b.connect()

    def answer() -> None:
        client.wait_for('question')
        client.acknowledge(client.events()[-1], 'a', 'b')

    thread = threading.Thread(target=answer)
    thread.start()
    assert pair.a.server.call('question', to=client.sid,
                              timeout=DEADLINE) == ('a', 'b')
    thread.join()


def test_call_of_local_client_needs_no_other_server(
        pair: Pair, stream: FakeStream) -> None:
    """No other server is asked, so none is waited for."""
    client = pair.a.connect()

    def answer() -> None:
        client.wait_for('question')
        client.acknowledge(client.events()[-1], 'a', 'b')

    thread = threading.Thread(target=answer)
    thread.start()
    assert pair.a.manager.emit_with_ack(
        'question', to=client.sid, timeout=DEADLINE) == [('a', 'b')]
    thread.join()
    assert messages(stream, MessageType.BROADCAST) == []


def test_answers_are_counts_and_acknowledgements(
        pair: Pair, stream: FakeStream) -> None:
    client = pair.b.connect()
    pair.a.server.emit('question', callback=print)
    client.wait_for('question')
    client.acknowledge(client.events()[-1], 'yes')
    wait_until(lambda: len(messages(stream)) == 3)
    broadcast, count, answer = messages(stream)
    assert count == BroadcastClientCount(broadcast.request_id, 1)
    assert answer == BroadcastAck(broadcast.request_id, ('yes',))


def test_a_callback_without_clients(pair: Pair, stream: FakeStream) -> None:
    pair.a.server.emit('question', to='nobody', callback=print)
    wait_until(lambda: messages(stream, MessageType.BROADCAST_CLIENT_COUNT))
    wait_for_value(lambda: len(pair.a.manager._live().node._requests), 0)


def test_callbacks_need_a_reader(make_manager: MakeManager) -> None:
    for manager in (make_manager(write_only=True), make_manager()):
        with pytest.raises(RuntimeError, match='[Cc]allback'):
            manager.emit('question', None, room='x', callback=print)
    # A member without a server does.
    member = make_manager()
    member.start()
    member.emit('question', None, room='x', callback=print)


@pytest.mark.filterwarnings(
    'ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_failing_callback_is_logged(pair: Pair, log: Log) -> None:
    """The error stays in the task that calls it."""
    client = pair.b.connect()

    def fail(*args: Any) -> None:
        log(*args)
        raise ValueError

    for number in range(2):
        pair.a.server.emit('question', to=client.sid, callback=fail)
        client.wait_for('question', number + 1)
        client.acknowledge(client.events()[-1], number)
        wait_until(lambda: len(log.calls) == number + 1)
    assert pair.a.manager.health()['status'] == 'ok'
