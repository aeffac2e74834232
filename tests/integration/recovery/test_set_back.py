"""A failover to a replica that lacks entries and whose clock is late: new
entries have lower ids than the lost ones."""
import time
from typing import Any

import pytest

from redis_streams_adapter.recovery.session import OFFSET_NOT_FOUND, Outcome

from ...support.entries import entry
from ...support.wait import wait_until
from ...unit.fake_server import FakeClient
from .harness import check_refused, MakeNode, Node, received

#: How far the former server's clock was ahead, in milliseconds.
AHEAD = 3_600_000


def emit(node: Node, name: str) -> None:
    node.server.emit(name)
    assert node.manager.flush(10)


def put_heartbeat(redis: Any, stream: str, later: int) -> None:
    """Write an entry like a server whose clock is ahead.

    :param later: how far, in milliseconds.
    """
    redis.xadd(stream, entry(kind=2), id=int(time.time() * 1000) + later)


def set_back(redis: Any, stream: str, *nodes: Node) -> FakeClient:
    """Lose the last event of a client.

    :return: the client, which is away. It has received that event.
    """
    client = nodes[0].connect()
    emit(nodes[0], 'first')
    client.wait_for('first')
    kept = redis.xrange(stream)
    put_heartbeat(redis, stream, AHEAD)
    emit(nodes[0], 'lost')
    client.wait_for('lost')
    client.lose()
    wait_until(lambda: not nodes[0].remains()['leaving'])
    with redis.pipeline(transaction=True) as pipe:
        pipe.delete(stream)
        for entry_id, fields in kept:
            pipe.xadd(stream, fields, id=entry_id)
        pipe.execute()
    redis.client_kill_filter(_type='normal', skipme=True)
    for each in nodes:
        wait_until(lambda: each.manager.stats()['stream_setbacks'] == 1)
    return client


@pytest.mark.parametrize('where', ['here', 'there'])
@pytest.mark.parametrize('later', [False, True])
def test_client_of_the_former_stream(node: Node, other: Node, redis: Any,
                                     stream: str, where: str,
                                     later: bool) -> None:
    """Missed events may be before its position, so it is not recovered."""
    client = set_back(redis, stream, node, other)
    emit(node, 'missed')
    if later:
        # The clock passes the client's position.
        put_heartbeat(redis, stream, 2 * AHEAD)
        emit(node, 'later')
    target = node if where == 'here' else other
    check_refused(target, target.reconnect(client), OFFSET_NOT_FOUND)


def test_server_that_began_later(make: MakeNode, node: Node, redis: Any,
                                 stream: str) -> None:
    client = set_back(redis, stream, node)
    other = make()
    emit(node, 'missed')
    check_refused(other, other.reconnect(client), OFFSET_NOT_FOUND)


@pytest.mark.parametrize('where', ['here', 'there'])
def test_client_of_the_new_stream(node: Node, other: Node, redis: Any,
                                  stream: str, where: str) -> None:
    """Its position may belong to the former stream, but an entry has it."""
    set_back(redis, stream, node, other)
    client = node.connect()
    emit(node, 'new')
    client.wait_for('new')
    redis.xadd(stream, entry(kind=2))
    for each in (node, other):
        wait_until(lambda: str(each.manager._live().delivery(
            '/').position) == redis.xrevrange(  # type: ignore[attr-defined]
                stream, count=1)[0][0].decode())
    client.lose()
    wait_until(lambda: not node.remains()['leaving'])
    emit(other, 'missed')
    target = node if where == 'here' else other
    again = target.reconnect(client)
    assert target.outcome(again) == Outcome(True)
    assert received(again) == [('missed',)]
