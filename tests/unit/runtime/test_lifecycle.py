"""A manager starts, closes, and survives a fork."""
import gc
import importlib
import logging
import threading
import weakref
from types import SimpleNamespace
from typing import Any, Callable, List

import pytest

from redis_streams_adapter import RedisStreamsError, RedisStreamsManager
from redis_streams_adapter.runtime import channel as channel_module
from redis_streams_adapter.protocol.codec import open_envelope
from redis_streams_adapter.protocol.messages import Broadcast, EMITTER_UID, \
    MessageType

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..conftest import NOWHERE
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import messages, Node, Pair

MakeManager = Callable[..., RedisStreamsManager]


def test_start_is_idempotent(pair: Pair, stream: FakeStream) -> None:
    for _ in range(3):
        pair.a.manager.start()
    arrivals = [each for each in map(
        open_envelope, (entry.fields for entry in stream.history))
        if each.type is MessageType.INITIAL_HEARTBEAT]
    # Others are questions: the stream is new.
    assert sum(each.uid != EMITTER_UID for each in arrivals) == 4
    assert stream.connections == 4


def test_phases(make_manager: MakeManager, stream: FakeStream) -> None:
    manager = make_manager()
    assert manager.phase == 'starting'
    manager.emit('event', None)
    assert manager.phase == 'starting'
    manager.start()
    assert manager.phase == 'joined'
    stream.go_away()
    assert manager.phase == 'joined'
    manager.close(timeout=0.1)
    assert manager.phase == 'closing'
    stream.come_back()
    manager.start()
    assert manager.phase == 'joined'
    manager._lifecycle.turn_clients_away()
    assert manager.phase == 'closing'


def test_server_joins_with_first_client(make_node: Callable[..., Node],
                                        stream: FakeStream) -> None:
    node = make_node()
    node.connect()
    wait_until(lambda: messages(stream, MessageType.INITIAL_HEARTBEAT))
    assert node.manager.server_count() == 1


def test_close_ends_all_tasks(pair: Pair, stream: FakeStream) -> None:
    uid = pair.a.manager.uid
    pair.a.server.emit('hello')
    pair.a.manager.close()
    # ADAPTER_CLOSE is its last message in each namespace. The other one may
    # report the position of its reader after that.
    kinds = [each for each in (
        open_envelope(entry.fields) for entry in stream.history)
        if each.uid == uid]
    assert [each.type for each in kinds[-3:]] == [
        MessageType.BROADCAST, MessageType.ADAPTER_CLOSE,
        MessageType.ADAPTER_CLOSE]
    assert {each.namespace for each in kinds[-2:]} == {'/', '/chat'}
    wait_for_value(pair.b.manager.server_count, 1)
    assert stream.connections == 2
    for _ in range(2):
        pair.a.manager.close()
    with pytest.raises(RedisStreamsError, match='closed'):
        pair.a.server.emit('hello')


def test_manager_starts_again_after_close(pair: Pair) -> None:
    uid = pair.a.manager.uid
    pair.a.manager.close()
    pair.a.manager.start()
    assert pair.a.manager.uid != uid
    wait_for_value(pair.b.manager.server_count, 2)


def test_manager_is_context_manager(make_manager: MakeManager,
                                    stream: FakeStream) -> None:
    with make_manager() as manager:
        assert manager.server_count() == 1
        manager.emit('hello', 'x')
    assert messages(stream, MessageType.BROADCAST) == [
        Broadcast(('hello', 'x'))]
    assert stream.connections == 0


def test_close_logs_lost_messages(make_manager: MakeManager,
                                  stream: FakeStream, logged: Any) -> None:
    stream.go_away()
    manager = make_manager(write_only=True, publish='background')
    for _ in range(3):
        manager.emit('hello', 'x')
    manager.close(timeout=0.05)
    assert any('3 messages' in line for line in logged(logging.ERROR))


def test_flush_waits_for_outbox(make_manager: MakeManager,
                                stream: FakeStream) -> None:
    stream.go_away()
    manager = make_manager()
    assert manager.flush()
    manager.emit('hello', 'x')
    assert manager.flush(0.02) is False
    stream.come_back()
    assert manager.flush(DEADLINE) is True
    assert len(messages(stream, MessageType.BROADCAST)) == 1


def test_server_serves_without_redis(make_node: Callable[..., Node],
                                     stream: FakeStream, logged: Any) -> None:
    stream.go_away()
    node = make_node()
    client = node.connect()
    node.server.emit('hello', 1)
    assert client.received('hello') == [(1,)]
    assert node.manager.health()['status'] == 'degraded'
    wait_until(lambda: node.manager.stats()['outages'])
    stream.come_back()
    assert node.manager.server_count() == 1
    wait_until(lambda: node.manager.health()['status'] == 'ok')
    assert node.manager.flush(DEADLINE)
    wait_until(lambda: messages(stream, MessageType.INITIAL_HEARTBEAT))
    assert messages(stream, MessageType.BROADCAST) == [
        Broadcast(('hello', 1))]
    # One line when it went, one when it was back.
    wait_for_value(lambda: len(logged(logging.WARNING)), 2)


