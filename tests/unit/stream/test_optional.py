"""A link to a server that refuses commands, or ends connections over them.
tests/faults/test_refused_commands.py does so with a real Redis."""
from typing import Any, Dict

import pytest
import redis

from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.stream import optional
from redis_streams_adapter.stream.link import RedisLink

from ..scripted import Break, connect_link, INFO, MAX_LEN, ScriptedServers

#: The reply to TIME.
CLOCK = [b'1700000000', b'5000']

NO_PERMISSION = redis.ResponseError('NOPERM no permission')


@pytest.fixture
def servers() -> ScriptedServers:
    return ScriptedServers()


def test_clock_without_time(servers: ScriptedServers) -> None:
    link = connect_link(servers, NO_PERMISSION, CLOCK, block=1.0)
    assert link.time() == 1_700_000_000_005
    assert [name for name, *_ in servers.commands()] == [b'TIME', b'EVAL']


def test_time_ends_the_connection(servers: ScriptedServers) -> None:
    """A proxy may do that. The next connection does without."""
    link = connect_link(servers, Break(), INFO, CLOCK, block=1.0)
    with pytest.raises(Unavailable, match='after TIME'):
        link.time()
    link.connect()
    servers.sent.clear()
    assert link.time() == 1_700_000_000_005
    assert [name for name, *_ in servers.commands()] == [b'EVAL']


def test_no_clock_at_all(servers: ScriptedServers) -> None:
    link = connect_link(servers, NO_PERMISSION, [], block=1.0)
    with pytest.raises(Unavailable, match='no permission'):
        link.time()


@pytest.mark.parametrize('refusal', [
    NO_PERMISSION, redis.ResponseError('unknown command `EVAL`')])
def test_refused_scripts_are_tried_again_later(
        servers: ScriptedServers, refusal: Any,
        monkeypatch: pytest.MonkeyPatch) -> None:
    page = [[b's', [[b'5-0', [b'a', b'1']]]]]
    link = connect_link(servers, refusal, page, page, [b'6-0'], block=1.0)
    assert link.next_id(START) == link.next_id(START) == Position(5)
    monkeypatch.setattr(optional, 'TRY_AGAIN', 0.0)
    assert link.next_id(START) == Position(6)
    assert [each[0] for each in servers.commands()] == [
        b'EVAL', b'XREAD', b'XREAD', b'EVAL']


@pytest.mark.parametrize('forbidden', ['INFO', 'KILL'])
def test_optional_command_that_ends_the_connection_is_not_tried_again(
        servers: ScriptedServers, forbidden: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(place: Any, command: Any) -> Any:
        if command[:2] == (b'CLIENT', forbidden.encode()):
            return Break()
        return INFO if command[0] == b'CLIENT' else b'OK'

    def use() -> None:
        link = RedisLink(servers.driver(), 's', MAX_LEN, ended=ended)
        link.connect()
        link.end_other((b'7', b'127.0.0.1:5'))

    def tried() -> int:
        return sum(each[:2] == (b'CLIENT', forbidden.encode())
                   for each in servers.commands())

    servers.reply = reply
    ended: Dict[bytes, float] = {}
    with pytest.raises(Unavailable, match=f'CLIENT {forbidden}'):
        use()
    for _ in range(3):
        use()
    assert tried() == 1
    # It may have been an outage.
    monkeypatch.setattr(optional, 'TRY_AGAIN', 0.0)
    with pytest.raises(Unavailable):
        use()
    assert tried() == 2


def test_waiting_that_is_refused(servers: ScriptedServers) -> None:
    """The stream is read without waiting, then and from then on."""
    page = [[b's', [[b'5-0', [b'a', b'1']]]]]
    refusal = redis.ResponseError('ERR BLOCK is not supported')
    link = connect_link(servers, refusal, page, page, refusal, block=1.0)
    for _ in range(2):
        assert link.read(START, 10, 1.0)[0].id == Position(5)
    assert [b'BLOCK' in each for each in servers.commands()] == [
        True, False, False]
    # What is refused without waiting, too, is refused.
    with pytest.raises(Unavailable, match='not supported'):
        link.read(START, 10, 1.0)


@pytest.mark.parametrize('error', [
    'UNBLOCKED client unblocked via CLIENT UNBLOCK',
    'BUSY Redis is busy running a script.'])
def test_wait_that_is_ended(servers: ScriptedServers, error: str) -> None:
    """The next read waits again."""
    page = [[b's', [[b'5-0', [b'a', b'1']]]]]
    link = connect_link(servers, redis.ResponseError(error), page, block=1.0)
    with pytest.raises(Unavailable, match=error.split()[0]):
        link.read(START, 10, 1.0)
    assert link.read(START, 10, 1.0)
    assert all(b'BLOCK' in each for each in servers.commands())


def test_outage_during_both_ways_to_the_clock(
        servers: ScriptedServers) -> None:
    """One of them is needed, so neither is avoided then: it was an outage."""
    link = connect_link(servers, Break(), INFO, Break(), INFO, CLOCK, block=1)
    for name in 'TIME', 'EVAL':
        with pytest.raises(Unavailable, match=f'after {name}'):
            link.time()
        link.connect()
    servers.sent.clear()
    assert link.time() == 1_700_000_000_005
    assert [name for name, *_ in servers.commands()] == [b'TIME']


def test_outage_during_a_script_that_is_needed(
        servers: ScriptedServers) -> None:
    """The user may not use XINFO."""
    ends = [b'1-0', b'2-0', 2, 1]
    link = connect_link(servers, Break(), INFO, NO_PERMISSION, ends, block=1)
    with pytest.raises(Unavailable, match='after EVAL'):
        link.ends()
    link.connect()
    with pytest.raises(Unavailable, match='no permission'):
        link.ends()
    servers.sent.clear()
    link.ends()
    assert [name for name, *_ in servers.commands()] == [b'EVAL']


def test_outage_during_multi(servers: ScriptedServers) -> None:
    """Without transactions, events are written one by one: so they are given
    up only after the second connection in a row."""
    breaks = [True, False, True, True, False]

    def reply(place: Any, command: Any) -> Any:
        if command[0] == b'CLIENT':
            return INFO
        if command[0] == b'MULTI' and breaks.pop(0):
            return Break()
        return b'OK'

    def connect() -> bool:
        link = RedisLink(servers.driver(), 's', MAX_LEN, ended=ended)
        link.connect()
        return link.atomic

    servers.reply = reply
    ended: Dict[bytes, float] = {}
    with pytest.raises(Unavailable):
        connect()
    assert connect()
    for _ in range(2):
        with pytest.raises(Unavailable):
            connect()
    assert not connect() and breaks == [False]
