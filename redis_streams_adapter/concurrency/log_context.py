"""What all records of one node, or of one stream, have in common."""
import logging
from typing import Any, Callable, cast, Dict, Optional

#: The loggers that take extra fields. Another one is any object of the
#: application that has a method for each level.
WITH_FIELDS = logging.Logger, logging.LoggerAdapter

#: The methods of a logger, by level. An application may rename the levels.
METHODS = {logging.DEBUG: 'debug', logging.INFO: 'info',
           logging.WARNING: 'warning', logging.ERROR: 'error'}

#: How the error of logging begins if a record already has a field: the
#: application's factory of records may have set it.
TAKEN = 'Attempt to overwrite'


class ContextLogger:
    """Stands between a part and its logger, which it is called in place of,
    and fills fields in. It has no state.

    :param logger: returns the logger.
    :param node: returns the uid of this node, if it is known.
    :param stream: the key of the stream that the part is concerned with.
    """

    def __init__(self, logger: Callable[[], Any],
                 node: Optional[Callable[[], Optional[str]]] = None,
                 stream: Optional[str] = None) -> None:
        self._real = logger
        self._node = node
        self._stream = stream

    def __call__(self) -> logging.Logger:
        """As the function that returns the logger."""
        return cast(logging.Logger, self)

    # The methods are alike, so that the line that is found for a record is
    # that of the caller.

    def debug(self, text: str, *args: Any, **more: Any) -> None:
        """As the logger's."""
        self._write('debug', text, args, more)

    def info(self, text: str, *args: Any, **more: Any) -> None:
        """As the logger's."""
        self._write('info', text, args, more)

    def warning(self, text: str, *args: Any, **more: Any) -> None:
        """As the logger's."""
        self._write('warning', text, args, more)

    def error(self, text: str, *args: Any, **more: Any) -> None:
        """As the logger's."""
        self._write('error', text, args, more)

    def exception(self, text: str, *args: Any, **more: Any) -> None:
        """As the logger's."""
        self._write('exception', text, args, more)

    def log(self, level: int, text: str, *args: Any, **more: Any) -> None:
        """As the logger's, with one of its usual levels."""
        self._write(METHODS[level], text, args, more)

    def _write(self, name: str, text: str, args: Any,
               more: Dict[str, Any]) -> None:
        self._pass_on(name, text, args, more, 4)

    def _pass_on(self, name: str, text: str, args: Any, more: Dict[str, Any],
                 frames: int) -> None:
        """Call the logger.

        :param more: further arguments; they are not changed.
        :param frames: how many calls it is from the caller to the logger.
        """
        real, more = self._real(), dict(more)
        extra = more.pop('extra', None)
        if not isinstance(real, (ContextLogger, *WITH_FIELDS)):
            more.pop('stacklevel', None)
            getattr(real, name)(text, *args, **more)
            return
        if name == 'exception':
            # Before Python 3.11, exception() is one call more from the line.
            name, more = 'error', {'exc_info': True, **more}
        write = getattr(real, name)
        more['stacklevel'] = more.get('stacklevel', 1) + frames - 1
        if extra is None:
            write(text, *args, **more)
            return
        extra = dict(extra)
        if self._node is not None and extra.get('node') is None:
            extra['node'] = self._node()
        if self._stream is not None and extra.get('stream') is None:
            extra['stream'] = self._stream
        try:
            write(text, *args, extra=extra, **more)
        except KeyError as exc:
            if not str(exc.args[0]).startswith(TAKEN):
                raise
            # The line matters more than its fields.
            write(text, *args, **more)
