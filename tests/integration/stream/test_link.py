"""Redis keeps the contract of a transport; then behaviour of Redis alone, such
as its faulty states."""
import contextlib
import itertools
import os
from typing import Any, Callable, Iterator, List

import pytest

from redis_streams_adapter.stream.driver import open_driver
from redis_streams_adapter.stream.link import RedisLink
from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.protocol.transport import NO_STREAM, \
    NotReplicated, Unavailable

from ...support.client_library import REDIS_CLIENT
from ...support.proxy import Proxy
from ...support.ports import free_port
from ...support.redis_server import RedisServer
# The tests, and their fixtures.
from ...support.transport_contract import *  # noqa: F401, F403
from ...support.transport_contract import fields, in_thread, LONGEST, \
    MAX_LEN, numbers
from ...support.wait import DEADLINE, wait_until


@pytest.fixture(scope='module')
def server(redis_binary: str) -> Iterator[RedisServer]:
    with RedisServer() as own:
        yield own.start('--proto-max-bulk-len', str(LONGEST),
                        '--lua-time-limit', '1')


class Redis:
    """Redis as a backend of the contract."""

    def __init__(self, server: RedisServer, proxy: Proxy,
                 stream: str) -> None:
        self._server = server
        self._proxy = proxy
        self._stream = stream
        self.admin = server.client()

    def link(self, block: float = 0.0, url: str = '',
             min_replicas: int = 0, **options: Any) -> RedisLink:
        driver = open_driver(url or self._server.url, options, self._stream)
        return RedisLink(driver, self._stream, MAX_LEN, block, min_replicas)

    def unreachable_link(self) -> RedisLink:
        return self.link(url=f'{REDIS_CLIENT}://127.0.0.1:{free_port()}')

    def link_losing_a_reply(self) -> RedisLink:
        self._proxy.open()
        self._proxy.lose_reply_to(b'XADD')
        return self.link(url=self._proxy.url)

    def kill(self, link: Any) -> None:
        number = link.identity[0].decode()
        assert self.admin.client_kill_filter(_id=number) == 1

    def trim(self, keep: int = 0) -> None:
        self.admin.xtrim(self._stream, keep, approximate=False)

    def delete(self) -> None:
        self.admin.delete(self._stream)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        with READONLY(self):
            yield

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self.admin.execute_command('CLIENT', 'PAUSE', 60_000, 'WRITE')
        yield
        self.admin.execute_command('CLIENT', 'UNPAUSE')

    def waiting(self) -> int:
        return int(self.admin.info('clients')['blocked_clients'])

    def pass_time(self, link: Any) -> None:
        now = link.time()
        wait_until(lambda: link.time() > now + 1, what='the next moment')

    def entries(self) -> int:
        return int(self.admin.xlen(self._stream))


_streams = itertools.count()


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    with Proxy(free_port(), server.port) as proxy:
        backend = Redis(server, proxy, f'stream-{next(_streams)}')
        yield backend
        backend.admin.close()


@pytest.fixture
def backend(redis: Redis) -> Redis:
    return redis


def test_excess_entries_are_trimmed(redis: Redis) -> None:
    link = redis.link()
    link.connect()
    link.append([fields(0)] * (MAX_LEN + 250), 0)
    assert redis.entries() == MAX_LEN + 250
    link.trim()
    assert MAX_LEN <= redis.entries() < MAX_LEN + 100
    link.close()


# -- Redis alone -----------------------------------------------------------

State = Callable[[Redis], Any]


def state(enter: List[str], leave: List[str]) -> State:
    """A state that an administrator's commands cause and end."""
    @contextlib.contextmanager
    def during(redis: Redis) -> Iterator[None]:
        redis.admin.execute_command(*enter)
        try:
            yield
        finally:
            redis.admin.execute_command(*leave)

    return during


READONLY = state(['REPLICAOF', '127.0.0.1', '1'], ['REPLICAOF', 'NO', 'ONE'])
OOM = state(['CONFIG', 'SET', 'maxmemory', '1'],
            ['CONFIG', 'SET', 'maxmemory', '0'])
NOREPLICAS = state(['CONFIG', 'SET', 'min-replicas-to-write', '1'],
                   ['CONFIG', 'SET', 'min-replicas-to-write', '0'])


@contextlib.contextmanager
def MASTERDOWN(redis: Redis) -> Iterator[None]:
    stale = 'replica-serve-stale-data'
    redis.admin.config_set(stale, 'no')
    try:
        with READONLY(redis):
            yield
    finally:
        redis.admin.config_set(stale, 'yes')


