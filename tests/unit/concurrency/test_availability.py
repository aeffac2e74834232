"""Whether a server can be used, and the log of its outages."""
import logging
import re
from types import SimpleNamespace
from typing import Callable, List

import pytest

from redis_streams_adapter.concurrency import availability as \
    availability_module
from redis_streams_adapter.concurrency.availability import Availability, \
    FOLLOW_INTERVAL, log_safely

Logged = Callable[[int], List[str]]
Logger = Callable[[], logging.Logger]


@pytest.fixture
def availability(logger: Logger) -> Availability:
    availability = Availability('Redis', logger, lambda: '7 messages wait')
    for part in ('writer', 'reader'):
        availability.add(part, lambda: None)
    return availability


def test_ok_when_all_parts_work(availability: Availability) -> None:
    assert not availability.ok
    availability.up('writer')
    assert not availability.ok
    availability.up('reader')
    assert availability.ok
    availability.broken('writer', 'lost')
    assert not availability.ok
    assert availability.last_error == 'lost'
    availability.up('writer')
    assert availability.ok


def test_ok_without_parts(logger: Logger) -> None:
    assert Availability('Redis', logger, lambda: '7 messages wait').ok


def test_one_line_down_one_line_up(availability: Availability,
                                   logged: Logged) -> None:
    for part in ('writer', 'reader'):
        availability.up(part)
    assert logged(logging.WARNING) == []
    for _ in range(10):
        for part in ('writer', 'reader'):
            availability.broken(part, 'refused')
            availability.down(part, 'refused')
    down, = logged(logging.WARNING)
    assert 'Redis' in down and 'refused' in down and 'writer' in down
    availability.up('reader')
    assert logged(logging.WARNING) == [down]
    assert not availability.ok
    availability.up('writer')
    assert len(logged(logging.WARNING)) == 2
    assert 'back' in logged(logging.WARNING)[1]
    assert availability.outages == 1
    availability.down('reader', 'again')
    availability.up('reader')
    assert len(logged(logging.WARNING)) == 4
    assert availability.outages == 2


def test_lines_are_sentences(logger: Logger, logged: Logged) -> None:
    availability = Availability(
        'Redis', logger, lambda: '7 messages wait', lambda: 'calls wait')
    availability.add('writer', lambda: None)
    availability.down('writer', 'refused')
    availability.up('writer')
    down, up = logged(logging.WARNING)
    assert down == 'Redis cannot be used (writer: refused); calls wait'
    assert re.fullmatch(
        r'Redis is back after \d+\.\d s; 7 messages wait', up)


def test_replaced_connection_logs_no_warning(availability: Availability,
                                             logged: Logged) -> None:
    for part in ('writer', 'reader'):
        availability.up(part)
    for _ in range(10):
        availability.broken('writer', 'killed')
        availability.up('writer')
    assert logged(logging.WARNING) == []
    assert availability.outages == 0
    assert availability.last_error == 'killed'


def test_working_part_wakes_the_others(logger: Logger) -> None:
    availability = Availability('Redis', logger, lambda: '7 messages wait')
    woken: List[str] = []
    for part in ('writer', 'reader'):
        availability.add(part, lambda part=part: woken.append(part))
    availability.up('writer')
    assert woken == ['reader']
    availability.up('writer')
    assert woken == ['reader']
    availability.down('writer', 'x')
    availability.up('writer')
    availability.up('reader')
    assert woken == ['reader', 'reader', 'writer']


def test_part_added_while_another_reports(logger: Logger) -> None:
    """With several streams, the first one's tasks run before the last one's
    are made."""
    availability = Availability('Redis', logger, lambda: '7 messages wait')
    availability.add('writer', lambda: None)
    availability.add('reader', lambda: availability.add('late', lambda: None))
    availability.up('writer')
    assert not availability.ok


def test_watchers_are_not_parts(availability: Availability) -> None:
    """They are called for each part that works again, and do not count."""
    called: List[int] = []
    availability.watch('recovery', lambda: called.append(1))
    for part in ('writer', 'reader'):
        availability.up(part)
    assert len(called) == 2
    assert availability.ok


def test_lost_connection_is_not_an_outage(availability: Availability) -> None:
    for part in ('writer', 'reader'):
        availability.up(part)
    availability.broken('writer', 'lost')
    assert not availability.away
    availability.down('writer', 'refused')
    assert availability.away
    availability.up('writer')
    assert not availability.away


def test_history(availability: Availability) -> None:
    for part in ('writer', 'reader'):
        availability.up(part)
    assert availability.history() == {'outage': None, 'last_outage': None}
    availability.down('writer', 'refused')
    availability.down('reader', 'lost')
    history = availability.history()
    assert history['outage'] >= 0
    assert history['last_outage'] is None
    availability.up('writer')
    assert availability.history()['outage'] is not None
    availability.up('reader')
    history = availability.history()
    assert history['outage'] is None
    # The reason of its beginning.
    assert history['last_outage']['reason'] == 'writer: refused'
    assert history['last_outage']['lasted'] >= 0
    assert history['last_outage']['ended'] >= 0


