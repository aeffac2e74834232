"""Every record that the package logs has the fields of its kind."""
import contextlib
import logging
from pathlib import Path
from typing import Any, Generator, List, Optional

import redis_streams_adapter
from redis_streams_adapter.log_events import COMMON, EVENTS

ROOT = str(Path(redis_streams_adapter.__file__).parent)

#: Lines of python-engineio, which the package writes in its place.
UPSTREAM = {'Cannot send to sid %s', '%s: Sending packet %s data %s'}

#: What every record has.
ATTRIBUTES = {*vars(logging.makeLogRecord({})), 'message', 'asctime'}


def problem(record: logging.LogRecord) -> Optional[str]:
    """What is wrong with the fields of a record; ``None``: nothing, or it is
    not one of the package."""
    if not record.pathname.startswith(ROOT) or record.msg in UPSTREAM:
        return None
    fields = {name for name in vars(record)} - ATTRIBUTES
    event = EVENTS.get(getattr(record, 'event', ''))
    if event is None:
        return f'no event: {record.msg!r}, {record.pathname}:{record.lineno}'
    wrong = fields ^ {*COMMON, *event.fields}
    if wrong:
        return f'{event.name} has wrong fields, or lacks some: {wrong}'
    if record.levelno not in event.levels:
        return f'{event.name} has the level {record.levelname}'
    return None


@contextlib.contextmanager
def watching() -> Generator[List[str], None, None]:
    """Yield a list of what is wrong with records of this process; also with
    those for debugging."""
    make, problems = logging.Logger.makeRecord, []  # type: ignore

    def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        found = problem(record)
        if found is not None:
            problems.append(found)
        return record

    logging.Logger.makeRecord = make_record  # type: ignore[method-assign]
    try:
        yield problems
    finally:
        logging.Logger.makeRecord = make  # type: ignore[method-assign]
