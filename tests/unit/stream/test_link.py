"""The commands of a link to Redis and the meaning of each reply.
tests/integration/stream tests its contract with a real Redis."""
from typing import Any, Dict, List

import pytest
import redis

from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.transport import Ends, Entry, \
    EntryRefused, NO_STREAM, NotReplicated, OutOfMemory, Unavailable
from redis_streams_adapter.concurrency.tasks import BACKOFF_CAP
from redis_streams_adapter.stream import link as link_module
from redis_streams_adapter.stream.connection import Connection
from redis_streams_adapter.stream.link import READ_MARGIN, RedisLink
from redis_streams_adapter.stream.refusals import Refusals

from ..scripted import Break, connect_link, INFO, MAX_LEN, replies, \
    ScriptedServers, SOCKET_TIMEOUT

ONE, TWO = (b'a', b'1'), (b'a', b'2')

CAPPED = b'XADD', b's', b'MAXLEN', b'~', b'1000', b'*'

OOM = redis.ResponseError("OOM command not allowed when used memory > "
                          "'maxmemory'")
TOO_LARGE = redis.ResponseError('ERR Elements are too large to be stored')
TOO_LONG = redis.ResponseError('Protocol error: invalid bulk length')
NO_PERMISSION = redis.ResponseError('NOPERM no permission')
LOADING = redis.ResponseError('LOADING Redis is loading the dataset')
ABORTED = redis.ResponseError('EXECABORT Transaction discarded')


@pytest.fixture
def servers() -> ScriptedServers:
    return ScriptedServers()


# -- connecting --------------------------------------------------------------

def test_appending_link_tries_a_transaction(servers: ScriptedServers) -> None:
    """Without a transaction the entries of a batch are stored one by one."""
    servers.reply = lambda place, command: INFO
    RedisLink(servers.driver(), 's', MAX_LEN).connect()
    assert servers.commands() == [(b'CLIENT', b'INFO'), (b'MULTI',),
                                  (b'EXEC',)]
    servers.sent.clear()
    RedisLink(servers.driver(), 's', MAX_LEN, block=1.0).connect()
    assert servers.commands() == [(b'CLIENT', b'INFO')]


def test_forbidden_transactions(servers: ScriptedServers) -> None:
    link = RedisLink(servers.driver(), 's', MAX_LEN)
    servers.reply = replies(INFO, NO_PERMISSION, NO_PERMISSION,
                            b'5-0', b'5-1')
    link.connect()
    assert not link.atomic
    servers.sent.clear()
    assert link.append([ONE, TWO]) == [b'5-0', b'5-1']
    assert servers.commands() == [(*CAPPED, *ONE), (*CAPPED, *TWO)]


def test_transaction_that_may_not_be_executed(
        servers: ScriptedServers) -> None:
    """It may still be open, so the connection is given up."""
    link = RedisLink(servers.driver(), 's', MAX_LEN)
    servers.reply = replies(INFO, b'OK', NO_PERMISSION, INFO)
    with pytest.raises(Unavailable, match='no permission'):
        link.connect()
    assert servers.connections[0].closed
    link.connect()
    assert not link.atomic


def test_transactions_while_a_script_runs(servers: ScriptedServers) -> None:
    """Redis 6.2 refuses MULTI then."""
    busy = redis.ResponseError('BUSY Redis is busy running a script.')
    link = RedisLink(servers.driver(), 's', MAX_LEN)
    servers.reply = replies(INFO, busy, busy, INFO, b'OK', [])
    with pytest.raises(Unavailable, match='BUSY'):
        link.connect()
    link.connect()
    assert link.atomic


#: What Redis 5.0 replies to CLIENT INFO and INFO.
NO_CLIENT_INFO = redis.ResponseError(
    "ERR Unknown subcommand or wrong number of arguments for 'INFO'. Try "
    "CLIENT HELP")
OLD = b'# Server\r\nredis_version:5.0.6\r\n'
VALKEY = (b'# Server\r\nredis_version:6.0.0\r\nserver_name:valkey\r\n'
          b'valkey_version:9.1.2\r\n')
TOO_OLD = 'needs Redis 6.2 or newer, this is Redis 5.0.6'


