"""Servers that refuse connections are asked by one connection at a time, after
pauses that grow."""
from functools import partial
from typing import List

import pytest
import redis

from redis_streams_adapter.concurrency.tasks import BACKOFF_CAP, \
    BACKOFF_CAP_LATER, BACKOFF_PATIENCE, compute_backoff
from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.stream import refusals as module
from redis_streams_adapter.stream.connection import Connection
from redis_streams_adapter.stream.refusals import address_of, Refusals, \
    refuses

from ..scripted import Break, replies, ScriptedServers

FULL = redis.ResponseError('max number of clients reached')


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, 'time', clock)
    monkeypatch.setattr(module, 'compute_backoff', partial(
        compute_backoff, jitter=lambda: 1.0))
    return clock


def pause(refusals: Refusals, server: str = 'a') -> float:
    """After how many seconds an attempt is allowed; 0: now. Such an attempt
    is made."""
    try:
        refusals.attempt(server)
    except Unavailable as exc:
        assert exc.pause is not None
        return exc.pause
    return 0.0


def test_second_attempt_follows_at_once(clock: Clock) -> None:
    """A connection that was killed can usually be replaced."""
    refusals = Refusals()
    refusals.refused('a', refusals.attempt('a'), 'full')
    assert pause(refusals) == 0.0
    # The others wait for its result.
    assert pause(refusals) > 0.0


def test_pauses_grow_for_all_together(clock: Clock) -> None:
    refusals = Refusals()
    begun, pauses = clock.now, []
    while clock.now < begun + 2 * BACKOFF_PATIENCE:
        started = refusals.attempt('a')
        refusals.refused('a', started, 'full')
        # Ten connections ask, and none may try.
        each = {pause(refusals) for _ in range(10)} if pauses else {0.0}
        pauses.append(each.pop())
        assert not each
        clock.now += pauses[-1]
    assert pauses == sorted(pauses)
    assert BACKOFF_CAP in pauses
    assert pauses[-1] == pytest.approx(BACKOFF_CAP_LATER)


def test_simultaneous_refusals_count_once(clock: Clock) -> None:
    pauses = []
    for count in (1, 10):
        refusals, clock.now = Refusals(), 1000.0
        for _ in range(3):
            started = clock.now
            clock.now += 0.001
            for _ in range(count):
                refusals.refused('a', started, 'full')
        pauses.append(pause(refusals))
    assert pauses[0] == pauses[1] > 0.0


def test_each_server_by_itself(clock: Clock) -> None:
    refusals = Refusals()
    for _ in range(3):
        refusals.refused('a', clock.now, 'full')
    assert pause(refusals, 'a') > 0.0
    assert pause(refusals, 'b') == 0.0


def test_reason_is_that_of_the_server(clock: Clock) -> None:
    refusals = Refusals()
    for _ in range(3):
        refusals.refused('a', clock.now, 'full')
    with pytest.raises(Unavailable, match='^full$'):
        refusals.attempt('a')


def test_acceptance_lets_all_try(clock: Clock) -> None:
    refusals = Refusals()
    for _ in range(8):
        refusals.refused('a', clock.now, 'full')
    refusals.accepted('a')
    assert [pause(refusals) for _ in range(3)] == [0.0] * 3


def test_attempt_that_is_struck(clock: Clock) -> None:
    """It ends without a result, and another one follows."""
    refusals = Refusals()
    for _ in range(3):
        refusals.refused('a', clock.now, 'full')
    clock.now += pause(refusals)
    assert pause(refusals) == 0.0
    clock.now += pause(refusals)
    assert pause(refusals) == 0.0


@pytest.mark.parametrize('error, expected', [
    (ConnectionRefusedError(111, 'refused'), True),
    (redis.ConnectionError('Error 111 connecting to host:1.'), True),
    (redis.AuthenticationError('invalid password'), True),
    (FULL, True),
    (redis.ResponseError(
        'max number of clients + cluster connections reached'), True),
    (redis.ResponseError('NOPERM no permission'), False),
    (redis.TimeoutError('timed out'), False), (TimeoutError(), False)])
def test_which_errors_are_refusals(error: Exception, expected: bool) -> None:
    assert refuses(error) is expected


def test_address_of_connections() -> None:
    assert address_of(redis.Connection(host='h', port=5)) == ('h', 5)
    assert address_of(redis.UnixDomainSocketConnection(path='/s')) == '/s'


# -- connections -------------------------------------------------------------

def attempts(servers: ScriptedServers, count: int) -> List[str]:
    """The errors of connections that are opened one after the other."""
    driver, errors = servers.driver(refusals=Refusals()), []
    for _ in range(count):
        try:
            Connection(driver, '', 1.0).connect()
        except Unavailable as exc:
            errors.append(str(exc))
    return errors


def test_refused_connections_share_their_pause(
        servers: ScriptedServers, clock: Clock) -> None:
    servers.greeting = replies(*[FULL] * 10)
    errors = attempts(servers, 10)
    assert errors == ['ResponseError: max number of clients reached'] * 10
    # The first one, and the one at once after it.
    assert len(servers.pinged) == 2


def test_connection_that_ends_before_its_first_reply(
        servers: ScriptedServers, clock: Clock) -> None:
    """The error of a full server may be lost when it closes the connection.
    """
    servers.greeting = replies(*[Break()] * 10)
    assert len(attempts(servers, 10)) == 10
    assert len(servers.pinged) == 2


def test_servers_that_are_away(servers: ScriptedServers,
                               clock: Clock) -> None:
    servers.away.append(None)
    errors = attempts(servers, 10)
    assert errors == ['ConnectionError: connection refused'] * 10


@pytest.mark.parametrize('reply', [
    redis.ResponseError('NOPERM this user has no permissions'), b'PONG'])
def test_any_reply_shows_that_the_server_works(
        servers: ScriptedServers, reply: object) -> None:
    servers.greeting = replies(*[reply] * 10)
    assert attempts(servers, 10) == []


@pytest.fixture
def servers() -> ScriptedServers:
    return ScriptedServers()
