"""A log that others cannot flood."""
import logging
import math
import weakref
from types import SimpleNamespace
from typing import Any, List

import pytest

from redis_streams_adapter.concurrency import log_limiter
from redis_streams_adapter.concurrency.log_limiter import INTERVAL, LINES, \
    LogLimiter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(log_limiter, 'time', SimpleNamespace(
        monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def limiter() -> LogLimiter:
    return LogLimiter(lambda: logging.getLogger('tests.unit'))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.DEBUG, 'tests.unit')
    return lambda: [each.getMessage() for each in caplog.records]


@pytest.mark.parametrize('level', ['warning', 'error', 'exception'])
def test_first_is_written_and_the_others_are_counted(
        limiter: LogLimiter, clock: Any, lines: Any, level: str) -> None:
    write = getattr(limiter(), level)
    for number in range(1000):
        write('%s was skipped', number)
    assert lines() == ['0 was skipped']
    limiter.log_more(clock.now)
    assert len(lines()) == 1
    clock.now += INTERVAL
    limiter.log_more(clock.now)
    assert lines()[1:] == ['999 more lines like this in 10 s: 0 was skipped']
    limiter.log_more(math.inf)
    assert len(lines()) == 2
    # The first of the next interval is whole again.
    write('%s was skipped', 'x')
    write('%s was skipped', 'y')
    clock.now += INTERVAL + 5
    write('%s was skipped', 'z')
    assert lines()[2:] == [
        'x was skipped', '1 more line like this in 15 s: x was skipped',
        'z was skipped']


def test_kinds_are_limited_one_by_one(limiter: LogLimiter, clock: Any,
                                      lines: Any) -> None:
    for number in range(5):
        limiter.warning('a %s', number)
        limiter.error('b %s', number)
    assert lines() == ['a 0', 'b 0']
    limiter.log_more(math.inf)
    assert lines()[2:] == ['4 more lines like this in 0 s: a 0',
                           '4 more lines like this in 0 s: b 0']


@pytest.mark.parametrize('text, args, first', [
    ('%s was skipped: %s', ('a request', KeyError('x')),
     "a request was skipped: 'x'"),
    ('%r failed after %.1f s', ('ev%dent', 2.04),
     "'ev%dent' failed after 2.0 s"),
    ('100 % of it', (), '100 % of it'),
    ('%(name)s is away', ({'name': 'Redis'},), 'Redis is away'),
    ('%s', ('50 %s',), '50 %s')])
def test_example_is_a_whole_line(limiter: LogLimiter, lines: Any, text: str,
                                 args: Any, first: str) -> None:
    for _ in range(3):
        limiter.warning(text, *args)
    limiter.log_more(math.inf)
    assert lines() == [first, f'2 more lines like this in 0 s: {first}']


def test_example_is_of_the_same_interval(limiter: LogLimiter, clock: Any,
                                         lines: Any) -> None:
    for name in 'abcd':
        limiter.error('%s failed', name)
        if name == 'b':
            clock.now += INTERVAL
    limiter.log_more(math.inf)
    assert lines() == [
        'a failed', '1 more line like this in 10 s: a failed', 'c failed',
        '1 more line like this in 0 s: c failed']


@pytest.mark.parametrize('text, args', [
    ('%s and %s', (1,)), ('%d', ('x',)), ('none', (1,))])
def test_line_that_cannot_be_filled_in(clock: Any, text: str,
                                       args: Any) -> None:
    written: List[Any] = []
    limiter = LogLimiter(lambda: SimpleNamespace(
        warning=lambda *line: written.append(line)))
    for _ in range(3):
        limiter.warning(text, *args)
    limiter.log_more(math.inf)
    assert written == [
        (text, *args), ('%d more %s like this in %.0f s: %s', 2, 'lines',
                        0.0, text)]


def test_what_was_logged_is_not_kept() -> None:
    """An exception keeps its traceback, and that all variables."""
    class Failure(Exception):
        pass

    limiter = LogLimiter(lambda: SimpleNamespace(warning=lambda *line: None))
    error = Failure()
    kept = weakref.ref(error)
    for _ in range(2):
        limiter.warning('failed: %r', error)
    del error
    assert kept() is None


def test_a_few_nodes_may_join(limiter: LogLimiter, clock: Any,
                              lines: Any) -> None:
    for number in range(1000):
        limiter.log(logging.INFO, 'node %s joined', number)
    assert len(lines()) == LINES['info']
    for number in range(50):
        limiter.log(logging.DEBUG, 'node %s joined', number)
    assert len(lines()) == LINES['info'] + 50


def test_traceback_is_that_of_the_first(
        limiter: LogLimiter, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        try:
            raise KeyError('x')
        except KeyError:
            limiter.exception('failed')
    limiter.log_more(math.inf)
    assert [bool(each.exc_info) for each in caplog.records] == [True, False]
    assert {each.levelno for each in caplog.records} == {logging.ERROR}


def test_failing_log_at_the_end_of_an_interval(clock: Any) -> None:
    calls: List[Any] = []

    def fail(*args: Any) -> None:
        calls.append(args)
        if len(calls) > 1:
            raise OSError('no space left')

    limiter = LogLimiter(lambda: SimpleNamespace(warning=fail))
    limiter.warning('a')
    limiter.warning('a')
    limiter.log_more(math.inf)
    assert len(calls) == 2


@pytest.mark.parametrize('name', ['\033[1;31mINFO\033[0m', 'INF', 'Debug'])
def test_application_that_renames_levels(
        limiter: LogLimiter, lines: Any, name: str) -> None:
    """For colours, say."""
    logging.addLevelName(logging.INFO, name)
    try:
        limiter.log(logging.INFO, 'node %s joined', 1)
    finally:
        logging.addLevelName(logging.INFO, 'INFO')
    assert lines() == ['node 1 joined']
