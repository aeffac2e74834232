"""Requests over PUB/SUB while connections break, Redis dies, or Redis refuses
commands: they end, and all works again afterwards."""
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Iterator, List

import pytest

from ..conftest import running, skip_incapable
from ..integration.conftest import STEADY
from ..integration.helpers import BACK_WITHIN, log_lengths, outage_lines, \
    PROMPT
from ..support.client import Client
from ..support.node_process import NodeProcess, RemoteError
from ..support.redis_binaries import redis_binaries
from ..support.redis_server import RedisServer
from ..support.replicated import ask
from ..support.wait import wait_for_value, wait_until
from .fixtures import Connect, MakeProxy, MakeRedis, StartNodes, Unique


STREAM, PUBSUB, SHARDED = 'stream', 'pubsub', 'sharded-pubsub'

#: The timeout in seconds of a request that cannot be answered.
TIMEOUT = 2.0

#: The rules of a user that has all rights but those to channels.
NO_CHANNELS = ('reset', 'on', '>secret', '+@all', 'allkeys', 'resetchannels')


@pytest.fixture(scope='module', params=[PUBSUB, SHARDED])
def transport(request: Any) -> str:
    """Each transport, one after the other."""
    return str(request.param)


@pytest.fixture(scope='module')
def binary(transport: str) -> str:
    """The path of the oldest redis-server that supports the transport."""
    for each in redis_binaries():
        if transport != SHARDED or each.has_sharded_channels:
            return each.path
    skip_incapable(f'there is no redis-server for {transport}')
    return ''


@pytest.fixture(scope='module')
def redis(binary: str) -> Iterator[RedisServer]:
    """A server that works again after each test."""
    with RedisServer(append_only=True, binary=binary) as server:
        yield server.start()


@pytest.fixture(scope='module')
def nodes(mode: str, redis: RedisServer, transport: str,
          ) -> Iterator[List[NodeProcess]]:
    """Three nodes that answer an event with their names."""
    with running([NodeProcess(mode, redis.url, {
            'request_transport': transport, **STEADY, 'redis_options': {
                'socket_timeout': 1.0, 'client_name': 'node'}})
            for _ in range(3)]) as nodes:
        for node in nodes:
            node.start_manager()
            node.handle_server_side('name', node.name)
        yield nodes


@pytest.fixture
def clients(nodes: List[NodeProcess], connect: Connect) -> List[Client]:
    """A client on each node; they answer an event with their sids."""
    found = [connect(node) for node in nodes]
    for client in found:
        client.answer('name', client.sid)
        client.never_answer('silence')
    return found


def check_requests(nodes: List[NodeProcess], clients: List[Client]) -> None:
    """Every kind of request works from every node at the first attempt, and
    leaves no open request."""
    for node in nodes:
        node.wait_server_count(len(nodes), timeout=BACK_WITHIN)
        node.wait_health('ok', BACK_WITHIN)
    sids = sorted(client.sid for client in clients)
    for node in nodes:
        assert sorted(node.server_side_call('name')) == sorted(
            each.name for each in nodes if each is not node)
        assert sorted(node.emit_with_ack('name', to=sids)) == sids
        assert sorted(each['sid'] for each in node.fetch_sockets(to=sids)) \
            == sids
        for sid in sids:
            assert node.call('name', to=sid) == sid
    for node in nodes:
        # A call ends before the nodes without the client have answered.
        wait_for_value(node.open_requests, 0, what='the open requests')


def connections(server: RedisServer) -> List[str]:
    """The ids of the nodes' connections."""
    lines = ask(server, 'CLIENT', 'LIST').splitlines()
    found = [dict(pair.partition('=')[::2] for pair in line.split())
             for line in lines]
    return [each['id'] for each in found if each['name'] == 'node']


def listeners(server: RedisServer, transport: str) -> int:
    """The number of subscribers to the requests of the main namespace."""
    number = 'SHARDNUMSUB' if transport == SHARDED else 'NUMSUB'
    return int(ask(server, 'PUBSUB', number, 'socket.io#/#')[1])


def expect_timeout(future: 'Future[Any]', started: float) -> RemoteError:
    """The request ends with ClusterTimeoutError, and in time."""
    error = future.exception(TIMEOUT + PROMPT)
    assert time.monotonic() - started >= TIMEOUT
    assert isinstance(error, RemoteError)
    assert error.types[0] == 'ClusterTimeoutError'
    assert 'timeout reached: only' in error.text
    return error


# -- connections break --------------------------------------------------------

