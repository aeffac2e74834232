"""Redis runs, but ends connections, refuses commands or is silent: nothing is
lost or duplicated, no task ends, no handler hangs."""
import contextlib
import logging
import time
from typing import Any, Callable, Iterator, List

import pytest

from ..conftest import running
from ..support.client import Client
from ..support.node_process import NodeProcess, RemoteError
from ..support.ports import free_port
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .conftest import STEADY, start_managers
from .helpers import BACK_WITHIN, check_outage_lines, check_working, \
    log_lengths, numbers, PROMPT, wait_for_outage

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]
MakeRedis = Callable[..., RedisServer]


@pytest.fixture(scope='module')
def faulty_redis(redis_binary: str) -> Iterator[RedisServer]:
    """A Redis for faults that leave no trace."""
    with RedisServer(append_only=True) as server:
        server.start()
        with server.client() as admin:
            # The nodes' user, whose rights can be revoked.
            admin.execute_command('ACL', 'SETUSER', 'node', 'on', '>secret',
                                  'allkeys', 'allchannels', '+@all')
        yield server


@pytest.fixture(scope='module')
def pair(mode: str, faulty_redis: RedisServer) -> Iterator[List[NodeProcess]]:
    """Two nodes on it."""
    url = faulty_redis.url_of('node', 'secret')
    with running([NodeProcess(mode, url, STEADY)
                  for _ in range(2)]) as nodes:
        start_managers(nodes)
        yield nodes


@pytest.fixture
def clients(pair: List[NodeProcess], connect: Connect) -> List[Client]:
    """A client on each node."""
    return [connect(node) for node in pair]


# -- Redis ends connections, or does not answer ------------------------------

def test_connections_are_killed_twenty_times(
        pair: List[NodeProcess], clients: List[Client],
        faulty_redis: RedisServer, unique: Unique) -> None:
    events = [unique('event') for _ in pair]
    for node, event in zip(pair, events):
        # Each node also receives what the other one emits.
        node.start_pulse(event, 0.01)
    with faulty_redis.client() as admin:
        for _ in range(20):
            before = [len(clients[1 - index].received(event))
                      for index, event in enumerate(events)]
            admin.execute_command('CLIENT', 'KILL', 'TYPE', 'normal')
            # Each node hears from the other again before the next fault.
            for index, event in enumerate(events):
                clients[1 - index].wait_for(event, before[index] + 5,
                                            timeout=BACK_WITHIN)
    emitted = [node.stop_pulse(event) for node, event in zip(pair, events)]
    check_working(pair, clients, unique)
    for client in clients:
        for event, count in zip(events, emitted):
            client.wait_for(event, count)
            assert numbers(client, event) == list(range(count))


def test_frozen_redis(pair: List[NodeProcess], clients: List[Client],
                      faulty_redis: RedisServer, unique: Unique) -> None:
    """Redis accepts everything and answers nothing for a while."""
    event = unique('event')
    faulty_redis.freeze()
    try:
        started = time.monotonic()
        for number in range(20):
            pair[0].emit(event, number)
        assert time.monotonic() - started < PROMPT
        clients[0].wait_for(event, 20)
        assert numbers(clients[1], event) == []
    finally:
        faulty_redis.thaw()
    clients[1].wait_for(event, 20)
    check_working(pair, clients, unique)
    for client in clients:
        assert numbers(client, event) == list(range(20))