def test_outage_begins_with_the_first_failure(
        availability: Availability, logged: Logged,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """If Redis freezes, the second one comes seconds later."""
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=10.0)
    monkeypatch.setattr(availability_module, 'time', clock)
    for part in ('writer', 'reader'):
        availability.up(part)
    for begin, lasted in (20.0, 8.0), (40.0, 9.0):
        clock.now = begin
        availability.broken('reader', 'silent')
        clock.now = begin + 5
        availability.down('reader', 'silent')
        clock.now = begin + lasted
        assert availability.history()['outage'] == lasted
        availability.up('reader')
        assert availability.history()['last_outage']['lasted'] == lasted
        assert f'back after {lasted} s' in logged(logging.WARNING)[-1]
        # A failure that is no outage.
        clock.now += 1
        availability.broken('reader', 'lost')
        clock.now += 1
        availability.up('reader')


def test_log_handler_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """It is printed, as logging prints exceptions of its own handlers."""
    def write(*args: object) -> None:
        raise RuntimeError('the outbox is full')

    log_safely(write, 'Redis is away')
    assert 'the outbox is full' in capsys.readouterr().err


@pytest.mark.parametrize('reason', [
    "ReadOnlyError: You can't write against a read only replica.",
    "ResponseError: READONLY You can't write against a read only replica."])
@pytest.mark.parametrize('failures', [1, 3])
def test_followers_are_called_when_another_server_has_taken_over(
        reason: str, failures: int) -> None:
    logger = logging.Logger('unheard')
    availability = Availability('Redis', lambda: logger, str)
    followed: List[str] = []
    availability.follow(followed.append)
    for part in 'writer', 'reader':
        availability.add(part, lambda: None)
        availability.up(part)
    availability.broken('reader', 'ConnectionError: closed')
    availability.up('reader')
    assert followed == []
    availability.broken('writer', reason if failures == 1 else 'closed')
    for _ in range(failures - 1):
        availability.down('writer', reason)
    availability.up('reader')
    assert followed == []
    availability.up('writer')
    availability.up('writer')
    assert followed == ['writer']


@pytest.fixture
def parts() -> Availability:
    logger = logging.Logger('unheard')
    availability = Availability('Redis', lambda: logger, str)
    for part in 'writer', 'reader':
        availability.add(part, lambda: None)
    return availability


@pytest.mark.parametrize('first, second', [
    ('writer', 'reader'), ('reader', 'writer')])
def test_followers_are_called_when_a_part_has_found_another_server(
        parts: Availability, first: str, second: str) -> None:
    followed: List[str] = []
    parts.follow(followed.append)
    for part in 'writer', 'reader':
        parts.up(part, b'old')
    parts.broken(first, 'closed')
    # It may not be known.
    parts.up(first)
    parts.broken(first, 'closed')
    parts.up(first, b'old')
    assert followed == []
    parts.broken(first, 'closed')
    parts.up(first, b'new')
    assert followed == [first]
    # It has followed.
    parts.broken(second, 'closed')
    parts.up(second, b'new')
    assert followed == [first]


def test_parts_do_not_follow_each_other_without_end(
        parts: Availability, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new connection may reach another server."""
    now, followed = [1000.0], []
    monkeypatch.setattr(availability_module.time, 'monotonic', lambda: now[0])
    parts.follow(followed.append)
    for number in range(20):
        parts.up(('writer', 'reader')[number % 2], b'%d' % number)
    assert followed == ['reader']
    now[0] += FOLLOW_INTERVAL + 1
    parts.up('writer', b'new')
    assert followed == ['reader', 'writer']


def events(caplog: pytest.LogCaptureFixture) -> List[str]:
    return [record.event for record in caplog.records
            if record.levelno == logging.WARNING]


def test_reason_that_changes_is_logged_once(
        availability: Availability, caplog: pytest.LogCaptureFixture) -> None:
    for part in ('writer', 'reader'):
        availability.up(part)
    for reason in ('ConnectionError: refused', 'NOPERM this user',
                   'ConnectionError: refused', 'NOPERM this user'):
        for part in ('writer', 'reader'):
            for _ in range(3):
                availability.down(part, reason)
    away, other = (record for record in caplog.records
                   if record.levelno == logging.WARNING)
    assert (away.event, away.reason) == (
        'redis_away', 'ConnectionError: refused')
    assert (other.event, other.reason, other.task, other.count) == (
        'redis_still_away', 'NOPERM this user', 'writer', 7)
    assert 'after' in other.getMessage() and 'NOPERM' in other.getMessage()
    for part in ('writer', 'reader'):
        availability.up(part)
    back = caplog.records[-1]
    assert (back.event, back.count) == ('redis_back', 24)
    # The next outage has its own reasons.
    for reason in ('NOPERM this user', 'ConnectionError: refused'):
        availability.down('writer', reason)
    availability.up('writer')
    assert events(caplog)[3:] == [
        'redis_away', 'redis_still_away', 'redis_back']


def test_reasons_that_differ_in_numbers_are_one(
        availability: Availability, caplog: pytest.LogCaptureFixture) -> None:
    for port in range(5):
        availability.down('writer', f'Error 111 connecting to host:{port}')
    assert events(caplog) == ['redis_away']


def test_reasons_do_not_flood_the_log(
        availability: Availability, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1000):
        availability.down('writer', 'x' * (number + 1))
    assert len(caplog.records) == availability_module.REASONS