@contextlib.contextmanager
def BUSY(redis: Redis) -> Iterator[None]:
    with redis._server.client() as client:
        wait = in_thread(client.eval, 'while true do end', 0)
        try:
            wait_until(lambda: _is_busy(redis))
            yield
        finally:
            redis.admin.script_kill()
            with pytest.raises(Exception, match='killed'):
                wait()


def _is_busy(redis: Redis) -> bool:
    try:
        redis.admin.dbsize()
    except Exception as exc:
        return 'BUSY' in str(exc)
    return False


@contextlib.contextmanager
def WRONGTYPE(redis: Redis) -> Iterator[None]:
    redis.admin.set(redis._stream, 'a text')
    yield
    redis.admin.delete(redis._stream)


@pytest.mark.parametrize('during, text', [
    (READONLY, 'read only replica'), (OOM, 'maxmemory'),
    (NOREPLICAS, 'NOREPLICAS'), (BUSY, 'BUSY'), (WRONGTYPE, 'WRONGTYPE')],
    ids=['READONLY', 'OOM', 'NOREPLICAS', 'BUSY', 'WRONGTYPE'])
def test_temporary_states(redis: Redis, during: State, text: str) -> None:
    link = redis.link()
    link.connect()
    with during(redis):
        for batch in ([fields(1)], [fields(1), fields(2)]):
            with pytest.raises(Unavailable, match=text) as caught:
                link.append(batch)
            assert not caught.value.in_doubt
    link.append([fields(3)])
    link.append([fields(4), fields(5)])
    assert numbers(link.read(START, 10, None)) == [3, 4, 5]
    link.close()


@pytest.mark.parametrize('during, text', [
    (WRONGTYPE, 'WRONGTYPE'), (MASTERDOWN, 'MASTER is down')],
    ids=['WRONGTYPE', 'MASTERDOWN'])
def test_temporary_states_without_reading(redis: Redis, during: State,
                                          text: str) -> None:
    link = redis.link()
    link.connect()
    link.append([fields(1)])
    redis.delete()
    with during(redis):
        for call in (lambda: link.read(START, 10, None), link.ends):
            with pytest.raises(Unavailable, match=text):
                call()
    assert link.ends() == NO_STREAM
    link.close()


@pytest.fixture
def user(redis: Redis, server: RedisServer) -> Iterator[Callable[..., str]]:
    """Makes or changes a second user: ``user('+@all')``."""
    def set_user(*rules: str) -> str:
        redis.admin.execute_command(
            'ACL', 'SETUSER', 'limited', 'on', '>secret', '~*', '&*', *rules)
        return server.url_of('limited', 'secret')

    yield set_user
    redis.admin.acl_deluser('limited')


def test_no_permission(redis: Redis, user: Callable[..., str]) -> None:
    link = redis.link(url=user('+@all', '-xadd', '-xread', '-xinfo'))
    link.connect()
    for call in (lambda: link.append([fields(1)]),
                 lambda: link.append([fields(1), fields(2)]),
                 lambda: link.read(START, 10, None), link.ends):
        with pytest.raises(Unavailable, match='permission') as caught:
            call()
        assert not caught.value.in_doubt
    # Once permitted again, it works on the same connection.
    user('+xadd', '+xread', '+xinfo')
    link.append([fields(3)])
    assert numbers(link.read(START, 10, None)) == [3]
    link.close()


def test_no_transactions(redis: Redis, user: Callable[..., str]) -> None:
    """A batch is not atomic then."""
    for command in ('multi', 'exec'):
        link = redis.link(url=user('+@all', f'-{command}'))
        if command == 'exec':
            # The transaction might be open still.
            with pytest.raises(Unavailable, match=command):
                link.connect()
        link.connect()
        assert not link.atomic
        before = redis.entries()
        assert len(link.append([fields(1), fields(2)])) == 2
        assert redis.entries() == before + 2
        link.close()


def test_revoked_transactions(redis: Redis, user: Callable[..., str]) -> None:
    """Commands sent after the refused one were executed."""
    link = redis.link(url=user('+@all'))
    link.connect()
    user('-multi')
    ids = link.append([fields(1), fields(2)])
    entries = link.read(START, 10, None)
    assert [bytes(entry.id) for entry in entries] == ids
    assert numbers(entries) == [1, 2]
    assert not link.atomic
    link.close()
    user('+multi')
    link.connect()
    assert link.atomic
    user('-exec')
    with pytest.raises(Unavailable, match='exec') as caught:
        link.append([fields(3), fields(4)])
    assert not caught.value.in_doubt
    link.close()
    assert redis.entries() == 2


