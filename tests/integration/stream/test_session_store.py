"""Session stores over a real Redis, used by many tasks at once."""
import os
import threading
import time
from typing import Any, List, Optional

import pytest

from redis_streams_adapter.stream.driver import open_driver
from redis_streams_adapter.stream.session_store import ABSENT, CHANGED, DONE, \
    Found, PIPELINE, SessionStore, Swap
from redis_streams_adapter.stream.connection import Refused, Connection
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.transport import Unavailable

from ...support.client_library import REDIS_CLIENT
from ...support.proxy import Proxy
from ...support.ports import free_port
from ...support.redis_server import RedisServer
from ...support.replicated import ask
from ...support.wait import DEADLINE, wait_for_value, wait_until
from ...unit.nodes import Call
from .conftest import end, Make, PREFIX, STREAM, TTL

#: Seconds after which a server is taken for dead.
SHORT = 0.3


def wait_healthy(sessions: SessionStore) -> None:
    """Wait until the store answers."""
    def answers() -> bool:
        try:
            sessions.get('any')
            return True
        except Unavailable:
            return False

    wait_until(answers, what='sessions')


# -- content -----------------------------------------------------------------

def test_put(sessions: SessionStore, redis: Any) -> None:
    assert sessions.get('p') is None
    value = bytes(range(256)) * 10
    sessions.put('p', value)
    assert sessions.get('p') == value == redis.get('sessions:p')
    assert TTL - DEADLINE < redis.pttl('sessions:p') / 1000 <= TTL
    sessions.put('p', b'another')
    assert sessions.get('p') == b'another'
    assert redis.dbsize() == 1


@pytest.mark.parametrize('pid', ['ü', 'a b', '\0\r\n', '{p}', '*', 'x' * 900])
def test_any_pid(sessions: SessionStore, pid: str) -> None:
    sessions.put(pid, b'1')
    assert sessions.swap([Swap(pid, b'2', [b'1'])]) == [DONE]
    assert sessions.touch([pid]) == [True]
    assert sessions.find(pid, STREAM, None).session == b'2'


@pytest.mark.parametrize('before, new, expected, result, after', [
    (b'1', b'2', [b'1'], DONE, b'2'),
    (b'1', b'2', [b'0', b'x', b'1'], DONE, b'2'),
    (b'1', b'1', [b'1'], DONE, b'1'),
    (b'1', b'', [b'1'], DONE, None),
    (b'1', b'2', [b'0'], CHANGED, b'1'),
    (b'1', b'2', [b''], CHANGED, b'1'),
    (b'1', b'', [b'2', b''], CHANGED, b'1'),
    (b'1', b'2', [], CHANGED, b'1'),
    (None, b'2', [b''], DONE, b'2'),
    (None, b'2', [b'1', b''], DONE, b'2'),
    (None, b'2', [b'1'], ABSENT, None),
    (None, b'', [b'1'], ABSENT, None),
    (None, b'', [b'', b'1'], DONE, None),
    (None, b'2', [], ABSENT, None)])
def test_swap(sessions: SessionStore, redis: Any, before: Optional[bytes],
              new: bytes, expected: List[bytes], result: int,
              after: Optional[bytes]) -> None:
    if before is not None:
        redis.set('sessions:p', before, px=5000)
    assert sessions.swap([Swap('p', new, expected)]) == [result]
    assert redis.get('sessions:p') == after
    if after is not None:
        # Only a successful swap extends its expiry.
        assert (redis.pttl('sessions:p') > 5000) is (result == DONE)


def test_many_swaps(sessions: SessionStore, redis: Any) -> None:
    """Each by itself."""
    for number in range(0, 500, 2):
        redis.set(f'sessions:{number}', b'x')
    results = sessions.swap([
        Swap(str(number), b'%d' % number, [b'x', b'' if number % 3 else b'y'])
        for number in range(500)])
    assert results == [
        ABSENT if number % 2 and not number % 3 else DONE
        for number in range(500)]
    assert redis.get('sessions:101') == b'101'


def test_touch(make: Make, redis: Any) -> None:
    sessions = make(ttl=50.0)
    for name, lives in ('a', 1000), ('b', 90_000), ('c', 10_000):
        redis.set(f'sessions:{name}', b'1', px=lives)
    assert sessions.touch(['a', 'x', 'b']) == [True, False, True]
    for name in 'ab':
        assert 40_000 < redis.pttl(f'sessions:{name}') <= 50_000
    assert redis.pttl('sessions:c') <= 10_000
    assert redis.exists('sessions:x') == 0
    assert sessions.touch([]) == []


