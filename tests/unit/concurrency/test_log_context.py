"""What all records of a node have in common."""
import logging
from types import SimpleNamespace
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.concurrency.availability import log_safely
from redis_streams_adapter.concurrency.log_context import ContextLogger
from redis_streams_adapter.concurrency.log_limiter import LogLimiter
from redis_streams_adapter.log_events import OUTBOX_LOST, REDIS_BACK

Logger = Callable[[], logging.Logger]


def fields(record: logging.LogRecord) -> List[Any]:
    return [getattr(record, name, 'none') for name in (
        'event', 'node', 'stream', 'namespace', 'count')]


@pytest.fixture
def wrapped(logger: Logger, caplog: Any) -> ContextLogger:
    caplog.set_level(logging.DEBUG)
    return ContextLogger(LogLimiter(ContextLogger(logger, lambda: 'me')),
                         stream='chat')


def test_fields_are_filled_in(wrapped: ContextLogger, caplog: Any) -> None:
    wrapped.error('%d', 3, extra=OUTBOX_LOST(count=3))
    wrapped.error('%d', 4)
    wrapped.error('x', extra=OUTBOX_LOST(node='other', stream='s', count=1))
    assert [fields(each) for each in caplog.records] == [
        ['outbox_lost', 'me', 'chat', None, 3],
        ['outbox_lost', 'other', 's', None, 1]]


def test_unknown_node(logger: Logger, caplog: Any) -> None:
    ContextLogger(logger, lambda: None).error('x', extra=OUTBOX_LOST(count=1))
    assert fields(caplog.records[0])[1] is None


@pytest.mark.parametrize('name', [
    'debug', 'info', 'warning', 'error', 'exception', 'log'])
def test_record_is_of_the_line_that_logs(
        wrapped: ContextLogger, caplog: Any, name: str) -> None:
    args: Any = (logging.INFO,) if name == 'log' else ()
    getattr(wrapped, name)(*args, 'x', extra=OUTBOX_LOST(count=1))
    log_safely(getattr(wrapped, name), *args, 'y', extra=OUTBOX_LOST(count=1))
    assert [each.funcName for each in caplog.records] == [
        'test_record_is_of_the_line_that_logs'] * 2


def test_logger_that_takes_no_fields() -> None:
    lines: List[Any] = []
    plain = SimpleNamespace(
        warning=lambda *args: lines.append(args),
        info=lambda *args, exc_info: lines.append((*args, exc_info)))
    context = ContextLogger(lambda: plain, lambda: 'me')
    log_safely(context.warning, '%s', 1, extra=REDIS_BACK(count=1))
    context.info('x', exc_info=True, extra=REDIS_BACK(count=1))
    assert lines == [('%s', 1), ('x', True)]


def test_field_that_a_factory_of_records_has_set(
        wrapped: ContextLogger, caplog: Any) -> None:
    """The line is logged without fields."""
    factory = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = factory(*args, **kwargs)
        record.node = 'machine 7'
        return record

    logging.setLogRecordFactory(make)
    try:
        wrapped.error('%d messages', 3, extra=OUTBOX_LOST(count=3))
    finally:
        logging.setLogRecordFactory(factory)
    record, = caplog.records
    assert record.getMessage() == '3 messages'
    assert record.node == 'machine 7'


def test_other_errors_of_a_logger_are_raised(
        wrapped: ContextLogger, logger: Logger,
        monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise KeyError('x')

    monkeypatch.setattr(logger(), 'error', fail)
    with pytest.raises(KeyError):
        wrapped.error('x', extra=OUTBOX_LOST(count=1))


def test_repeated_lines_name_their_event(logger: Logger, caplog: Any) -> None:
    limiter = LogLimiter(ContextLogger(logger, lambda: 'me'))
    for _ in range(3):
        limiter.error('x', extra=OUTBOX_LOST(count=1))
    limiter.log_more(float('inf'))
    first, more = caplog.records
    assert fields(first)[0] == 'outbox_lost'
    assert fields(more) == ['lines_repeated', 'me', None, None, 2]
    assert more.repeated == 'outbox_lost'