def test_without_permission_for_client_commands(
        redis: Redis, user: Callable[..., str]) -> None:
    other = redis.link()
    other.connect()
    link = redis.link(url=user('+@all', '-client'))
    link.connect()
    assert link.identity is None
    link.end_other(other.identity)
    other.append([fields(1)])
    assert numbers(link.read(START, 10, None)) == [1]
    link.close()
    other.close()


def test_no_password(redis: Redis, server: RedisServer) -> None:
    needs_password = state(['CONFIG', 'SET', 'requirepass', 'secret'],
                           ['CONFIG', 'SET', 'requirepass', ''])
    wrong = f'{REDIS_CLIENT}://:wrong@127.0.0.1:{server.port}'
    right = f'{REDIS_CLIENT}://:secret@127.0.0.1:{server.port}'
    with needs_password(redis):
        for url in (server.url, wrong):
            link = redis.link(url=url)
            with pytest.raises(Unavailable) as caught:
                link.connect()
                link.append([fields(1)])
            assert 'secret' not in str(caught.value)
            assert 'wrong' not in str(caught.value).partition('WRONGPASS')[0]
            link.close()
        link = redis.link(url=right)
        link.connect()
        link.append([fields(2)])
        link.close()
    assert redis.entries() == 1


def test_loading(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis(append_only=True)
    with server.start().client() as client:
        pipeline = client.pipeline()
        for number in range(5000):
            pipeline.set(f'key-{number}', number)
        pipeline.execute()
    server.stop()
    # Loading takes 5000 times as many microseconds; commands are answered
    # after every 1024 keys.
    server.start('--key-load-delay', '100', ready=False)
    said = []

    def has_loaded() -> bool:
        link = RedisLink(open_driver(server.url, {}, 's'), 's', MAX_LEN)
        try:
            link.connect()
            link.append([fields(1)])
            return True
        except Unavailable as exc:
            said.append(str(exc))
            return False
        finally:
            link.close()

    wait_until(has_loaded)
    assert any('loading' in each for each in said), said


def test_frozen_server_is_noticed(redis: Redis) -> None:
    link = redis.link(socket_timeout=0.1)
    link.connect()
    with redis.frozen():
        with pytest.raises(Unavailable) as caught:
            in_thread(link.append, [fields(1)])()
        assert caught.value.in_doubt
    link.close()


def test_socket_timeout_exceeds_block_time(redis: Redis) -> None:
    link = redis.link(block=0.3, socket_timeout=0.1)
    link.connect()
    assert in_thread(link.read, START, 10, 0.3)() == []
    link.close()


def test_stream_length_is_bounded(redis: Redis) -> None:
    link = redis.link()
    link.connect()
    for _ in range(12):
        link.append([fields(0)] * 100)
    # Redis trims in nodes of 100 entries.
    assert MAX_LEN <= redis.entries() < MAX_LEN + 100
    link.close()


def test_append_waits_for_replicas(redis: Redis,
                                   make_redis: Callable[..., RedisServer],
                                   server: RedisServer) -> None:
    link = redis.link(min_replicas=1, socket_timeout=1.0)
    link.connect()
    for batch in ([fields(1)], [fields(2), fields(3)]):
        with pytest.raises(NotReplicated, match='0 of 1 replicas') as info:
            link.append(batch)
        assert info.value.in_doubt
    # The entries are stored anyway, and the link continues.
    assert redis.entries() == 3
    replica = make_redis()
    replica.start('--replicaof', '127.0.0.1', str(server.port),
                  '--repl-diskless-sync-delay', '0')
    with replica.client() as admin:
        wait_until(lambda: admin.info('replication')[
            'master_link_status'] == 'up', what='the replica')
        wait_until(lambda: redis.admin.info('replication').get(
            'slave0', {}).get('state') == 'online', what='the replica')
    link.close()
    # The reply may take some time.
    patient = redis.link(min_replicas=1, socket_timeout=2 * DEADLINE)
    patient.connect()
    assert len(patient.append([fields(4)])) == 1
    assert len(patient.append([fields(5), fields(6)])) == 2
    patient.close()


@pytest.mark.filterwarnings('ignore:.*fork:DeprecationWarning')
def test_abandon_keeps_the_parents_connection(redis: Redis) -> None:
    link = redis.link()
    link.connect()
    pid = os.fork()
    if not pid:
        link.abandon()
        os._exit(0)
    os.waitpid(pid, 0)
    link.append([fields(1)])
    assert redis.entries() == 1
    link.close()