def test_session_expires(make: Make, redis: Any) -> None:
    sessions = make(ttl=0.05)
    sessions.put('p', b'1')
    wait_for_value(lambda: sessions.get('p'), None)
    assert sessions.swap([Swap('p', b'2', [b'1'])]) == [ABSENT]


# -- the stream --------------------------------------------------------------

def test_find(sessions: SessionStore, redis: Any) -> None:
    assert sessions.find('p', STREAM, None) == Found(None, False, None, None)
    assert sessions.find('p', STREAM, Position(5)) == Found(
        None, False, None, None)
    sessions.put('p', b'1')
    for number in range(2, 10):
        redis.xadd(STREAM, {'a': 'b'}, f'{number}-1')
    for offset, is_there in (
            (None, False), (Position(5, 1), True), (Position(5),
                                                    False), (Position(1, 1),
                                                             False),
            (Position(2, 1), True), (Position(9, 1), True), (Position(10),
                                                             False),
            (START, False),
            (Position(2**64 - 1, 2**64 - 1), False)):
        assert sessions.find('p', STREAM, offset) == Found(
            b'1', is_there, Position(2, 1), Position(9, 1))
    redis.xtrim(STREAM, minid='5-1', approximate=False)
    assert sessions.find('p', STREAM, Position(4, 1)) == Found(
        b'1', False, Position(5, 1), Position(9, 1))
    redis.xtrim(STREAM, 0, approximate=False)
    assert sessions.find('p', STREAM, Position(9, 1)) == Found(
        b'1', False, None, None)


def test_page(sessions: SessionStore, redis: Any) -> None:
    assert sessions.page(STREAM, START, 10) == ([], None)
    for number in range(25):
        redis.xadd(STREAM, {'number': number}, f'5-{number + 1}')
    position, found = START, []
    while True:
        page, first = sessions.page(STREAM, position, 10)
        assert first == Position(5, 1)
        assert len(page) <= 10
        found += page
        if len(page) < 10:
            break
        position = page[-1].id
    assert [entry.id for entry in found] == [
        Position(5, number) for number in range(1, 26)]
    assert found[3].fields == [b'number', b'3']
    assert sessions.page(STREAM, Position(5, 25), 10) == ([], Position(5, 1))
    assert [entry.id for entry in sessions.page_before(
        STREAM, Position(5, 12), 3)] == [
            Position(5, number) for number in (12, 11, 10)]
    assert sessions.page_before(STREAM, Position(5), 3) == []
    # A trimmed entry is a valid position to continue from.
    redis.xtrim(STREAM, 5, approximate=False)
    page, first = sessions.page(STREAM, Position(5, 3), 10)
    assert [entry.id for entry in page] == [
        Position(5, number) for number in range(21, 26)]
    assert first == Position(5, 21)


# -- many at once ------------------------------------------------------------

def test_each_call_gets_its_own_answer(sessions: SessionStore,
                                       redis: Any) -> None:
    redis.xadd(STREAM, {'a': 'b'}, '5-1')

    def use(number: int) -> None:
        pid = f'p{number}'
        for turn in range(10):
            before = b'%d of %d' % (turn - 1, number) if turn else b''
            value = b'%d of %d' % (turn, number)
            assert sessions.swap([
                Swap(pid, b'x', [b'never']), Swap(pid, value, [before]),
            ])[1] == DONE
            assert sessions.get(pid) == value
            assert sessions.find(pid, STREAM, Position(5, 1)).session == value

    for call in [Call(use, number) for number in range(40)]:
        call.result()
    assert redis.dbsize() == 41


def test_concurrent_claims_have_one_winner(sessions: SessionStore,
                                           make: Make) -> None:
    others = make()
    for turn in range(10):
        pid = f'p{turn}'
        sessions.put(pid, b'as it was')
        calls = [Call((sessions, others)[number % 2].swap, [
            Swap(pid, b'claimed by %d' % number, [b'as it was'])])
            for number in range(20)]
        results = [call.result()[0] for call in calls]
        assert sorted(results) == [CHANGED] * 19 + [DONE]
        assert sessions.get(pid) == b'claimed by %d' % results.index(DONE)


