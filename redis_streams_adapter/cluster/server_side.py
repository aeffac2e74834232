"""Events between servers: who handles them, and what is answered.

As ``serverSideEmit`` of the npm package ``socket.io`` 4.8: every handler of
an event is called, and one answer goes back.
"""
import logging
from typing import Any, Callable, Dict, List, Tuple

from ..concurrency.locks import Lock
from ..concurrency.engines import Engine

Handler = Callable[..., Any]

#: Names with a meaning of their own in Node.js, which refuses to emit them
#: (``dist/namespace.js``, ``RESERVED_EVENTS``).
RESERVED = frozenset(('connect', 'connection', 'new_namespace'))


def check_name(event: Any) -> None:
    """Make sure that an event may be emitted.

    :raises TypeError: its name is not a text.
    :raises ValueError: its name is reserved.
    """
    if not isinstance(event, str):
        raise TypeError(f'the name of an event must be a text, not '
                        f'{type(event).__name__}')
    if event in RESERVED:
        raise ValueError(f'{event!r} is a reserved name')


class ServerSideHandlers:
    """The handlers of one manager; they stay over a fork.

    Only ever added to, each in one step. Whoever looks one up while another
    is added finds it, or not.
    """

    def __init__(self, logger: Callable[[], logging.Logger]) -> None:
        self._logger = logger
        self._handlers: Dict[Tuple[str, str], List[Handler]] = {}

    def add(self, namespace: str, event: str, handler: Handler) -> None:
        """Have an event handled."""
        self._handlers.setdefault((namespace, event), []).append(handler)

    @property
    def namespaces(self) -> List[str]:
        """Those with a handler."""
        return [namespace for (namespace, _), handlers
                in list(self._handlers.items()) if handlers]

    def handle(self, engine: Engine, namespace: str, args: Tuple[Any, ...],
               encode: Callable[[Any], Any],
               answer: Callable[[Any], None]) -> None:
        """Call the handlers of an event, each in a task of its own.

        :param args: the event's name, then its arguments.
        :param encode: what is returned has to pass it; a handler whose value
                       does not has raised.
        :param answer: told, once, what comes of ``encode``: of the first
                       value that a handler returns, or of ``None`` where none
                       returns any. A handler that raises has no answer; where
                       all do, or there are none, nothing is answered.
        """
        handlers = list(self._handlers.get((namespace, str(args[0])), ()))
        outcome = _Outcome(len(handlers), encode, answer)
        for handler in handlers:
            engine.spawn(self._run, handler, args, outcome)

    def _run(self, handler: Handler, args: Tuple[Any, ...],
             outcome: '_Outcome') -> None:
        try:
            # What cannot be sent as an answer is the handler's fault as well.
            outcome.succeed(handler(*args[1:]))
        except Exception:
            self._logger().exception(
                'a handler of the server-side event %r failed', args[0])
            outcome.fail()


class _Outcome:
    """What comes of several handlers of one event.

    :param handlers: how many there are.
    """

    def __init__(self, handlers: int, encode: Callable[[Any], Any],
                 answer: Callable[[Any], None]) -> None:
        #: Protects the rest; each handler's task writes it once.
        self._lock = Lock()
        self._running = handlers
        self._succeeded = False
        self._answered = False
        self._encode = encode
        self._answer = answer

    def succeed(self, value: Any) -> None:
        """A handler has returned.

        :raises TypeError, ValueError: what cannot be sent; then it has not.
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