def test_outage_is_survived(pair: Pair, stream: FakeStream) -> None:
    a, b = pair.connect()
    stream.go_away()
    for number in range(20):
        pair.a.server.emit('hello', number)
    assert a.received('hello') == [(number,) for number in range(20)]
    assert b.received('hello') == []
    stream.come_back()
    assert b.wait_for('hello', 20) == [(number,) for number in range(20)]


def test_fork_gets_new_runtime(pair: Pair, stream: FakeStream) -> None:
    """The child gets a runtime of its own."""
    manager, uid = pair.a.manager, pair.a.manager.uid
    before = manager._lifecycle.current
    assert before is not None
    channel, = before.channels
    links = [channel.writer._link, channel.reader._link]
    manager._lifecycle.after_fork()
    assert all(link.abandoned for link in links)
    # It was a member, and is one again when it is first used.
    manager.emit('hello', None)
    assert manager.uid not in (uid, EMITTER_UID)
    wait_until(lambda: manager.uid in pair.b.manager._live().node
               ._members.nodes('/'))
    assert manager.host_id == manager.uid


@pytest.mark.parametrize('recovery', [False, True])
def test_fork_leaves_waiting_lines_to_parent(
        make_node: Callable[..., Node], recovery: bool) -> None:
    """They are logged once."""
    server, manager = node = make_node(connection_state_recovery=recovery)
    node.connect()
    lines: List[str] = []
    server.eio.logger = SimpleNamespace(
        info=lambda text, *args: lines.append(text % args))
    delivery = manager._parts.local
    assert delivery is not None
    delivery.hand_over(delivery.pack('/', Broadcast(('hello',))))
    manager._lifecycle.after_fork()
    delivery.log_lines(manager._live().order)
    assert [line for line in lines if 'hello' in line] == []


def test_fork_before_start_is_harmless(make_manager: MakeManager,
                                       stream: FakeStream) -> None:
    manager = make_manager()
    manager._lifecycle.after_fork()
    manager.emit('hello', None)
    assert manager.flush(DEADLINE)
    assert stream.connections == 1
    manager._lifecycle.after_fork()
    manager.emit('hello', None)
    assert manager.flush(DEADLINE)
    assert len(messages(stream, MessageType.BROADCAST)) == 2


@pytest.mark.parametrize('name', ['atexit', 'multiprocessing.util'])
def test_closed_managers_are_freed(stream: FakeStream,
                                   monkeypatch: pytest.MonkeyPatch,
                                   name: str) -> None:
    """A process may make an emitter for each of its jobs."""
    importlib.import_module(name)
    monkeypatch.setattr(channel_module, 'open_link',
                        lambda *args, **kwargs: stream.link())
    manager = RedisStreamsManager(NOWHERE, write_only=True)
    manager.emit('hello', None)
    manager.close()
    gone = weakref.ref(manager)
    del manager

    def is_gone() -> bool:
        gc.collect()
        return gone() is None

    wait_until(is_gone)


@pytest.mark.parametrize('count', [0, 3])
def test_unsent_close_is_no_loss(make_node: Callable[..., Node], count: int,
                                 stream: FakeStream, logged: Any) -> None:
    """Only messages are."""
    node = make_node()
    node.manager.start()
    assert node.manager.flush(DEADLINE)
    stream.freeze()
    for number in range(count):
        node.manager.emit('hello', number)
    node.manager.close(timeout=0.05)
    assert logged(logging.ERROR) == count // 3 * [
        'closed with 3 messages that Redis did not take']


def test_batch_sent_during_close_is_no_loss(make_node: Callable[..., Node],
                                            stream: FakeStream,
                                            logged: Any) -> None:
    """The batch under way when the time is up may still be stored."""
    node = make_node()
    node.manager.start()
    assert node.manager.flush(DEADLINE)
    writer = node.manager._live().channels[0].writer
    node.manager.emit('hello', 1)
    interrupt, writer.interrupt = writer.interrupt, lambda: (  # type: ignore
        writer.flush(DEADLINE), interrupt())
    node.manager.close(timeout=0)
    assert len(messages(stream, MessageType.BROADCAST)) == 1
    assert logged(logging.ERROR) == []


def test_close_is_last_message(pair: Pair, stream: FakeStream) -> None:
    """Servers that read it would take the node for a member again."""
    going = threading.Event()

    def emit() -> None:
        going.set()
        with pytest.raises(RedisStreamsError, match='closed'):
            while True:
                pair.a.manager.emit('hello', None)

    uid = pair.a.manager.uid
    thread = threading.Thread(target=emit, daemon=True)
    thread.start()
    assert going.wait(DEADLINE)
    pair.a.manager.close()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    own = [open_envelope(entry.fields) for entry in stream.history]
    assert [envelope.type for envelope in own
            if envelope.uid == uid][-1] is MessageType.ADAPTER_CLOSE
    wait_for_value(pair.b.manager.server_count, 1)