def test_concurrent_calls_share_round_trips(
        make: Make, server: RedisServer,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """For any number of calls made while others wait."""
    sizes: List[int] = []
    exchange = Connection.exchange

    def counted(wire: Connection, commands: Any) -> Any:
        sizes.append(len(commands))
        return exchange(wire, commands)

    sessions = make()
    monkeypatch.setattr(Connection, 'exchange', counted)
    server.freeze()
    try:
        calls = [Call(sessions.get, 'first')]
        wait_until(lambda: sizes == [1])
        calls += [Call(sessions.get, str(number)) for number in range(300)]
        wait_until(lambda: len(sessions._jobs) == 300)
    finally:
        server.thaw()
    for call in calls:
        assert call.result() is None
    assert sum(sizes) == 301
    assert len(sizes) == 3
    assert max(sizes) <= PIPELINE


# -- outages -----------------------------------------------------------------

def test_unreachable_server(make: Make) -> None:
    sessions = make(f'{REDIS_CLIENT}://127.0.0.1:{free_port()}')
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        sessions.get('p')
    # No call waits for an answer that cannot come.
    assert time.monotonic() - begun < 1.0
    assert sessions.connections == 0


def test_outage(make: Make, server: RedisServer) -> None:
    sessions = make()
    sessions.put('p', b'1')
    assert sessions.connections == 1
    stop = threading.Event()
    failures: List[Exception] = []

    def use(number: int) -> None:
        while not stop.is_set():
            try:
                sessions.touch([str(number)])
            except Unavailable as exc:
                failures.append(exc)
                stop.wait(0.01)

    calls = [Call(use, number) for number in range(10)]
    server.kill()
    try:
        wait_until(lambda: len(failures) >= 20)
        with pytest.raises(Unavailable):
            sessions.swap([Swap('p', b'2', [b'1'])])
    finally:
        server.start()
    wait_healthy(sessions)
    stop.set()
    for call in calls:
        call.result()
    assert sessions.get('p') == b'1'
    assert sessions.connections >= 2


@pytest.mark.parametrize('command, carry_out', [
    (b'SET', lambda sessions: sessions.put('p', b'2')),
    (b'EVAL', lambda sessions: sessions.swap([Swap('p', b'2', [b'1'])]))])
def test_lost_reply(make: Make, proxy: Proxy, redis: Any, command: bytes,
                    carry_out: Any) -> None:
    """It was executed once, and the caller does not know."""
    sessions = make(proxy.url)
    redis.set('sessions:p', b'1')
    sprung = proxy.lose_reply_to(command)
    with pytest.raises(Unavailable):
        carry_out(sessions)
    assert sprung.wait(DEADLINE)
    wait_healthy(sessions)
    assert redis.get('sessions:p') == b'2'
    stats = redis.info('commandstats')
    assert stats[f'cmdstat_{command.decode().lower()}']['calls'] >= 1


def test_connection_that_ends_while_idle(make: Make, proxy: Proxy) -> None:
    """No caller needs to know; but the data may be gone."""
    sessions = make(proxy.url)
    sessions.put('p', b'1')
    link, = sessions._servers._links.values()
    proxy.break_connections()
    wait_until(lambda: link.ended)
    assert sessions.get('p') == b'1'
    assert sessions.connections == 2


def test_frozen_server(make: Make, server: RedisServer) -> None:
    sessions = make(socket_timeout=SHORT)
    sessions.put('p', b'1')
    server.freeze()
    try:
        begun = time.monotonic()
        calls = [Call(sessions.swap, [Swap('p', b'2', [b'1'])]),
                 *[Call(sessions.get, 'p') for _ in range(5)]]
        for call in calls:
            with pytest.raises(Unavailable):
                call.result()
        # It may have taken a connection, and a new one, to notice.
        assert time.monotonic() - begun < 10 * SHORT
    finally:
        server.thaw()
    wait_healthy(sessions)
    # Whether it was executed or not, nothing else can have happened.
    assert sessions.get('p') in (b'1', b'2')


def test_close_does_not_wait_for_a_late_reply(make: Make,
                                              server: RedisServer) -> None:
    """Closing does not wait for as long as a connection does."""
    sessions = make()
    server.freeze()
    try:
        sessions.patience = 0.05
        with pytest.raises(Unavailable):
            sessions.get('p')
    finally:
        server.thaw()


def test_end_while_a_call_waits(server: RedisServer, redis: Any, logger: Any,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    exchange = Connection.exchange

    def noted(wire: Connection, commands: Any) -> Any:
        asked.set()
        return exchange(wire, commands)

    monkeypatch.setattr(Connection, 'exchange', noted)
    sessions = SessionStore(open_driver(server.url, {}, STREAM),
                            ThreadEngine(),
                            PREFIX, TTL)
    task = Task('sessions', sessions.work, ThreadEngine(), None, logger)
    task.start()
    assert task.tried.wait(DEADLINE)
    # Connecting takes an exchange.
    asked.clear()
    server.freeze()
    try:
        calls = [Call(sessions.get, 'p')]
        assert asked.wait(DEADLINE)
        calls += [Call(sessions.get, 'p') for _ in range(4)]
        wait_until(lambda: len(sessions._jobs) == 4)
        end(sessions, task)
        for call in calls:
            with pytest.raises(Unavailable):
                call.result()
        with pytest.raises(Unavailable):
            sessions.get('p')
    finally:
        server.thaw()


def test_fork_keeps_the_parents_connection(sessions: SessionStore) -> None:
    sessions.put('p', b'1')
    pid = os.fork()
    if not pid:
        try:
            sessions.abandon()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert sessions.get('p') == b'1'
    assert sessions.connections == 1


def test_wait(make: Make, proxy: Proxy, server: RedisServer) -> None:
    sessions = make(proxy.url)
    assert sessions.wait(0)
    proxy.cut()
    with pytest.raises(Unavailable):
        sessions.get('p')
    wait_for_value(lambda: sessions.wait(0), False)
    assert not sessions.wait(0.01)
    proxy.open()
    assert sessions.wait(DEADLINE)
    assert sessions.get('p') is None


# -- what is refused ---------------------------------------------------------

def test_forbidden_command(make: Make, server: RedisServer,
                           redis: Any) -> None:
    """Other commands work on the same connection."""
    ask(server, 'ACL', 'SETUSER', 'node', 'reset', 'on', '>secret',
        '~sessions:*', f'~{STREAM}', '+get', '+set', '+xrange',
        '+xrevrange', '+pexpire')
    sessions = make(server.url_of('node', 'secret'))
    sessions.put('p', b'1')
    for _ in range(3):
        with pytest.raises(Refused, match='EVAL|eval'):
            sessions.swap([Swap('p', b'2', [b'1'])])
        assert sessions.touch(['p']) == [True]
        assert sessions.get('p') == b'1'
    with pytest.raises(Refused):
        sessions.page('another stream', START, 10)
    assert sessions.connections == 1


def test_key_of_another_type(sessions: SessionStore, redis: Any) -> None:
    redis.rpush('sessions:p', 'x')
    with pytest.raises(Unavailable):
        sessions.find('p', STREAM, None)
    with pytest.raises(Unavailable):
        sessions.swap([Swap('p', b'2', [b''])])
    sessions.put('q', b'1')
    assert sessions.connections == 1


def test_refusal_by_one_server(sessions: SessionStore, redis: Any) -> None:
    """The other servers execute their commands."""
    redis.rpush(PREFIX + 'p', 'x')
    refused, done = sessions.swap([
        Swap('p', b'2', [b'']), Swap('q', b'2', [b''])])
    assert isinstance(refused, Refused) and 'WRONGTYPE' in str(refused)
    assert done == DONE
    assert redis.get(PREFIX + 'q') == b'2'


def test_server_without_memory(sessions: SessionStore, redis: Any) -> None:
    sessions.put('p', b'1')
    redis.config_set('maxmemory', 1)
    try:
        with pytest.raises(Unavailable):
            sessions.put('p', b'2')
        with pytest.raises(Unavailable):
            sessions.swap([Swap('p', b'2', [b'1'])])
        assert sessions.get('p') == b'1'
    finally:
        redis.config_set('maxmemory', 0)
    sessions.put('p', b'2')
    assert sessions.connections == 1


def test_deposed_master(sessions: SessionStore, redis: Any,
                        server: RedisServer) -> None:
    """It answers, but is not the master any more."""
    redis.replicaof('127.0.0.1', free_port())
    try:
        with pytest.raises(Unavailable):
            sessions.put('p', b'1')
        wait_until(lambda: sessions.connections > 1)
    finally:
        server.promote()
    wait_healthy(sessions)
    sessions.put('p', b'1')
