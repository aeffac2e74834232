"""A process that only emits, and ``publish``."""
from typing import Callable

import pytest

from redis_streams_adapter import NotStoredError, RedisStreamsError, \
    RedisStreamsManager
from redis_streams_adapter.protocol.messages import Broadcast, EMITTER_UID, \
    MessageType

from ...support.wait import DEADLINE, wait_until
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import messages, Node, Pair

MakeManager = Callable[..., RedisStreamsManager]


def test_emitter_writes(make_manager: MakeManager, pair: Pair,
                        stream: FakeStream) -> None:
    emitter = make_manager(write_only=True)
    clients = pair.connect()
    emitter.emit('hello', b'x')
    # It returns when Redis has it.
    assert messages(stream, MessageType.BROADCAST) == [
        Broadcast(('hello', b'x'))]
    for client in clients:
        assert client.wait_for('hello') == [(b'x',)]
    emitter.enter_room(clients[0].sid, '/', 'x')
    emitter.close_room('x')
    emitter.disconnect(clients[1].sid, '/')
    wait_until(clients[1].was_disconnected)
    assert emitter.uid == EMITTER_UID
    for node in pair:
        assert node.manager.server_count() == 2


def test_emitter_refuses_cluster_calls(make_manager: MakeManager) -> None:
    emitter = make_manager(write_only=True)
    for call in (emitter.start, emitter.server_count):
        with pytest.raises(RuntimeError, match='write-only'):
            call()
    with emitter as entered:
        entered.emit('hello', None)


def test_background_emitter_flushes(make_manager: MakeManager,
                                    stream: FakeStream) -> None:
    emitter = make_manager(write_only=True, publish='background')
    stream.freeze()
    emitter.emit('hello', None)
    stream.thaw()
    assert emitter.flush(DEADLINE)


def test_emitter_keeps_messages_without_redis(
        make_manager: MakeManager, stream: FakeStream) -> None:
    stream.go_away()
    emitter = make_manager(write_only=True)
    for number in range(3):
        emitter.emit('hello', number)
    stream.come_back()
    assert emitter.flush(DEADLINE)
    assert [message.args[1] for message in messages(stream)] == [0, 1, 2]


def test_sync_emit_returns_with_message_in_stream(
        make_node: Callable[..., Node], stream: FakeStream) -> None:
    node = make_node(publish='sync')
    node.connect()
    for number in range(3):
        node.server.emit('hello', number)
        assert messages(stream)[-1].args[1] == number


def test_refused_message_raises(make_manager: MakeManager,
                                stream: FakeStream) -> None:
    emitter = make_manager(write_only=True)
    stream.refuses = lambda fields: b'too much' in fields[7]
    with pytest.raises(RedisStreamsError, match='refused'):
        emitter.emit('hello', 'too much')
    emitter.emit('hello', 'enough')
    assert emitter.stats()['refused'] == 1


# -- publish='confirmed' -----------------------------------------------------

def test_confirmed_emit_returns_with_message_in_stream(
        make_manager: MakeManager, stream: FakeStream) -> None:
    emitter = make_manager(write_only=True, publish='confirmed')
    for number in range(3):
        emitter.emit('hello', number)
        assert messages(stream)[-1].args[1] == number


@pytest.mark.parametrize('write_only', [True, False])
def test_confirmed_emit_raises_without_redis(
        make_manager: MakeManager, stream: FakeStream,
        write_only: bool) -> None:
    """The message waits all the same, once."""
    stream.go_away()
    emitter = make_manager(write_only=write_only, publish='confirmed')
    for number in range(2):
        with pytest.raises(NotStoredError) as caught:
            emitter.emit('hello', number)
        # The reason is the error of the connection.
        assert emitter.health()['last_error'] in str(caught.value)
    with pytest.raises(NotStoredError):
        emitter.enter_room('someone', '/', 'x')
    stream.come_back()
    assert emitter.flush(DEADLINE)
    assert [message.args[1] for message in messages(
        stream, MessageType.BROADCAST)] == [0, 1]


def test_confirmed_emit_raises_if_redis_is_frozen(
        make_manager: MakeManager, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    emitter = make_manager(write_only=True, publish='confirmed')
    channel, = emitter._live().channels
    monkeypatch.setattr(channel.writer._waiters, '_patience', 0.1)
    stream.freeze()
    with pytest.raises(NotStoredError):
        emitter.emit('hello', 1)
    stream.thaw()
    assert emitter.flush(DEADLINE)
    assert len(messages(stream)) == 1


def test_confirmed_message_is_refused(make_manager: MakeManager,
                                      stream: FakeStream) -> None:
    emitter = make_manager(write_only=True, publish='confirmed')
    stream.refuses = lambda fields: b'too much' in fields[7]
    with pytest.raises(RedisStreamsError, match='refused') as caught:
        emitter.emit('hello', 'too much')
    assert not isinstance(caught.value, NotStoredError)