@pytest.mark.parametrize('publish', ['background', 'sync'])
def test_frozen_for_longer_than_commands_wait(
        make_redis: MakeRedis, start_nodes: StartNodes, connect: Connect,
        unique: Unique, publish: str) -> None:
    """When it wakes up it may execute commands given up long ago."""
    redis = make_redis().start()
    nodes = start_nodes(2, redis.url, publish=publish,
                        redis_options={'socket_timeout': 0.5}, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event, starts = unique('event'), log_lengths(nodes)
    redis.freeze()
    try:
        started = time.monotonic()
        for number in range(10):
            nodes[0].emit(event, number)
        assert time.monotonic() - started < 0.5 + PROMPT
        wait_for_outage(nodes[:1], starts[:1])
    finally:
        redis.thaw()
    clients[1].wait_for(event, 10, timeout=BACK_WITHIN)
    check_working(nodes, clients, unique)
    for client in clients:
        assert numbers(client, event) == list(range(10))
    with redis.client() as admin:
        stored = [fields for _, fields in admin.xrange('socket.io')
                  if event.encode() in fields.get(b'data', b'')]
    assert len(stored) == 10


# -- Redis refuses -----------------------------------------------------------

@contextlib.contextmanager
def wrong_type(admin: Any) -> Iterator[None]:
    """The stream's key holds another type."""
    swap = admin.pipeline(transaction=True)
    swap.rename('socket.io', 'put aside')
    swap.set('socket.io', 'not a stream')
    swap.execute()
    yield
    swap = admin.pipeline(transaction=True)
    swap.delete('socket.io')
    swap.rename('put aside', 'socket.io')
    swap.execute()


@contextlib.contextmanager
def read_only(admin: Any) -> Iterator[None]:
    """The server is a replica of a missing one."""
    admin.execute_command('REPLICAOF', '127.0.0.1', free_port())
    yield
    admin.execute_command('REPLICAOF', 'NO', 'ONE')


@contextlib.contextmanager
def cut_off_replica(admin: Any) -> Iterator[None]:
    """The same, and it must not return data that may be stale."""
    admin.config_set('replica-serve-stale-data', 'no')
    with read_only(admin):
        yield
    admin.config_set('replica-serve-stale-data', 'yes')


@contextlib.contextmanager
def out_of_memory(admin: Any) -> Iterator[None]:
    """The server accepts no data."""
    admin.config_set('maxmemory-policy', 'noeviction')
    admin.config_set('maxmemory', 1)
    yield
    admin.config_set('maxmemory', 0)


def without_rights(*rules: str) -> Callable[[Any], Any]:
    """The nodes' user loses rights, and gets them back."""
    @contextlib.contextmanager
    def fault(admin: Any) -> Iterator[None]:
        admin.execute_command('ACL', 'SETUSER', 'node', *rules)
        yield
        admin.execute_command('ACL', 'SETUSER', 'node', 'on', 'allkeys',
                              '+@all')

    return fault


@contextlib.contextmanager
def locked_out(admin: Any) -> Iterator[None]:
    """The nodes' user cannot log in any more, and is disconnected."""
    admin.execute_command('ACL', 'SETUSER', 'node', 'off')
    admin.execute_command('CLIENT', 'KILL', 'USER', 'node')
    yield
    admin.execute_command('ACL', 'SETUSER', 'node', 'on')


@contextlib.contextmanager
def busy_with_a_script(admin: Any) -> Iterator[None]:
    """The server answers BUSY to everything."""
    admin.config_set('lua-time-limit', 1)
    connection = admin.connection_pool.make_connection()
    connection.send_command('EVAL', 'while true do end', 0)
    yield
    admin.execute_command('SCRIPT', 'KILL')
    connection.disconnect()


FAULTS = {
    'WRONGTYPE': wrong_type, 'READONLY': read_only,
    'MASTERDOWN': cut_off_replica,
    'NOPERM to write': without_rights('-xadd'),
    'NOPERM to read': without_rights('-xread'),
    'NOPERM at all': without_rights('-@all'),
    'NOPERM for the key': without_rights('resetkeys'),
    'WRONGPASS': locked_out, 'BUSY': busy_with_a_script}


@pytest.mark.parametrize('name', FAULTS)
def test_refusal(pair: List[NodeProcess], clients: List[Client],
                 faulty_redis: RedisServer, unique: Unique,
                 name: str) -> None:
    event = unique('event')
    starts = log_lengths(pair)
    with faulty_redis.client() as admin, FAULTS[name](admin):
        started = time.monotonic()
        for number in range(10):
            for sender, node in enumerate(pair):
                node.emit(event, (sender, number))
        assert time.monotonic() - started < PROMPT
        wait_for_outage(pair, starts)
    for client in clients:
        client.wait_for(event, 20, timeout=BACK_WITHIN)
    check_working(pair, clients, unique)
    for client in clients:
        for sender in range(2):
            assert [number for emitter, number in client.received(event)
                    if emitter == sender] == list(range(10))
    check_outage_lines(pair, starts)


# Of the shorter history, a node of the stream is more than the usual share.
@pytest.mark.parametrize('history', [160, 200])
def test_memory_of_redis_is_full(make_redis: MakeRedis,
                                 start_nodes: StartNodes, connect: Connect,
                                 unique: Unique, history: int) -> None:
    """The writers trim the stream, report that, and wait if it does not
    help. Nothing that was emitted meanwhile is lost."""
    redis = make_redis().start()
    nodes = start_nodes(2, redis.url, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    for number in range(history):
        nodes[0].emit('before', number)
    assert nodes[0].flush()
    event, starts = unique('event'), log_lengths(nodes)
    with redis.client() as admin, out_of_memory(admin):
        for number in range(10):
            for sender, node in enumerate(nodes):
                node.emit(event, (sender, number))
        wait_for_outage(nodes, starts)
    for client in clients:
        client.wait_for(event, 20, timeout=BACK_WITHIN)
        for sender in range(2):
            assert [number for emitter, number in client.received(event)
                    if emitter == sender] == list(range(10))
    check_outage_lines(nodes, starts)
    errors = [line for node in nodes for line in node.logs(logging.ERROR)]
    assert errors
    assert all('entries_evicted' in line for line in errors), errors


def test_loading(make_redis: MakeRedis, start_nodes: StartNodes,
                 connect: Connect, unique: Unique) -> None:
    """A server that has just started may refuse commands until it has read
    its data."""
    redis = make_redis(append_only=True)
    redis.start('--aof-use-rdb-preamble', 'yes', '--rdbcompression', 'no')
    with redis.client() as admin:
        if not admin.config_get('loading-process-events-interval-bytes'):
            pytest.skip('before version 7 only huge data load slowly')
    nodes = start_nodes(2, redis.url, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    with redis.client() as admin:
        fill = admin.pipeline()
        for number in range(1000):
            fill.set(f'load-{number}', 'x' * 1000)
        fill.execute()
        admin.bgrewriteaof()
        wait_until(lambda: not admin.info('persistence')[
            'aof_rewrite_in_progress'], what='the file to be rewritten')
    redis.stop()
    event = unique('event')
    for number in range(10):
        nodes[0].emit(event, number)
    # Half a minute for 1000 keys, if it completes; it answers in between.
    redis.start('--key-load-delay', '30000',
                '--loading-process-events-interval-bytes', '1024',
                ready=False)
    for node in nodes:
        wait_until(lambda: 'loading' in node.health()['last_error'],
                   what='a node to learn that Redis is loading')
    assert clients[1].received(event) == []
    with redis.client() as admin:
        assert admin.config_set('key-load-delay', 0)
    clients[1].wait_for(event, 10, timeout=BACK_WITHIN)
    check_working(nodes, clients, unique)
    for client in clients:
        assert numbers(client, event) == list(range(10))


@pytest.mark.parametrize('publish', ['background', 'sync'])
def test_message_that_is_too_large(
        make_redis: MakeRedis, start_nodes: StartNodes, connect: Connect,
        unique: Unique, publish: str) -> None:
    """Redis will never accept it: it is reported and not sent again."""
    redis = make_redis().start()
    nodes = start_nodes(2, redis.url, publish=publish, **STEADY)
    start_managers(nodes)
    client, event = connect(nodes[1]), unique('event')
    with redis.client() as admin:
        admin.config_set('proto-max-bulk-len', 1024 * 1024)
    for number in range(5):
        nodes[0].emit(event, number)
    try:
        nodes[0].emit(event, 'x' * 2_000_000)
    except RemoteError as exc:
        # Only a waiting emit can raise, and not even that if the server
        # hangs up before its reply is read.
        assert publish == 'sync'
        assert 'RedisStreamsError' in exc.types
    for number in range(5, 10):
        nodes[0].emit(event, number)
    client.wait_for(event, 10, timeout=BACK_WITHIN)
    assert numbers(client, event) == list(range(10))
    assert nodes[0].flush()
    assert nodes[0].stats()['refused'] == 1
    assert len(nodes[0].logs(logging.ERROR)) == 1
    nodes[0].wait_health('ok')
