"""Redis is away while clients come and go: they are served as new ones, at
once, and nothing hangs."""
import time
from typing import Any, Callable, List

import pytest

from ..integration.helpers import BACK_WITHIN, PROMPT
from ..support.client import Client
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .helpers import catch_up, check_came_back, check_new, check_reason, \
    check_received, ConnectJs, Start, Unique

MakeRedis = Callable[..., RedisServer]

#: Seconds that a client may have to wait for a connection while Redis does
#: not answer: it takes a while to see that it does not.
AT_ONCE = {'killed': PROMPT, 'frozen': 8.0}

AWAY = tuple(AT_ONCE)


@pytest.fixture
def redis(make_redis: MakeRedis) -> RedisServer:
    """A server that keeps its data when it is killed."""
    return make_redis(append_only=True).start()


def send_away(redis: RedisServer, how: str) -> None:
    redis.kill() if how == 'killed' else redis.freeze()


def bring_back(redis: RedisServer, how: str) -> None:
    redis.start() if how == 'killed' else redis.thaw()


@pytest.mark.parametrize('how', AWAY)
def test_client_returns(redis: RedisServer, start: Start,
                        connect_js: ConnectJs, unique: Unique, how: str,
                        capsys: Any) -> None:
    """It is told why it is new. When Redis is back, all is as it was: its
    next return too."""
    first, second = start(2, redis.url)
    client, missed, event = (
        connect_js(first), unique('missed'), unique('event'))
    sid = client.sid
    first.emit('before')
    client.wait_for('before')
    client.drop()
    first.emit(missed, to=sid)
    assert first.flush()
    send_away(redis, how)
    begun = time.monotonic()
    came, = client.move(second.url)
    taken = time.monotonic() - begun
    with capsys.disabled():
        print(f' [{how}: connected after {taken:.2f} s] ', end='')
    check_new(came, sid)
    assert taken < AT_ONCE[how]
    check_reason(second, client.sid, 'redis-unavailable')
    # Its node answers it meanwhile.
    assert client.call('echo', 1) == 1
    second.emit_range(event, range(10))
    bring_back(redis, how)
    check_working_again(redis, client, (first, second), event, unique)
    assert client.count(missed) == 0


def check_working_again(redis: RedisServer, client: Any, nodes: Any,
                        event: str, unique: Unique) -> None:
    """After Redis is back: what was emitted meanwhile arrives, and the
    client, which has been new, can be recovered."""
    first, second = nodes
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
    client.wait_for(event, 10, BACK_WITHIN)
    sids = dict(client.sids)
    with redis.client() as admin:
        wait_until(lambda: admin.exists(f'sio:session:{client.state()[0]}'),
                   what='the session, which could not be written before')
    client.drop()
    second.emit_range(event, range(10, 20))
    check_came_back(client, client.move(first.url), sids)
    catch_up([client], nodes, unique)
    assert [args[0] for args in client.received(event)] == list(range(20))


@pytest.mark.parametrize('how', AWAY)
def test_client_is_new(redis: RedisServer, start: Start,
                       connect_js: ConnectJs, unique: Unique,
                       how: str) -> None:
    """A first connection, of whatever client, is not held up either. If the
    client was promised that it can come back, it can."""
    node, = start(1, redis.url)
    event = unique('event')
    send_away(redis, how)
    begun = time.monotonic()
    client = connect_js(node)
    assert time.monotonic() - begun < AT_ONCE[how]
    begun = time.monotonic()
    theirs = Client(node.url)
    try:
        assert time.monotonic() - begun < AT_ONCE[how]
        node.emit(event, 0)
        bring_back(redis, how)
        node.wait_health('ok', BACK_WITHIN)
        client.wait_for(event, timeout=BACK_WITHIN)
        theirs.wait_for(event, timeout=BACK_WITHIN)
    finally:
        theirs.close()


@pytest.mark.parametrize('how', AWAY)
def test_many_return(redis: RedisServer, start: Start, connect_js: ConnectJs,
                     unique: Unique, how: str) -> None:
    """They do not wait for one another."""
    node, = start(1, redis.url)
    clients = [connect_js(node, reconnection=True) for _ in range(20)]
    send_away(redis, how)
    begun = time.monotonic()
    for client in clients:
        client.drop()
    for client in clients:
        client.wait_connects(2, 30.0)
    assert time.monotonic() - begun < AT_ONCE[how] + 2.0
    assert not any(client.connects()[-1].recovered for client in clients)
    bring_back(redis, how)
    node.wait_health('ok', BACK_WITHIN)


def test_clients_stay(redis: RedisServer, start: Start,
                      connect_js: ConnectJs, unique: Unique) -> None:
    """Redis is away and comes back; so do a client's connection and, last
    of all, its node. It has missed nothing."""
    first, second = start(2, redis.url)
    clients = [connect_js(node, reconnection=True)
               for node in (first, second)]
    sids, event = [dict(each.sids) for each in clients], unique('event')
    second.start_pulse(event, 0.01)
    for client in clients:
        client.wait_for(event, 20)
    redis.kill()
    wait_for_value(lambda: first.health()['status'], 'degraded',
                   BACK_WITHIN, 'the health of the first node')
    redis.start()
    for node in (first, second):
        node.wait_health('ok', BACK_WITHIN)
    goals: List[int] = [each.count(event) + 20 for each in clients]
    for client, goal in zip(clients, goals):
        client.wait_for(event, goal, BACK_WITHIN)
    clients[0].steer(second.url)
    first.kill()
    check_came_back(clients[0], clients[0].wait_connects(2, 20.0)[1:],
                    sids[0])
    check_received(clients, [second], unique,
                   **{event: second.stop_pulse(event)})


@pytest.mark.parametrize('reading', [False, True])
def test_redis_goes_while_a_client_returns(
        redis: RedisServer, start: Start, connect_js: ConnectJs,
        make_proxy: Any, unique: Unique, reading: bool) -> None:
    """In the middle of it: before the session is there, or before the
    events are. The client is connected, one way or the other, and what it
    is told is true."""
    line = make_proxy(redis.port)
    line.open()
    first, second = start(2, redis.url, line.url)
    client, event = connect_js(first), unique('event')
    sids = dict(client.sids)
    first.emit_range(event, range(5))
    client.wait_for(event, 5)
    client.drop()
    first.emit_range(event, range(5, 10))
    assert first.flush()
    line.lose_reply_to(b'XRANGE' if reading else b'sio:session:')
    came, = client.move(second.url)
    catch_up([client], [first, second], unique)
    if came.recovered:
        check_came_back(client, [came], sids)
        check_received([client], [first, second], unique, **{event: 10})
    else:
        check_new(came, sids['/'])
        check_reason(second, client.sid, 'redis-unavailable')
        assert client.count(event) == 5