def test_server_that_is_too_old(servers: ScriptedServers,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    """The links of a manager ask again one at a time, after a pause. Other
    connections work."""
    now = 100.0
    monkeypatch.setattr('time.monotonic', lambda: now)
    monkeypatch.setattr('random.random', lambda: 0.0)
    driver = servers.driver(refusals=Refusals())

    def connect(block: float = 1.0) -> int:
        """How many connections were made."""
        count = len(servers.connections)
        with pytest.raises(Unavailable) as caught:
            RedisLink(driver, 's', MAX_LEN, block).connect()
        assert str(caught.value) == TOO_OLD
        return len(servers.connections) - count

    servers.reply = replies(NO_CLIENT_INFO, OLD)
    assert connect() == 1
    # The first is tried again at once, as after any failure.
    servers.reply = replies(NO_CLIENT_INFO, OLD)
    assert connect(block=0.0) == 1
    for block in (0.0, 1.0, 0.0):
        assert connect(block) == 0
    Connection(driver, '', 1.0).connect()
    now += BACKOFF_CAP
    servers.reply = replies(NO_CLIENT_INFO, OLD)
    assert connect() == 1
    assert connect() == 0
    # It was replaced.
    now += BACKOFF_CAP
    for _ in range(2):
        servers.reply = replies(INFO)
        RedisLink(driver, 's', MAX_LEN, 1.0).connect()


@pytest.mark.parametrize('reply', [
    VALKEY, NO_PERMISSION, redis.ResponseError('ERR unknown command'),
    b'redis_version:7.0.0'])
def test_server_without_client_info(servers: ScriptedServers,
                                    reply: Any) -> None:
    """It is not known to be too old."""
    servers.reply = replies(NO_CLIENT_INFO, reply)
    RedisLink(servers.driver(), 's', MAX_LEN, block=1.0).connect()
    assert servers.commands() == [(b'CLIENT', b'INFO'), (b'INFO', b'server')]


def test_version_without_right_is_not_asked(servers: ScriptedServers) -> None:
    servers.reply = replies(NO_PERMISSION)
    RedisLink(servers.driver(), 's', MAX_LEN, block=1.0).connect()
    assert servers.commands() == [(b'CLIENT', b'INFO')]


def test_proxy_that_hangs_up_over_info(servers: ScriptedServers) -> None:
    """It is not sent again for a while."""
    ended: Dict[bytes, float] = {}

    def connect() -> None:
        RedisLink(servers.driver(), 's', MAX_LEN, 1.0, ended=ended).connect()

    servers.reply = replies(NO_CLIENT_INFO, Break())
    with pytest.raises(Unavailable, match='after INFO server, which is not'):
        connect()
    servers.reply = replies(NO_CLIENT_INFO)
    connect()


@pytest.mark.parametrize('later', [
    [redis.ResponseError('MOVED 1 127.0.0.1:1')],
    [b'OK', redis.ResponseError('MOVED 1 127.0.0.1:1'), b'QUEUED', ABORTED]])
def test_member_of_a_cluster_that_is_named_alone(
        servers: ScriptedServers, later: List[Any]) -> None:
    """The stream is on another one."""
    link = connect_link(servers, *later)
    with pytest.raises(Unavailable, match=r'127.0.0.1:1.*redis\+cluster://'):
        link.append([ONE, TWO][:max(1, len(later) - 2)])


def test_identity(servers: ScriptedServers) -> None:
    """The identity includes the address: a restarted server counts from 1
    again."""
    assert connect_link(servers).identity == (b'7', b'127.0.0.1:5')
    servers.reply = replies(NO_PERMISSION)
    link = RedisLink(servers.driver(), 's', MAX_LEN, block=1.0)
    link.connect()
    assert link.identity is None


@pytest.mark.parametrize('block, timeout', [
    (0.0, SOCKET_TIMEOUT), (0.1, READ_MARGIN + 0.1),
    (60.0, READ_MARGIN + 60.0)])
def test_socket_timeout_exceeds_waiting_time(servers: ScriptedServers,
                                             block: float,
                                             timeout: float) -> None:
    connect_link(servers, block=block)
    assert servers.connections[0].timeout == max(SOCKET_TIMEOUT, timeout)
    assert servers.connections[0].key == 's'


# -- appending ---------------------------------------------------------------

def test_one_entry(servers: ScriptedServers) -> None:
    link = connect_link(servers, b'5-0')
    assert link.append([ONE]) == [b'5-0']
    assert servers.commands() == [(*CAPPED, *ONE)]


def test_a_batch_is_a_transaction(servers: ScriptedServers) -> None:
    link = connect_link(servers, b'OK', b'QUEUED', b'QUEUED', [b'5-0', b'5-1'])
    assert link.append([ONE, TWO]) == [b'5-0', b'5-1']
    assert servers.commands() == [
        (b'MULTI',), (*CAPPED, *ONE), (*CAPPED, *TWO), (b'EXEC',)]


def test_trimming_by_time(servers: ScriptedServers) -> None:
    """One XADD accepts only one rule for trimming."""
    connect_link(servers, b'5-0').append([ONE], 1234)
    assert servers.commands() == [
        (b'XADD', b's', b'MINID', b'~', b'1234', b'*', *ONE)]


@pytest.mark.parametrize('later', [
    [OOM], [b'OK', OOM, b'QUEUED', ABORTED], [b'OK', b'QUEUED', OOM, ABORTED],
    [b'OK', b'QUEUED', b'QUEUED', [OOM, OOM]]])
def test_temporary_error(servers: ScriptedServers, later: List[Any]) -> None:
    """The error shows that no entry is stored."""
    link = connect_link(servers, *later)
    with pytest.raises(OutOfMemory, match='maxmemory') as caught:
        link.append([ONE] if len(later) == 1 else [ONE, TWO])
    assert not caught.value.in_doubt
    assert not servers.connections[0].closed


@pytest.mark.parametrize('text', [
    # Of Redis 5.0.
    'Invalid stream ID specified as stream command argument',
    'syntax error'])
def test_old_server_cannot_trim_by_time(servers: ScriptedServers,
                                        text: str) -> None:
    link = connect_link(servers, redis.ResponseError(text))
    with pytest.raises(Unavailable, match='retention and recovery need Redis '
                                          '6.2'):
        link.append([ONE], 1234)


@pytest.mark.parametrize('results', [
    [b'5-0', LOADING], [LOADING, b'5-1'], None])
def test_entries_without_an_id_are_not_stored(servers: ScriptedServers,
                                              results: Any) -> None:
    link = connect_link(servers, b'OK', b'QUEUED', b'QUEUED', results)
    with pytest.raises(Unavailable) as caught:
        link.append([ONE, TWO])
    assert caught.value.in_doubt


def test_entry_that_is_too_large(servers: ScriptedServers) -> None:
    link = connect_link(servers, TOO_LARGE)
    result, = link.append([ONE])
    assert isinstance(result, EntryRefused) and result.index == 0
    link = connect_link(servers, b'OK', b'QUEUED', b'QUEUED',
                        [b'5-0', TOO_LARGE])
    first, second = link.append([ONE, TWO])
    assert first == b'5-0'
    assert isinstance(second, EntryRefused) and second.index == 1


@pytest.mark.parametrize('later, index', [
    ([TOO_LONG], 0), ([b'OK', TOO_LONG], 0),
    ([b'OK', b'QUEUED', TOO_LONG], 1)])
def test_entry_that_makes_the_server_hang_up(servers: ScriptedServers,
                                             later: List[Any],
                                             index: int) -> None:
    link = connect_link(servers, *later, *[Break()] * 3)
    with pytest.raises(EntryRefused) as caught:
        link.append([ONE] if later == [TOO_LONG] else [ONE, TWO])
    assert caught.value.index == index


@pytest.mark.parametrize('later', [
    [Break()], [b'OK', b'QUEUED', b'QUEUED', Break()]])
def test_broken_connection_is_in_doubt(servers: ScriptedServers,
                                       later: List[Any]) -> None:
    link = connect_link(servers, *later)
    with pytest.raises(Unavailable) as caught:
        link.append([ONE] if len(later) == 1 else [ONE, TWO])
    assert caught.value.in_doubt


def test_transactions_forbidden_after_connect(
        servers: ScriptedServers) -> None:
    """The commands after the refused MULTI were executed."""
    link = connect_link(servers, NO_PERMISSION, b'5-0', b'5-1',
                        redis.ResponseError('ERR EXEC without MULTI'))
    assert link.append([ONE, TWO]) == [b'5-0', b'5-1']


def test_replicas(servers: ScriptedServers) -> None:
    link = connect_link(servers, b'5-0', 2, min_replicas=2)
    assert link.append([ONE]) == [b'5-0']
    assert servers.commands()[1] == (
        b'WAIT', b'2', b'%d' % (SOCKET_TIMEOUT * 1000 / 2))


@pytest.mark.parametrize('reply', [1, NO_PERMISSION])
def test_too_few_replicas(servers: ScriptedServers, reply: Any) -> None:
    """The entries are stored, and the connection works."""
    link = connect_link(servers, b'5-0', reply, min_replicas=2)
    with pytest.raises(NotReplicated) as caught:
        link.append([ONE])
    assert caught.value.in_doubt
    assert not servers.connections[0].closed


# -- reading -----------------------------------------------------------------

def test_read(servers: ScriptedServers) -> None:
    link = connect_link(servers, [[b's', [[b'5-0', [b'a', b'1']],
                                          [b'5-1', [b'a', b'2']]]]], None)
    assert link.read(START, 10, None) == [
        Entry(Position(5), [b'a', b'1']), Entry(Position(5, 1), [b'a', b'2'])]
    assert link.read(Position(5, 1), 10, None) == []
    assert servers.commands() == [
        (b'XREAD', b'COUNT', b'10', b'STREAMS', b's', each)
        for each in (b'0-0', b'5-1')]


@pytest.mark.parametrize('block, milliseconds', [
    (1.5, b'1500'), (0.0001, b'1'), (0.0, b'1')])
def test_read_has_a_bounded_wait(servers: ScriptedServers, block: float,
                                 milliseconds: bytes) -> None:
    """BLOCK 0 would wait without a limit."""
    connect_link(servers, None).read(START, 10, block)
    assert servers.commands()[0][3:5] == (b'BLOCK', milliseconds)


def test_ends(servers: ScriptedServers) -> None:
    info = [b'length', 2, b'last-generated-id', b'5-7', b'first-entry',
            [b'5-1', [b'a', b'1']]]
    link = connect_link(
        servers, NO_PERMISSION, info, [*info, b'entries-added', 9],
        [b'length', 0, b'last-generated-id', b'5-7', b'first-entry', None],
        redis.ResponseError('no such key'), OOM)
    # Redis 7 counts added entries.
    assert link.ends()[:4] == (Position(5, 1), Position(5, 7), None, 2)
    assert link.ends()[:4] == (Position(5, 1), Position(5, 7), 9, 2)
    assert link.ends()[:4] == (None, Position(5, 7), None, 0)
    assert link.ends() == NO_STREAM
    with pytest.raises(Unavailable, match='maxmemory'):
        link.ends()


def test_ends_without_entries(servers: ScriptedServers) -> None:
    link = connect_link(servers, [b'5-1', b'5-7', 9, 2],
                        [None, b'5-7', None, 0], [])
    assert link.ends() == Ends(Position(5, 1), Position(5, 7), 9, 2)
    assert link.ends() == Ends(None, Position(5, 7), None, 0)
    assert link.ends() == NO_STREAM
    assert [each[0] for each in servers.commands()] == [b'EVAL'] * 3


def test_page_that_is_too_large_is_not_read_to_its_end(
        servers: ScriptedServers, monkeypatch: pytest.MonkeyPatch) -> None:
    page = [[b's', [[b'5-0', [b'a', b'x' * 3000]]]]]
    monkeypatch.setattr(link_module, 'PAGE_LIMIT', 1000)
    link = connect_link(servers, page, b'x' * 2000, page)
    # A single entry may have any size, and so may other replies.
    assert len(link.read(START, 1, None)) == 1
    assert link.page_bytes > 3000
    assert link.ask(b'GET', b'x') == b'x' * 2000
    with pytest.raises(Unavailable, match='too large'):
        link.read(START, 2, None)
    assert servers.connections[0].closed


def test_time_and_trim(servers: ScriptedServers) -> None:
    link = connect_link(servers, [b'1700000000', b'123999'], 5, 6, 7)
    assert link.time() == 1_700_000_000_123
    assert [link.trim(), link.trim(70), link.trim(oldest=123)] == [5, 6, 7]
    assert servers.commands()[1:] == [
        (b'XTRIM', b's', b'MAXLEN', b'~', b'1000'),
        (b'XTRIM', b's', b'MAXLEN', b'~', b'70'),
        (b'XTRIM', b's', b'MINID', b'~', b'123')]


@pytest.mark.parametrize('reply', [1, 0, NO_PERMISSION])
def test_end_other(servers: ScriptedServers, reply: Any) -> None:
    """CLIENT KILL names the number and the address, so that no other
    connection is ended. If the command is forbidden, readers drop copies."""
    connect_link(servers, reply).end_other((b'7', b'127.0.0.1:5'))
    assert servers.commands() == [
        (b'CLIENT', b'KILL', b'ID', b'7', b'ADDR', b'127.0.0.1:5')]
