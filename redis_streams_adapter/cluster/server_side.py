"""The handlers of events between servers, and the answer to each event.

As with ``serverSideEmit`` of the npm package ``socket.io`` 4.8, every handler
of an event is called, and one answer is sent.
"""
import logging
from typing import Any, Callable, Dict, List, Tuple

from ..concurrency.locks import Lock
from ..concurrency.engines import Engine
from ..log_events import SERVER_SIDE_HANDLER_FAILED

Handler = Callable[..., Any]

#: Names with a special meaning in Node.js, which refuses to emit them
#: (``dist/namespace.js``, ``RESERVED_EVENTS``).
RESERVED = frozenset(('connect', 'connection', 'new_namespace'))


def check_name(event: Any) -> None:
    """Make sure that an event may be emitted.

    :raises TypeError: its name is not a string.
    :raises ValueError: its name is reserved.
    """
    if not isinstance(event, str):
        raise TypeError(f'the name of an event must be a string, not '
                        f'{type(event).__name__}')
    if event in RESERVED:
        raise ValueError(f'{event!r} is a reserved name')


class ServerSideHandlers:
    """The handlers of one manager; a fork keeps them.

    Handlers are only added, each in one step. A look-up at the same time may
    or may not find the new one.
    """

    def __init__(self, logger: Callable[[], logging.Logger]) -> None:
        self._logger = logger
        self._handlers: Dict[Tuple[str, str], List[Handler]] = {}

    def add(self, namespace: str, event: str, handler: Handler) -> None:
        """Add a handler of an event."""
        self._handlers.setdefault((namespace, event), []).append(handler)

    @property
    def namespaces(self) -> List[str]:
        """The namespaces that have a handler."""
        return [namespace for (namespace, _), handlers
                in list(self._handlers.items()) if handlers]

    def handle(self, engine: Engine, namespace: str, args: Tuple[Any, ...],
               encode: Callable[[Any], Any],
               answer: Callable[[Any], None]) -> None:
        """Call the handlers of an event, each in a task of its own.

        :param args: the event's name, then its arguments.
        :param encode: encodes the value that a handler returns. If it raises,
                       the handler has failed.
        :param answer: called once, with the encoded answer: the first value
                       that is not ``None``, or ``None`` if every handler that
                       did not fail has returned that, or if there are none:
                       no task of the caller waits for a server that cannot
                       answer. If all have failed, it is not called.
        """
        handlers = list(self._handlers.get((namespace, str(args[0])), ()))
        if not handlers:
            answer(encode(None))
        outcome = _Outcome(len(handlers), encode, answer)
        for handler in handlers:
            engine.spawn(self._run, handler, args, outcome, namespace)

    def _run(self, handler: Handler, args: Tuple[Any, ...],
             outcome: '_Outcome', namespace: str) -> None:
        try:
            # A value that cannot be sent is an error of the handler, too.
            outcome.succeed(handler(*args[1:]))
        except Exception:
            self._logger().exception(
                'a handler of the server-side event %r failed', args[0],
                extra=SERVER_SIDE_HANDLER_FAILED(
                    namespace=namespace, handler=args[0]))
            outcome.fail()


class _Outcome:
    """The outcome of several handlers of one event.

    :param handlers: how many there are.
    """

    def __init__(self, handlers: int, encode: Callable[[Any], Any],
                 answer: Callable[[Any], None]) -> None:
        #: Protects the fields below; each handler's task writes them once.
        self._lock = Lock()
        self._running = handlers
        self._succeeded = False
        self._answered = False
        self._encode = encode
        self._answer = answer

    def succeed(self, value: Any) -> None:
        """A handler has returned.

        :raises TypeError, ValueError: the value cannot be sent; the handler
                                       has failed.
        """
        encoded = None if value is None else self._encode(value)
        self._settle(True, value is not None, encoded)

    def fail(self) -> None:
        """A handler has raised."""
        self._settle(False, False, None)

    def _settle(self, succeeded: bool, has_value: bool,
                encoded: Any) -> None:
        with self._lock:
            self._running -= 1
            self._succeeded = self._succeeded or succeeded
            due = not self._answered and (has_value or (
                not self._running and self._succeeded))
            self._answered = self._answered or due
        if due:
            self._answer(encoded if has_value else self._encode(None))
