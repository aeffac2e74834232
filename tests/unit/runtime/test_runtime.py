"""The parts of a process together: signs of life, flow control, a server
that is created later."""
import logging
import threading
from typing import Any, Callable

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.protocol import node as node_module
from redis_streams_adapter.protocol.codec import decode, Encoder, open_envelope
from redis_streams_adapter.protocol.events import Send
from redis_streams_adapter.protocol.messages import EMITTER_UID, Heartbeat, \
    MessageType

from ...support.wait import DEADLINE, wait_for_value, wait_until
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import messages, Node, Pair

MakeManager = Callable[..., RedisStreamsManager]


def test_signs_of_life_need_no_room(make_node: Callable[..., Node],
                                    stream: FakeStream,
                                    logged: Any) -> None:
    """Where the outbox is full they are left out, and nothing ends."""
    node = make_node(outbox_limit=1)
    node.manager.start()
    # In two namespaces; there was no room for the second one at once.
    wait_until(lambda: len(messages(
        stream, MessageType.INITIAL_HEARTBEAT)) == 2)
    assert node.manager.flush(DEADLINE)
    stream.freeze()
    node.manager.emit('hello', None)
    node.manager._live().membership.say(Send('/', Heartbeat()))
    stream.thaw()
    assert node.manager.flush(DEADLINE)
    assert node.manager.health()['status'] == 'ok'
    assert logged(logging.ERROR) == []
    assert any('no room' in line for line in logged(logging.DEBUG))


def test_a_reader_that_lags_says_so(pair: Pair,
                                    stream: FakeStream) -> None:
    """And the other one takes account of it."""
    a, b = (node.manager._live().channels[0] for node in pair)
    lagging = b.lagging
    assert pair.a.manager.flush(DEADLINE)
    lagging(stream.entries[0].id)
    pace = a.writer.backpressure.flow
    wait_until(lambda: pair.b.manager.uid in pace._readers)
    said = [open_envelope(entry.fields) for entry in stream.history
            if entry.fields[-2:] == [
                b'behind', bytes(stream.entries[0].id)]][-1]
    assert said.uid == pair.b.manager.uid
    assert decode(said) == Heartbeat(stream.entries[0].id)
    # It takes account of itself, too: it may be among the entries of others.
    assert b.writer.backpressure.flow._readers[None].position \
        == stream.entries[0].id
    lagging(None)
    wait_until(lambda: pair.b.manager.uid not in pace._readers)
    lagging(stream.entries[0].id)
    wait_until(lambda: pair.b.manager.uid in pace._readers)
    pair.b.manager.close()
    wait_until(lambda: pair.b.manager.uid not in pace._readers)


def test_the_first_burst_is_no_faster_than_it_is_read(
        make_node: Callable[..., Node], stream: FakeStream) -> None:
    """Our own reader counts before it has come to anything of ours."""
    manager = make_node(max_len=20).manager
    manager.start()
    assert manager.flush(DEADLINE)
    channel, = manager._live().channels
    stuck = threading.Event()
    handle = channel.reader._handle
    channel.reader._handle = lambda entry: (  # type: ignore[assignment]
        stuck.wait(DEADLINE), handle(entry))
    for number in range(100):
        manager.emit('hello', number)
    wait_until(lambda: channel.writer.backpressure.held)
    assert len(messages(stream, MessageType.BROADCAST)) == 10
    stuck.set()
    assert manager.flush(DEADLINE)


def test_who_joins_has_its_share_at_once(
        make_node: Callable[..., Node],
        monkeypatch: pytest.MonkeyPatch) -> None:
    """All may have much to say when they start."""
    monkeypatch.setattr(node_module, 'TICK_INTERVAL', 100)
    first, second = (make_node(heartbeat_interval=100, heartbeat_timeout=200
                               ).manager for _ in range(2))
    first.start()
    second.start()
    for manager in (first, second):
        wait_for_value(manager.server_count, 2)
        channel, = manager._live().channels
        wait_for_value(lambda: channel.writer.backpressure.flow.window, 2500)


def test_who_wrote_before_the_stream_was_deleted_has_lost_nothing(
        make_node: Callable[..., Node], make_manager: MakeManager,
        stream: FakeStream) -> None:
    """As if Redis stores nothing on disk, and is restarted with a server."""
    stream.put(*Encoder(EMITTER_UID).encode('/', Heartbeat()))
    emitter = make_manager(write_only=True)
    for number in range(5):
        emitter.emit('hello', number)
    stream.delete()
    stream.advance(60)
    node = make_node()
    node.manager.start()
    client = node.connect()
    emitter.emit('hello', 5)
    assert client.wait_for('hello') == [(5,)]
    assert node.manager.stats()['messages_lost'] == 0
