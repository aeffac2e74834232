"""A log that what other processes send cannot flood.

One malformed entry is worth a line, a thousand a second are not. The first
line of a kind is written whole. Further ones within :data:`INTERVAL` are
counted, and their number is written at its end, with the first one as an
example. Lines are of one kind if their text is the same before the arguments
are filled in.
"""
import logging
import time
from typing import Any, Callable, Dict, Optional

from ..log_events import LINES_REPEATED
from .availability import log_safely
from .log_context import ContextLogger

#: How many lines of a kind are written in an interval, by the name of their
#: level; else one. Nodes that join and leave are one line each, until there
#: are many at once.
LINES = {'info': 20}

#: For how long lines of one kind are counted, in seconds.
INTERVAL = 10.0


class _Kind:
    """Lines of one kind."""

    __slots__ = ('name', 'since', 'written', 'counted', 'example', 'event')

    def __init__(self, name: str, since: float) -> None:
        self.name = name
        self.since = since
        self.written = self.counted = 0
        #: The first line of the interval, and its event. Not its arguments,
        #: which may be large.
        self.example = ''
        self.event: Optional[str] = None

    def fill(self, text: str, args: Any) -> None:
        """Note the first line, filled in as the logger does it."""
        self.example = text
        self.example = logging.LogRecord(
            '', 0, '', 0, text, args, None).getMessage()


class LogLimiter(ContextLogger):
    """Stands between a part and its logger, which it is called in place of.

    Its state is changed without a lock: two tasks that log at once may write
    one line more, or count one less. Lines for debugging are not limited.

    :param logger: returns the logger.
    """

    def __init__(self, logger: Callable[[], Any]) -> None:
        super().__init__(logger)
        #: By their texts: those of the source, so there are few.
        self._kinds: Dict[str, _Kind] = {}

    def _write(self, name: str, text: str, args: Any,
               more: Dict[str, Any]) -> None:
        if name == 'debug':
            self._pass_on(name, text, args, more, 4)
            return
        now = time.monotonic()
        kind = self._kinds.get(text)
        if kind is None:
            kind = self._kinds.setdefault(text, _Kind(name, now))
        elif now - kind.since >= INTERVAL:
            self._close(kind, now)
        if kind.written < LINES.get(name, 1):
            if not kind.written:
                kind.event = more.get('extra', {}).get('event')
                log_safely(kind.fill, text, args)
            kind.written += 1
            self._pass_on(name, text, args, more, 4)
        else:
            kind.counted += 1

    def _close(self, kind: _Kind, now: float) -> None:
        """End an interval, and begin the next one."""
        counted, lasted = kind.counted, now - kind.since
        kind.since, kind.written, kind.counted = now, 0, 0
        if counted:
            # An exception's traceback is that of the first one.
            name = 'error' if kind.name == 'exception' else kind.name
            log_safely(
                self._pass_on, name, '%d more %s like this in %.0f s: %s',
                (counted, 'line' if counted == 1 else 'lines', lasted,
                 kind.example),
                {'extra': LINES_REPEATED(
                    repeated=kind.event, count=counted, seconds=lasted)}, 2)

    def log_more(self, now: float) -> None:
        """Write the numbers that are due. To be called now and then, and with
        infinity at the end."""
        for kind in list(self._kinds.values()):
            if kind.counted and now - kind.since >= INTERVAL:
                self._close(kind, min(now, time.monotonic()))
