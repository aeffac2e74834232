"""The contract of a transport, held against the fake of these tests and
against Redis; then what only Redis can show: its states of trouble."""
import contextlib
import itertools
import os
import threading
import time
from typing import Any, Callable, Iterator, List

import pytest

from redis_streams_adapter.stream.driver import open_driver
from redis_streams_adapter.stream.link import RedisLink
from redis_streams_adapter.protocol.transport import EntryRefused, id_before, \
    NO_STREAM, NotReplicated, parse_id, START, Unavailable

from ...support.proxy import Proxy
from ...support.redis_server import RedisServer, free_port
from ...support.wait import DEADLINE, wait_until
from ..fake_transport import FakeStream, Fault

#: The longest value that the server of these tests takes, in bytes. It is
#: the least that Redis can be told.
LONGEST = 1 << 20

MAX_LEN = 1000

#: Seconds: longer than any test, so that only what a test does ends a wait.
FOR_GOOD = 60.0


def fields(number: Any) -> List[bytes]:
    return [b'name', b'value', b'number', str(number).encode()]


def numbers(entries: Any) -> List[int]:
    """What :func:`fields` was given for each entry."""
    return [int(entry.fields[3]) for entry in entries]


@pytest.fixture(scope='module')
def server(redis_binary: str) -> Iterator[RedisServer]:
    with RedisServer() as own:
        yield own.start('--proto-max-bulk-len', str(LONGEST),
                        '--lua-time-limit', '1')


class Fake:
    """The fake, as this suite wants it."""

    def __init__(self) -> None:
        self.stream = FakeStream()
        self.stream.chokes_on = lambda entry: any(
            len(value) > LONGEST for value in entry)
        self.kill = self.stream.kill
        self.trim = self.stream.trim
        self.delete = self.stream.delete

    def link(self, block: float = 0.0) -> Any:
        return self.stream.link()

    def link_to_nobody(self) -> Any:
        nobody = FakeStream()
        nobody.go_away()
        return nobody.link()

    def link_losing_a_reply(self) -> Any:
        self.stream.plan('append', Fault.BREAK_AFTER)
        return self.stream.link()

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        self.stream.error = 'OOM'
        yield
        self.stream.error = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self.stream.freeze()
        yield
        self.stream.thaw()

    def waiting(self) -> int:
        return self.stream.waiting

    def pass_time(self, link: Any) -> None:
        self.stream.advance(1.0)


class Redis:
    """Redis, as this suite wants it."""

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

    def link_to_nobody(self) -> RedisLink:
        return self.link(url=f'redis://127.0.0.1:{free_port()}')

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


@pytest.fixture(params=['fake', 'redis'])
def backend(request: pytest.FixtureRequest) -> Any:
    if request.param == 'fake':
        return Fake()
    return request.getfixturevalue('redis')


@pytest.fixture
def connect(backend: Any) -> Iterator[Callable[..., Any]]:
    """Makes a connected link, and closes it at the end."""
    with contextlib.ExitStack() as stack:
        def make(link: Any = None, **options: Any) -> Any:
            if link is None:
                link = backend.link(**options)
            link.connect()
            stack.callback(link.close)
            return link

        yield make


@pytest.fixture
def link(connect: Callable[..., Any]) -> Any:
    return connect()