def test_requests_work_after_listeners_are_killed(
        nodes: List[NodeProcess], clients: List[Client], redis: RedisServer,
        transport: str) -> None:
    """They are killed a hundred times; no connection is left over."""
    check_requests(nodes, clients)
    before = len(connections(redis))
    for _ in range(100):
        assert ask(redis, 'CLIENT', 'KILL', 'TYPE', 'pubsub') == len(nodes)
        wait_for_value(lambda: listeners(redis, transport), len(nodes),
                       BACK_WITHIN, 'the number of listeners')
    check_requests(nodes, clients)
    assert len(connections(redis)) == before


def test_first_request_after_killed_connections_is_answered(
        nodes: List[NodeProcess], clients: List[Client], redis: RedisServer,
        transport: str) -> None:
    """They are killed twenty times."""
    check_requests(nodes, clients)
    before = len(connections(redis))
    for _ in range(20):
        for number in connections(redis):
            ask(redis, 'CLIENT', 'KILL', 'ID', number)
        wait_for_value(lambda: listeners(redis, transport), len(nodes),
                       BACK_WITHIN, 'the number of listeners')
        for node in nodes:
            assert len(node.server_side_call('name')) == 2
    check_requests(nodes, clients)
    wait_for_value(lambda: len(connections(redis)), before,
                   what='the number of connections')


def test_open_request_times_out_when_redis_dies(
        nodes: List[NodeProcess], clients: List[Client],
        redis: RedisServer) -> None:
    check_requests(nodes, clients)
    starts = log_lengths(nodes)
    sids = [client.sid for client in clients]
    with ThreadPoolExecutor(len(nodes)) as pool:
        started = time.monotonic()
        asking = [pool.submit(node.emit_with_ack, 'silence', to=sids,
                              timeout=TIMEOUT) for node in nodes]
        for client in clients:
            client.wait_for('silence', len(nodes))
        redis.kill()
        try:
            for each in asking:
                assert expect_timeout(each, started).responses == []
        finally:
            redis.start()
    assert [node.open_requests() for node in nodes] == [0, 0, 0]
    check_requests(nodes, clients)
    for node, start in zip(nodes, starts):
        # A pair for the stream and one for PUB/SUB, each only if two attempts
        # have failed.
        lines = outage_lines(node, start)
        assert len(lines) in (0, 2, 4), lines
        assert sum('is back after' in line
                   for line in lines) == len(lines) / 2


def test_request_times_out_while_redis_is_away(
        nodes: List[NodeProcess], clients: List[Client],
        redis: RedisServer) -> None:
    """It does not return as if there were no other node."""
    check_requests(nodes, clients)
    redis.kill()
    try:
        for node in nodes:
            node.wait_health('degraded')
        with ThreadPoolExecutor(len(nodes)) as pool:
            started = time.monotonic()
            asking = [pool.submit(node.fetch_sockets, timeout=TIMEOUT)
                      for node in nodes]
            for each in asking:
                expect_timeout(each, started)
    finally:
        redis.start()
    assert [node.open_requests() for node in nodes] == [0, 0, 0]
    check_requests(nodes, clients)


def test_request_times_out_while_redis_is_frozen(
        nodes: List[NodeProcess], clients: List[Client],
        redis: RedisServer) -> None:
    """The timeout includes the time in which Redis does not answer how many
    nodes there are."""
    check_requests(nodes, clients)
    redis.freeze()
    try:
        with ThreadPoolExecutor(len(nodes)) as pool:
            started = time.monotonic()
            asking = [pool.submit(node.server_side_call, 'name',
                                  timeout=TIMEOUT) for node in nodes]
            for each in asking:
                expect_timeout(each, started)
            assert time.monotonic() - started < TIMEOUT + PROMPT
    finally:
        redis.thaw()
    check_requests(nodes, clients)


def test_silent_listener_reconnects(redis: RedisServer, make_proxy: MakeProxy,
                                    start_nodes: StartNodes, unique: Unique,
                                    transport: str) -> None:
    """Its connection seems to work, but no reply arrives."""
    proxy = make_proxy(redis.port)
    proxy.open()
    prefix = unique('prefix')
    options = {'request_transport': transport, 'channel_prefix': prefix,
               'stream_name': prefix, **STEADY}
    (deaf,) = start_nodes(1, proxy.url, redis_options={
        'socket_timeout': 1.0}, **options)
    (asker,) = start_nodes(1, redis.url, **options)
    for node in deaf, asker:
        node.start_manager()
        node.handle_server_side('name', node.name)
    for node in deaf, asker:
        node.wait_server_count(2)
    assert asker.server_side_call('name') == [deaf.name]
    accepted = len(proxy.accepted)
    # Only the listener sends PING.
    assert proxy.swallow_replies(to=b'PING').wait(BACK_WITHIN)
    wait_until(lambda: len(proxy.accepted) > accepted, BACK_WITHIN,
               'the listener to connect again')
    for node in deaf, asker:
        node.wait_server_count(2)
    assert asker.server_side_call('name') == [deaf.name]
    assert deaf.server_side_call('name') == [asker.name]


