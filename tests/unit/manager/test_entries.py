"""How a manager handles the entries of a stream."""
import logging
from typing import Any, Callable, List

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.protocol.codec import Encoder, open_envelope
from redis_streams_adapter.protocol.messages import Broadcast, EMITTER_UID, \
    MessageType, Target
from redis_streams_adapter.stream.backpressure import LISTEN_EVERY

from ...support.wait import DEADLINE, wait_for_value
from ..conftest import Log
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import Pair

MakeManager = Callable[..., RedisStreamsManager]


@pytest.mark.parametrize('fields', [
    [b'x', b'y'], [b'uid'], [b'\xff', b'\xff'],
    [b'uid', b'x', b'nsp', b'/', b'type', b'99'],
    [b'uid', b'x', b'nsp', b'/', b'type', b'3', b'data', b'{'],
    [b'uid', b'x', b'nsp', b'/', b'type', b'3', b'data', b'[' * 100_000],
    [b'uid', b'x', b'nsp', b'/', b'type', b'2', b'behind', b'x'],
    [b'uid', b'emitter', b'nsp', b'/', b'type', b'2', b'behind', b'',
     b'read', b'x', b'reader', b'y'],
    [b'uid', b'x', b'nsp', b'/', b'type', b'4', b'data', b'{}']])
def test_malformed_entry_is_counted(pair: Pair, stream: FakeStream,
                                    logged: Any, fields: List[bytes]) -> None:
    _, b = pair.connect()
    bad = stream.put(*fields)
    pair.a.server.emit('hello')
    b.wait_for('hello')
    assert pair.b.manager.stats()['malformed'] == 1
    wait_for_value(lambda: pair.a.manager.stats()['malformed'], 1)

    def lines() -> int:
        return sum(str(bad) in line for line in logged(logging.WARNING))

    # Once on each node.
    wait_for_value(lines, 2)
    stream.put(*Encoder('x').encode('/', Broadcast(('end',))))
    b.wait_for('end')
    assert lines() == 2


def test_malformed_text_reaches_no_client(pair: Pair,
                                          stream: FakeStream) -> None:
    """It is counted where a client would get it. The events after it are
    delivered."""
    _, b = pair.connect()
    pair.b.server.enter_room(b.sid, 'room')
    *fields, data = Encoder('x').encode(
        '/', Broadcast(('hello', 1), Target(('room',))))
    stream.put(*fields, data.replace(b'"hello",1', b'"hello",1,'))
    pair.a.server.emit('end')
    b.wait_for('end')
    assert b.received('hello') == []
    assert pair.b.manager.stats()['malformed'] == 1
    assert pair.a.manager.stats()['malformed'] == 0
    assert pair.b.manager.stats()['failed'] == 0


@pytest.mark.parametrize('field', [b'behind', b'read'])
@pytest.mark.parametrize('position', [
    b'x', b'-', b'1', b'1-x', b'\xff', b'9' * 5000 + b'-0'])
def test_a_malformed_entry_does_not_harm_a_process_that_only_writes(
        make_manager: MakeManager, stream: FakeStream, logged: Any,
        position: bytes, field: bytes) -> None:
    """It listens, now and then, for the reports of readers."""
    emitter = make_manager(write_only=True, publish='background')
    for _ in range(2):
        emitter.emit('hello', None)
        assert emitter.flush(DEADLINE)
        stream.put(b'x', b'y')
        stream.put(b'uid', b'x', b'nsp', b'/', b'type', b'2',
                   field, position)
        for _ in range(LISTEN_EVERY):
            emitter.emit('hello', None)
        assert emitter.flush(DEADLINE)
    assert emitter.stats()['sent'] == 2 * LISTEN_EVERY + 2
    assert emitter.stats()['writer_restarts'] == 0
    assert logged(logging.ERROR) == []


def test_duplicate_entry_is_counted_and_skipped(
        pair: Pair, stream: FakeStream) -> None:
    _, b = pair.connect()
    pair.a.server.emit('hello')
    b.wait_for('hello')
    copied, = (entry.fields for entry in stream.history
               if open_envelope(entry.fields).type is MessageType.BROADCAST)
    stream.put(*copied)
    pair.a.server.emit('end')
    b.wait_for('end')
    assert b.received('hello') == [()]
    assert pair.b.manager.stats()['duplicates'] == 1


def test_missing_messages_are_counted(pair: Pair, stream: FakeStream,
                                      logged: Any) -> None:
    _, b = pair.connect()
    for sequence in (1, 2, 6):
        stream.put(*Encoder('x').encode('/', Broadcast(('hello',))),
                   b'wid', b'w', b'seq', b'%d' % sequence)
    b.wait_for('hello', 3)
    assert pair.b.manager.stats()['messages_lost'] == 3
    assert any('missing' in line for line in logged(logging.ERROR))


def test_event_of_other_emitter_is_delivered(
        pair: Pair, stream: FakeStream) -> None:
    clients = pair.connect()
    stream.put(*Encoder(EMITTER_UID).encode('/', Broadcast(('hello', b'x'))))
    for client in clients:
        assert client.wait_for('hello') == [(b'x',)]
    assert pair.a.manager.server_count() == 2


def test_member_without_server_answers(make_manager: MakeManager, pair: Pair,
                                       log: Log) -> None:
    """It is counted, and answers."""
    member = make_manager()
    member.start()
    for node in pair:
        wait_for_value(node.manager.server_count, 3)
    client = pair.b.connect()
    pair.a.server.enter_room('nobody', 'x')
    pair.a.server.leave_room('nobody', 'x')
    pair.a.server.disconnect('nobody')
    pair.a.server.emit('question', callback=log)
    client.wait_for('question')
    client.acknowledge(client.events()[-1], 'yes')
    wait_for_value(lambda: log.calls, ['yes'])
    wait_for_value(lambda: len(pair.a.manager._live().node._requests), 0)
    assert member.stats()['failed'] == 0
