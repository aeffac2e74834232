"""Losses are counted, logged and reported."""
import logging
from typing import Any, Callable

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.losses import Loss
from redis_streams_adapter.protocol.messages import Broadcast

from ...support.wait import DEADLINE, wait_until
from ..conftest import Log
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import Node

MakeManager = Callable[..., RedisStreamsManager]


def test_losses_are_reported(make_node: Callable[..., Node],
                             stream: FakeStream, log: Log,
                             logged: Any) -> None:
    # No heartbeat is the first entry after the stream is deleted.
    node = make_node(on_loss=log, heartbeat_interval=60.0,
                     heartbeat_timeout=300.0)
    node.manager.start()
    client = node.connect()
    for sequence in (1, 4, 4, 5, 9):
        stream.put(*Encoder('x').encode('/', Broadcast(('hello',))),
                   b'wid', b'w', b'seq', b'%d' % sequence)
    client.wait_for('hello', 4)
    assert log.calls == [Loss('missing', 'socket.io', 2, 'x'),
                         Loss('missing', 'socket.io', 3, 'x')]
    assert node.manager.stats()['messages_lost'] == 5
    assert node.manager.health()['messages_lost'] == 5
    # The second, so soon after the first, is in the counter only.
    line, = logged(logging.ERROR)
    assert '2 of process x' in line and "'socket.io'" in line

    assert node.manager.flush(DEADLINE)
    stream.go_away()
    stream.delete()
    # The writer may write before the reader looks, and time has gone on.
    stream.advance(1.0)
    stream.come_back()
    wait_until(lambda: node.manager.stats()['streams_deleted'])
    wait_until(lambda: Loss('deleted', 'socket.io') in log.calls)
    assert len(logged(logging.ERROR)) == 2
    assert node.manager.stats()['stream_setbacks'] == 0
    # What was not logged is, at the end.
    node.manager.close()
    assert logged(logging.ERROR)[2:] == [
        'more was lost since the last message '
        '(messages_lost: 5 in all)']


def test_vanished_messages_are_reported(make_manager: MakeManager,
                                        stream: FakeStream, log: Log,
                                        logged: Any) -> None:
    stream.put(b'the', b'first')
    emitter = make_manager(write_only=True, on_loss=log)
    for number in range(5):
        emitter.emit('hello', number)
    stream.set_back(stream.entries[2].id)
    stream.go_away()
    stream.come_back()
    emitter.emit('hello', 5)
    assert emitter.flush(DEADLINE)
    assert emitter.stats()['messages_vanished'] == 3
    wait_until(lambda: log.calls)
    assert log.calls == [Loss('vanished', 'socket.io', 3)]
    assert len(logged(logging.ERROR)) == 1


def test_on_loss_may_fail(make_node: Callable[..., Node], stream: FakeStream,
                          logged: Any) -> None:
    def on_loss(loss: Loss) -> None:
        raise RuntimeError('of no avail')

    node = make_node(on_loss=on_loss)
    node.manager.start()
    client = node.connect()
    for sequence in (1, 4):
        stream.put(*Encoder('x').encode('/', Broadcast(('hello',))),
                   b'wid', b'w', b'seq', b'%d' % sequence)
    client.wait_for('hello', 2)
    wait_until(lambda: 'on_loss failed' in logged(logging.ERROR))
    stream.put(*Encoder('x').encode('/', Broadcast(('hello',))))
    client.wait_for('hello', 3)
