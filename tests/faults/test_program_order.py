"""Events emitted before a client leaves a room or is disconnected reach it,
even if both have waited in the outbox. (``tests/integration/test_rooms.py``
tests the same without outages.)"""
import contextlib
from typing import Any, Callable, Generator, List, NamedTuple

import pytest

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN, check_working, numbers
from ..support.client import Client
from ..support.node_process import NodeProcess, Step
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .fixtures import Connect, StartNodes, Unique

#: The number of events in a sequence.
EVENTS = 10

#: A context manager: an outage.
Outage = Callable[[RedisServer, Proxy, NodeProcess], Any]


class Case(NamedTuple):
    """A client, and a sequence of calls for it.

    :param steps: calls on the sending node.
    :param ends: whether they disconnect the client.
    """

    client: Client
    event: str
    steps: List[Step]
    ends: bool


@contextlib.contextmanager
def killed(redis: RedisServer, proxy: Proxy,
           sender: NodeProcess) -> Generator[None, None, None]:
    """Redis is away, and the sender has noticed it."""
    redis.kill()
    sender.wait_health('degraded')
    yield
    assert sender.health()['outbox'] > 0
    redis.start()


@contextlib.contextmanager
def unnoticed(redis: RedisServer, proxy: Proxy,
              sender: NodeProcess) -> Generator[None, None, None]:
    """Redis is away, and the sender notices it during the sequence."""
    redis.freeze()
    yield
    redis.kill()
    redis.start()


@contextlib.contextmanager
def reply_lost(redis: RedisServer, proxy: Proxy,
               sender: NodeProcess) -> Generator[None, None, None]:
    """Redis stores messages, and the sender gets no reply."""
    lost = proxy.lose_reply_to(b'XADD')
    yield
    wait_until(lost.is_set, what='a reply to be lost')


@contextlib.contextmanager
def torn(redis: RedisServer, proxy: Proxy,
         sender: NodeProcess) -> Generator[None, None, None]:
    """The connection ends in the middle of a command."""
    sprung = proxy.tear_command(b'XADD')
    yield
    wait_until(sprung.is_set, what='a command to be torn')


def emits(event: str, to: str, count: int = EVENTS) -> List[Step]:
    """Events with numbers."""
    return [('server', 'emit', [event, number], {'to': to})
            for number in range(count)]


def disconnecting(client: Client, unique: Unique) -> Case:
    event = unique('event')
    return Case(client, event, [
        *emits(event, client.sid),
        ('server', 'disconnect', [client.sid], {})], True)


def leaving(client: Client, unique: Unique) -> Case:
    event, room = unique('event'), unique('room')
    return Case(client, event, [
        ('server', 'enter_room', [client.sid, room], {}),
        *emits(event, room),
        ('server', 'leave_room', [client.sid, room], {}),
        ('server', 'emit', [event, 'too late'], {'to': room})], False)


def closing(client: Client, unique: Unique) -> Case:
    event, room = unique('event'), unique('room')
    return Case(client, event, [
        ('server', 'enter_room', [client.sid, room], {}),
        *emits(event, room),
        ('server', 'close_room', [room], {}),
        ('server', 'emit', [event, 'too late'], {'to': room})], False)


@pytest.mark.parametrize('outage', [killed, unnoticed, reply_lost, torn])
@pytest.mark.parametrize('publish', ['background', 'sync'])
def test_events_before_leave_or_disconnect_arrive(
        redis: RedisServer, proxy: Proxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique, publish: str,
        outage: Outage) -> None:
    options = {'publish': publish, 'redis_options': {'socket_timeout': 1.0},
               **STEADY}
    nodes = (start_nodes(1, proxy.url, **options)
             + start_nodes(1, redis.url, **options))
    start_managers(nodes)
    # Clients of the sending node, and of the other node.
    cases = [make(connect(node), unique) for node in nodes
             for make in (disconnecting, leaving, closing)]
    marker = unique('marker')
    with outage(redis, proxy, nodes[0]):
        for case in cases:
            nodes[0].script(*case.steps)
        nodes[0].emit(marker)
    for case in cases:
        if case.ends:
            case.client.wait_disconnected(timeout=BACK_WITHIN)
        else:
            case.client.wait_for(marker, timeout=BACK_WITHIN)
    check_working(nodes, [case.client for case in cases if not case.ends],
                  unique)
    for case in cases:
        assert numbers(case.client, case.event) == list(range(EVENTS))
