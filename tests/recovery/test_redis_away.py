"""Redis is away while clients connect and return: they are served at once, as
new ones, and nothing hangs."""
import time
from typing import Any, Callable, List

import pytest

from ..integration.helpers import BACK_WITHIN, PROMPT
from ..support.client import Client
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .helpers import catch_up, check_recovered, check_new, check_reason, \
    check_received, ConnectJs, Start, Unique

MakeRedis = Callable[..., RedisServer]

#: Seconds in which a client is connected while Redis is away. It takes a
#: while to notice that a frozen Redis does not answer.
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
def test_returning_client_is_new(
        redis: RedisServer, start: Start, connect_js: ConnectJs,
        unique: Unique, how: str, capsys: Any) -> None:
    """The reason is that Redis is unavailable. When Redis is back, the client
    is recovered at its next return."""
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
    connect, = client.move(second.url)
    taken = time.monotonic() - begun
    with capsys.disabled():
        print(f' [{how}: connected after {taken:.2f} s] ', end='')
    check_new(connect, sid)
    assert taken < AT_ONCE[how]
    check_reason(second, client.sid, 'redis-unavailable')
    # Its node serves it while Redis is away.
    assert client.call('echo', 1) == 1
    second.emit_range(event, range(10))
    bring_back(redis, how)
    check_working_again(redis, client, (first, second), event, unique)
    assert client.count(missed) == 0


def check_working_again(redis: RedisServer, client: Any, nodes: Any,
                        event: str, unique: Unique) -> None:
    """Check that, once Redis is back, what was emitted during the outage
    arrives, and that the client can be recovered."""
    first, second = nodes
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
    client.wait_for(event, 10, BACK_WITHIN)
    sids = dict(client.sids)
    with redis.client() as admin:
        wait_until(lambda: admin.exists(f'sio:session:{client.state()[0]}'),
                   what='the session')
    client.drop()
    second.emit_range(event, range(10, 20))
    check_recovered(client, client.move(first.url), sids)
    catch_up([client], nodes, unique)
    assert [args[0] for args in client.received(event)] == list(range(20))


@pytest.mark.parametrize('how', AWAY)
def test_new_client_is_connected_at_once(
        redis: RedisServer, start: Start, connect_js: ConnectJs,
        unique: Unique, how: str) -> None:
    """Clients in JavaScript and in Python do not wait for Redis, and receive
    events once it is back."""
    node, = start(1, redis.url)
    event = unique('event')
    send_away(redis, how)
    begun = time.monotonic()
    client = connect_js(node)
    assert time.monotonic() - begun < AT_ONCE[how]
    begun = time.monotonic()
    python_client = Client(node.url)
    try:
        assert time.monotonic() - begun < AT_ONCE[how]
        node.emit(event, 0)
        bring_back(redis, how)
        node.wait_health('ok', BACK_WITHIN)
        client.wait_for(event, timeout=BACK_WITHIN)
        python_client.wait_for(event, timeout=BACK_WITHIN)
    finally:
        python_client.close()


@pytest.mark.parametrize('how', AWAY)
def test_many_returning_clients_do_not_wait_for_each_other(
        redis: RedisServer, start: Start, connect_js: ConnectJs,
        unique: Unique, how: str) -> None:
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


def test_outage_before_a_node_is_killed(
        redis: RedisServer, start: Start, connect_js: ConnectJs,
        unique: Unique) -> None:
    """Clients stay connected during an outage. When one of their nodes is
    killed after that, its client is recovered and has missed nothing."""
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
    clients[0].set_server(second.url)
    first.kill()
    check_recovered(clients[0], clients[0].wait_connects(2, 20.0)[1:],
                    sids[0])
    check_received(clients, [second], unique,
                   **{event: second.stop_pulse(event)})


@pytest.mark.parametrize('reading', [False, True])
def test_reply_of_redis_is_lost_while_a_client_returns(
        redis: RedisServer, start: Start, connect_js: ConnectJs,
        make_proxy: Any, unique: Unique, reading: bool) -> None:
    """The reply with the session or that with the missed events is lost. The
    client is connected: as recovered, with all events, or as a new one."""
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
    connect, = client.move(second.url)
    catch_up([client], [first, second], unique)
    if connect.recovered:
        check_recovered(client, [connect], sids)
        check_received([client], [first, second], unique, **{event: 10})
    else:
        check_new(connect, sids['/'])
        check_reason(second, client.sid, 'redis-unavailable')
        assert client.count(event) == 5