# -- Redis refuses commands ---------------------------------------------------

def test_node_without_channel_rights_is_degraded(
        redis: RedisServer, start_nodes: StartNodes, unique: Unique,
        transport: str) -> None:
    """It reports the error, remains a member of the stream, and sends and
    answers requests once it has the rights."""
    user, name = unique('user'), unique('cluster')
    ask(redis, 'ACL', 'SETUSER', user, *NO_CHANNELS)
    options = {'request_transport': transport, 'channel_prefix': name,
               'stream_name': name, 'heartbeat_interval': 0.5,
               'heartbeat_timeout': 3.0}
    (barred,) = start_nodes(1, redis.url_of(user, 'secret'), **options)
    (other,) = start_nodes(1, redis.url, **options)
    for node in barred, other:
        node.start_manager()
        node.handle_server_side('name', node.name)

    def reports_error() -> bool:
        health = barred.health()
        return health['status'] == 'degraded' and health['connected'] \
            and 'permission' in (health['last_error'] or '')

    wait_until(reports_error, what=lambda: f'an error: {barred.health()}')
    wait_for_value(lambda: len(outage_lines(barred)), 1,
                   what='the number of logged errors')
    wait_for_value(lambda: len(other.nodes()), 2, what='the known nodes')
    # It remains a member for longer than a silent node would.
    begun = time.monotonic()
    while time.monotonic() - begun < 4.0:
        assert other.nodes() == [other.uid(), barred.uid()]
        assert reports_error()
    # A node that cannot be asked is missing, not absent.
    assert other.server_count() == 2
    with pytest.raises(RemoteError) as info:
        other.server_side_call('name', timeout=TIMEOUT)
    assert info.value.types[0] == 'ClusterTimeoutError'
    assert info.value.missing == [barred.uid()]
    ask(redis, 'ACL', 'SETUSER', user, f'&{name}#*')
    barred.wait_health('ok', BACK_WITHIN)
    for node in barred, other:
        node.wait_server_count(2)
    assert barred.server_side_call('name') == [other.name]
    assert other.server_side_call('name') == [barred.name]
    assert len(outage_lines(barred)) == 2


def test_node_without_publish_right_is_degraded(
        redis: RedisServer, start_nodes: StartNodes, unique: Unique,
        transport: str) -> None:
    user, name = unique('user'), unique('cluster')
    command = 'spublish' if transport == SHARDED else 'publish'
    ask(redis, 'ACL', 'SETUSER', user, *NO_CHANNELS, 'allchannels',
        f'-{command}')
    options = {'request_transport': transport, 'channel_prefix': name,
               'stream_name': name, **STEADY}
    (barred,) = start_nodes(1, redis.url_of(user, 'secret'), **options)
    (other,) = start_nodes(1, redis.url, **options)
    for node in barred, other:
        node.start_manager()
        node.handle_server_side('name', node.name)
    for node in barred, other:
        node.wait_server_count(2)
    with pytest.raises(RemoteError) as info:
        barred.server_side_call('name', timeout=TIMEOUT)
    assert info.value.types[0] == 'ClusterTimeoutError'
    health = barred.health()
    assert health['status'] == 'degraded' and health['connected']
    assert command in health['last_error']
    ask(redis, 'ACL', 'SETUSER', user, f'+{command}')

    def answered() -> bool:
        try:
            return barred.server_side_call('name', timeout=TIMEOUT) \
                == [other.name]
        except RemoteError:
            return False

    wait_until(answered, BACK_WITHIN, 'an answer')
    assert barred.health()['status'] == 'ok'


def test_stream_transport_needs_no_channel_rights(
        make_redis: MakeRedis, start_nodes: StartNodes) -> None:
    """Missing rights that are not needed are not reported."""
    server = make_redis().start()
    ask(server, 'ACL', 'SETUSER', 'node', *NO_CHANNELS)
    nodes = start_nodes(2, server.url_of('node', 'secret'), **STEADY)
    for node in nodes:
        node.start_manager()
        node.handle_server_side('name', node.name)
    for node in nodes:
        node.wait_server_count(2)
    # The nodes have tried to listen more than once.
    wait_until(lambda: int(ask(server, 'ACL', 'LOG')[0][1]) > 2,
               BACK_WITHIN, 'attempts to listen')
    for node, other in zip(nodes, nodes[::-1]):
        assert node.server_side_call('name') == [other.name]
        assert node.health()['status'] == 'ok'
        assert node.health()['last_error'] is None
        assert node.health()['outage'] is None
        assert [line for line in node.logs() if 'permission' in line] == []