def in_thread(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Call a function in a thread.

    :return: waits for its result, or raises what it raised.
    """
    result: List[Any] = []

    def run() -> None:
        try:
            result.append((function(*args), None))
        except Exception as exc:
            result.append((None, exc))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait() -> Any:
        thread.join(DEADLINE)
        assert result, 'the call has not ended'
        value, error = result[0]
        if error is not None:
            raise error
        return value

    return wait


# -- appending -----------------------------------------------------------

@pytest.mark.parametrize('count', [1, 2, 50])
def test_append_and_read(link: Any, count: int) -> None:
    batch = [fields(number) for number in range(count)]
    ids = link.append(batch)
    entries = link.read(START, 100, None)
    assert [list(entry.fields) for entry in entries] == batch
    assert [entry.id for entry in entries] == ids
    assert all(isinstance(each, bytes) for each in ids)


def test_any_bytes(link: Any) -> None:
    content = [b'', bytes(range(256)), b'\r\n$5\r\n', b'\xff' * 100_000, b'k',
               b'\x00']
    link.append([content])
    link.append([content, content])
    assert [list(entry.fields) for entry in link.read(START, 10, None)] == [
        content] * 3


def test_ids_ascend(link: Any) -> None:
    ids = [entry_id for _ in range(20)
           for entry_id in link.append([fields(0)] * 10)]
    parsed = [parse_id(entry_id) for entry_id in ids]
    assert parsed == sorted(set(parsed))


def test_batches_are_not_mixed(connect: Callable[..., Any]) -> None:
    writers, size = 4, 10
    done = [in_thread(lambda link, first: [
                link.append([fields(first)] * size) for _ in range(20)],
                connect(), writer) for writer in range(writers)]
    for wait in done:
        wait()
    found = numbers(connect().read(START, 10_000, None))
    assert len(found) == writers * size * 20
    for start in range(0, len(found), size):
        assert len(set(found[start:start + size])) == 1


def test_one_link_sees_what_another_has_stored(
        link: Any, connect: Callable[..., Any]) -> None:
    stored, = connect().append([fields(7)])
    assert link.ends().last_id == stored
    assert numbers(link.read(START, 10, None)) == [7]


def test_a_refusal_is_not_in_doubt(backend: Any, link: Any) -> None:
    link.append([fields(0)])
    with backend.refusing():
        for batch in ([fields(1)], [fields(1), fields(2)]):
            with pytest.raises(Unavailable) as caught:
                link.append(batch)
            assert not caught.value.in_doubt
    # The connection is as good as before.
    link.append([fields(3)])
    assert numbers(link.read(START, 10, None)) == [0, 3]


def test_what_is_killed_before_a_command_is_in_doubt(
        backend: Any, link: Any, connect: Callable[..., Any]) -> None:
    backend.kill(link)
    with pytest.raises(Unavailable) as caught:
        link.append([fields(1)])
    assert caught.value.in_doubt
    assert connect().read(START, 10, None) == []


@pytest.mark.parametrize('count', [1, 3])
def test_what_is_killed_after_a_command_is_in_doubt(
        backend: Any, connect: Callable[..., Any], count: int) -> None:
    link = connect(backend.link_losing_a_reply())
    with pytest.raises(Unavailable) as caught:
        link.append([fields(number) for number in range(count)])
    assert caught.value.in_doubt
    assert numbers(connect().read(START, 10, None)) == list(range(count))


def test_a_frozen_append_can_be_interrupted(backend: Any,
                                            link: Any) -> None:
    with backend.frozen():
        wait = in_thread(link.append, [fields(1)])
        with pytest.raises(Unavailable) as caught:
            interrupt_until(link, wait)
    assert caught.value.in_doubt


def interrupt_until(link: Any, wait: Callable[[], Any]) -> None:
    """Interrupt a call that goes on in a thread, from two sides."""
    link.interrupt()
    link.interrupt()
    wait()


# -- an entry that is refused -----------------------------------------------

@pytest.mark.parametrize('size', [LONGEST + 1, LONGEST * 16])
@pytest.mark.parametrize('count, index', [(1, 0), (3, 0), (3, 1), (3, 2)])
def test_an_entry_that_can_never_be_stored(
        link: Any, connect: Callable[..., Any], count: int, index: int,
        size: int) -> None:
    batch = [fields(number) for number in range(count)]
    batch[index] = [b'name', b'x' * size]
    with pytest.raises((EntryRefused, Unavailable)) as caught:
        link.append(batch)
    # A server that hangs up before it has read it all may not be
    # understood.
    if isinstance(caught.value, EntryRefused):
        assert caught.value.index == index
    else:
        assert caught.value.in_doubt
    assert connect().read(START, 10, None) == []


# -- reading ---------------------------------------------------------------

def test_pages_without_gaps(link: Any) -> None:
    link.append([fields(number) for number in range(25)])
    position, found = START, []
    while page := link.read(position, 10, None):
        assert len(page) <= 10
        found += numbers(page)
        position = page[-1].id
    assert found == list(range(25))


def test_read_behind_a_cursor(link: Any) -> None:
    ids = link.append([fields(number) for number in range(5)])
    assert numbers(link.read(ids[2], 10, None)) == [3, 4]
    assert link.read(ids[-1], 10, None) == []


def test_the_cursor_may_be_of_an_entry_that_is_gone(
        backend: Any, link: Any) -> None:
    ids = link.append([fields(number) for number in range(5)])
    backend.trim(2)
    assert numbers(link.read(ids[0], 10, None)) == [3, 4]
    assert numbers(link.read(ids[3], 10, None)) == [4]


def test_read_of_a_stream_that_is_not_there(link: Any) -> None:
    assert link.read(START, 10, None) == []
    assert link.read(START, 10, 0.001) == []


def test_read_returns_what_is_there_at_once(
        connect: Callable[..., Any]) -> None:
    link = connect(block=FOR_GOOD)
    link.append([fields(1)])
    assert numbers(in_thread(link.read, START, 10, FOR_GOOD)()) == [1]


def test_read_wakes_on_append(backend: Any, link: Any,
                              connect: Callable[..., Any]) -> None:
    reader = connect(block=FOR_GOOD)
    wait = in_thread(reader.read, START, 10, FOR_GOOD)
    wait_until(backend.waiting)
    link.append([fields(1), fields(2)])
    assert numbers(wait())[:1] == [1]


def test_read_wakes_on_the_first_append_after_a_deletion(
        backend: Any, link: Any, connect: Callable[..., Any]) -> None:
    last, = link.append([fields(1)])
    backend.delete()
    reader = connect(block=FOR_GOOD)
    wait = in_thread(reader.read, START, 10, FOR_GOOD)
    wait_until(backend.waiting)
    link.append([fields(2)])
    assert numbers(wait()) == [2]


@pytest.mark.parametrize('block', [0.0001, 0.05])
def test_read_ends_after_its_time(connect: Callable[..., Any],
                                  block: float) -> None:
    link = connect(block=block)
    begun = time.monotonic()
    assert in_thread(link.read, START, 10, block)() == []
    assert time.monotonic() - begun >= block


def test_a_waiting_read_can_be_interrupted(
        backend: Any, connect: Callable[..., Any]) -> None:
    link = connect(block=FOR_GOOD)
    wait = in_thread(link.read, START, 10, FOR_GOOD)
    wait_until(backend.waiting)
    with pytest.raises(Unavailable):
        interrupt_until(link, wait)


def test_a_read_after_an_interrupt_does_not_wait(
        connect: Callable[..., Any]) -> None:
    """It may come a moment before the read that it is meant for."""
    link = connect(block=FOR_GOOD)
    link.interrupt()
    with pytest.raises(Unavailable):
        in_thread(link.read, START, 10, FOR_GOOD)()


def test_a_waiting_read_ends_with_its_connection(
        backend: Any, connect: Callable[..., Any]) -> None:
    link = connect(block=FOR_GOOD)
    wait = in_thread(link.read, START, 10, FOR_GOOD)
    wait_until(backend.waiting)
    backend.kill(link)
    with pytest.raises(Unavailable):
        wait()


# -- the ends --------------------------------------------------------------

def test_ends(backend: Any, link: Any) -> None:
    assert link.ends() == NO_STREAM
    ids = link.append([fields(1), fields(2)])
    assert link.ends()[:2] == (ids[0], ids[-1])
    backend.trim()
    assert link.ends()[:2] == (None, ids[-1])
    assert link.read(START, 10, None) == []
    later, = link.append([fields(3)])
    assert parse_id(later) > parse_id(ids[-1])
    assert link.ends()[:2] == (later, later)
    # The server counts since 7.0.
    assert link.ends().added in (3, None)
    backend.delete()
    assert link.ends() == NO_STREAM


def test_where_to_read_from_to_find_an_entry(link: Any) -> None:
    ids = link.append([fields(number) for number in range(3)])
    for entry_id in ids:
        entry, = link.read(id_before(entry_id), 1, None)
        assert entry.id == entry_id
    assert id_before(b'5-0') == b'4-%d' % (2**64 - 1)
    assert id_before(b'5-1') == b'5-0'


# -- trimming --------------------------------------------------------------

def test_what_is_old_is_forgotten(link: Any, backend: Any) -> None:
    """Whole nodes of 100 entries are, in Redis."""
    batch = [fields(number) for number in range(300)]
    ids = link.append(batch)
    backend.pass_time(link)
    last, = link.append([fields(0)], b'0')
    assert link.ends().first_id == ids[0]
    milliseconds = int(last.partition(b'-')[0])
    link.append([fields(0)], b'%d' % milliseconds)
    first = link.ends().first_id
    assert parse_id(ids[199]) < parse_id(first) <= parse_id(last)


def test_what_is_too_much_is_forgotten(redis: Redis) -> None:
    link = redis.link()
    link.connect()
    link.append([fields(0)] * (MAX_LEN + 250), b'0')
    assert redis.entries() == MAX_LEN + 250
    link.trim()
    assert MAX_LEN <= redis.entries() < MAX_LEN + 100
    link.close()


# -- connections -----------------------------------------------------------

def test_nobody_there(backend: Any) -> None:
    link = backend.link_to_nobody()
    with pytest.raises(Unavailable) as caught:
        link.connect()
    assert not caught.value.in_doubt
    link.close()


def test_identities_differ(connect: Callable[..., Any]) -> None:
    identities = [connect().identity for _ in range(3)]
    assert len(set(identities)) == 3
    assert None not in identities


def test_end_other(link: Any, connect: Callable[..., Any]) -> None:
    other, third = connect(), connect()
    other.append([fields(1)])
    link.end_other(other.identity)
    # Nothing that it sends takes effect any more.
    with pytest.raises(Unavailable):
        other.append([fields(2)])
    assert numbers(link.read(START, 10, None)) == [1]
    third.append([fields(3)])
    # It is gone, which is as good.
    link.end_other(other.identity)
    assert numbers(link.read(START, 10, None)) == [1, 3]


def test_end_other_ends_a_waiting_read(
        backend: Any, link: Any, connect: Callable[..., Any]) -> None:
    other = connect(block=FOR_GOOD)
    wait = in_thread(other.read, START, 10, FOR_GOOD)
    wait_until(backend.waiting)
    link.end_other(other.identity)
    with pytest.raises(Unavailable):
        wait()


def test_a_broken_link_stays_broken(backend: Any, link: Any,
                                    connect: Callable[..., Any]) -> None:
    """What it said would not be covered by its identity any more."""
    backend.kill(link)
    with pytest.raises(Unavailable):
        link.ends()
    for call in (link.ends, link.time,
                 lambda: link.read(START, 10, None),
                 lambda: link.append([fields(1)])):
        with pytest.raises(Unavailable):
            call()
    assert connect().read(START, 10, None) == []


def test_close_and_interrupt_never_fail(backend: Any) -> None:
    link = backend.link()
    link.interrupt()
    link.close()
    link = backend.link()
    link.connect()
    link.close()
    link.interrupt()
    link.close()


def test_the_servers_clock(link: Any) -> None:
    before = link.time()
    stored, = link.append([fields(1)])
    assert before <= parse_id(stored)[0] <= link.time()


# -- Redis alone -----------------------------------------------------------

State = Callable[[Redis], Any]


def state(enter: List[str], leave: List[str]) -> State:
    """A state into which commands of an administrator bring the server."""
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
def test_states_that_pass(redis: Redis, during: State, text: str) -> None:
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
def test_states_without_reading(redis: Redis, during: State,
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
    """Makes the one other user, or changes him: ``user('+@all')``."""
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
    # What an operator mends works on the same connection.
    user('+xadd', '+xread', '+xinfo')
    link.append([fields(3)])
    assert numbers(link.read(START, 10, None)) == [3]
    link.close()


def test_no_transactions(redis: Redis, user: Callable[..., str]) -> None:
    """A batch would not be all or nothing."""
    for command in ('multi', 'exec'):
        link = redis.link(url=user('+@all', f'-{command}'))
        with pytest.raises(Unavailable, match=command):
            link.connect()
        link.close()


def test_no_transactions_any_more(redis: Redis, user: Callable[..., str],
                                  ) -> None:
    """What was sent behind the refused command was carried out."""
    link = redis.link(url=user('+@all'))
    link.connect()
    user('-multi')
    stored = link.append([fields(1), fields(2)])
    entries = link.read(START, 10, None)
    assert [entry.id for entry in entries] == stored
    assert numbers(entries) == [1, 2]
    user('+multi', '-exec')
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
    wrong = f'redis://:wrong@127.0.0.1:{server.port}'
    right = f'redis://:secret@127.0.0.1:{server.port}'
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
    # Loading takes 5000 times so many microseconds; commands are answered
    # after each 1024 keys.
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


def test_a_server_that_is_frozen_is_noticed(redis: Redis) -> None:
    link = redis.link(socket_timeout=0.1)
    link.connect()
    with redis.frozen():
        with pytest.raises(Unavailable) as caught:
            in_thread(link.append, [fields(1)])()
        assert caught.value.in_doubt
    link.close()


def test_the_socket_timeout_is_above_the_block_time(redis: Redis) -> None:
    link = redis.link(block=0.3, socket_timeout=0.1)
    link.connect()
    assert in_thread(link.read, START, 10, 0.3)() == []
    link.close()


def test_the_stream_keeps_a_bounded_length(redis: Redis) -> None:
    link = redis.link()
    link.connect()
    for _ in range(12):
        link.append([fields(0)] * 100)
    # It is trimmed in nodes of 100 entries.
    assert MAX_LEN <= redis.entries() < MAX_LEN + 100
    link.close()


def test_replicas_are_waited_for(redis: Redis,
                                 make_redis: Callable[..., RedisServer],
                                 server: RedisServer) -> None:
    link = redis.link(min_replicas=1, socket_timeout=1.0)
    link.connect()
    for batch in ([fields(1)], [fields(2), fields(3)]):
        with pytest.raises(NotReplicated, match='0 of 1 replicas') as info:
            link.append(batch)
        assert info.value.in_doubt
    # They are stored all the same, and the link goes on.
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
    # It may take its time to say so.
    patient = redis.link(min_replicas=1, socket_timeout=2 * DEADLINE)
    patient.connect()
    assert len(patient.append([fields(4)])) == 1
    assert len(patient.append([fields(5), fields(6)])) == 2
    patient.close()


@pytest.mark.filterwarnings('ignore:.*fork:DeprecationWarning')
def test_abandoning_does_not_end_the_connection_of_the_parent(
        redis: Redis) -> None:
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
