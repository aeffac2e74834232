"""A real Socket.IO client that records the events that it receives."""
import functools
import logging
import queue
import threading
from typing import Any, Callable, Dict, List, NamedTuple, Optional, \
    Sequence, Tuple

import engineio
import socketio

from .wait import DEADLINE, wait_until

# By default a polling client refuses more than 16 packets in one response. The
# server may have more.
engineio.payload.Payload.max_decode_packets = 10_000


class Event(NamedTuple):
    """One received event."""

    name: str
    args: Tuple[Any, ...]
    namespace: str


class NoAnswer(Exception):
    """Raised by an answer function: the event is not acknowledged."""


class _InOrder(engineio.Client):  # type: ignore[misc]
    """Handles messages one after the other.

    python-engineio starts a thread for each message, so their order varies.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._messages: 'queue.SimpleQueue[Any]' = queue.SimpleQueue()
        threading.Thread(target=self._handle_messages, daemon=True).start()

    def start_background_task(self, target: Callable[..., Any], *args: Any,
                              **kwargs: Any) -> Any:
        if target != self.handlers.get('message'):
            return super().start_background_task(target, *args, **kwargs)
        self._messages.put((target, args))
        return None

    def connect(self, *args: Any, **kwargs: Any) -> None:
        super().connect(*args, **kwargs)
        if self.ws is not None:
            # It would wait three seconds for the server's close frame,
            # which the reading thread has already received.
            self.ws.close = functools.partial(self.ws.close, timeout=0)

    def end(self) -> None:
        """End the thread."""
        self._messages.put(None)

    def _handle_messages(self) -> None:
        while True:
            message = self._messages.get()
            if message is None:
                return
            target, args = message
            try:
                target(*args)
            except NoAnswer:
                pass
            except Exception:
                # In python-engineio the error ends only the thread of one
                # message.
                logging.exception('a message could not be handled')


class _Socket(socketio.Client):  # type: ignore[misc]
    def _engineio_client_class(self) -> Any:
        return _InOrder


class Listener:
    """The records of a client, in Python or JavaScript."""

    #: The socket's id in each namespace, in the order of connecting.
    sids: Dict[str, str]

    @property
    def _first(self) -> str:
        return next(iter(self.sids))

    @property
    def sid(self) -> str:
        """The socket's id in the first namespace."""
        return self.sids[self._first]

    def names(self, *among: str) -> List[str]:
        """The names of the events so far, in order of arrival.

        :param among: only these names, if there are any.
        """
        raise NotImplementedError

    def received(self, name: str) -> List[Tuple[Any, ...]]:
        """The arguments of the events of this name so far."""
        raise NotImplementedError

    def count(self, name: str) -> int:
        """The number of events of this name so far."""
        raise NotImplementedError

    def disconnects(self) -> List[Tuple[str, str]]:
        """Each disconnect so far: the namespace and the reason of the client's
        library."""
        raise NotImplementedError

    def wait_disconnected(self, namespace: Optional[str] = None,
                          timeout: float = DEADLINE) -> str:
        """Wait until a namespace (default: the first) is disconnected.

        :return: the reason of the last disconnect.
        """
        name = namespace or self._first
        return str(wait_until(
            lambda: dict(self.disconnects()).get(name), timeout,
            f'client {self.sid} to be disconnected from {name}'))

    def wait_for(self, name: str, count: int = 1,
                 timeout: float = DEADLINE) -> List[Tuple[Any, ...]]:
        """Wait for events of a name.

        :param count: the minimum number of events.
        :return: the arguments of all received events.
        """
        wait_until(lambda: self.count(name) >= count, timeout, lambda: (
            f'{count} x {name!r} at client {self.sid}, which has '
            f'{self.count(name)}; its last events: {self.names()[-10:]}'))
        return self.received(name)


class Client(Listener):
    """A client that is connected once it is constructed.

    :param url: the server's.
    :param namespaces: the namespaces to connect to.
    :param transport: ``'websocket'`` or ``'polling'``.
    :param auth: passed to the connect handler.
    """

    def __init__(self, url: str, *namespaces: str,
                 transport: str = 'websocket', auth: Any = None) -> None:
        self._namespaces = namespaces or ('/',)
        # The message thread appends to these lists, and the test copies them.
        # Both are atomic in CPython.
        self._events: List[Event] = []
        self._by_name: Dict[str, List[Tuple[Any, ...]]] = {}
        self._disconnects: List[Tuple[str, str]] = []
        self._answers: Dict[str, Any] = {}
        self._socket = _Socket(
            reconnection=False, handle_sigint=False,
            # It would check text byte by byte in Python.
            websocket_extra_options={'skip_utf8_validation': True})
        self._socket.on('*', self._on_event, namespace='*')
        self._socket.on('disconnect', self._on_disconnect, namespace='*')
        self._socket.connect(url, transports=[transport], auth=auth,
                             namespaces=list(self._namespaces),
                             wait_timeout=DEADLINE)
        self.sids = {
            name: self._socket.get_sid(name) for name in self._namespaces}

    # -- records -----------------------------------------------------------

    def events(self) -> List[Event]:
        """All events so far, in the order in which they arrived."""
        return list(self._events)

    def received(self, name: str) -> List[Tuple[Any, ...]]:
        return list(self._by_name.get(name, ()))

    def count(self, name: str) -> int:
        return len(self._by_name.get(name, ()))

    def names(self, *among: str) -> List[str]:
        return [event.name for event in self.events()
                if not among or event.name in among]

    def disconnects(self) -> List[Tuple[str, str]]:
        return list(self._disconnects)

    def is_responsive(self) -> bool:
        """Whether the server answers the client."""
        try:
            self.call('echo', timeout=2.0)
        except (OSError, socketio.exceptions.SocketIOError):
            return False
        return True

    def is_connected(self, namespace: Optional[str] = None) -> bool:
        """Whether the client is connected to a namespace (default: the
        first)."""
        name = namespace or self._namespaces[0]
        return self._socket.get_sid(name) is not None

    # -- actions ------------------------------------------------------------

    def answer(self, name: str, *args: Any) -> None:
        """Acknowledge events of this name with these arguments."""
        self._answers[name] = lambda *_: args

    def answer_with(self, name: str,
                    function: Callable[..., Any]) -> None:
        """Acknowledge events of this name with a function's result.

        The function gets the event's arguments. It may raise
        :class:`NoAnswer`.
        """
        self._answers[name] = function

    def never_answer(self, name: str) -> None:
        """Do not acknowledge events of this name."""
        def refuse(*args: Any) -> None:
            raise NoAnswer()

        self._answers[name] = refuse

    def emit(self, name: str, *args: Any,
             namespace: Optional[str] = None) -> None:
        """Send an event."""
        self._socket.emit(name, args,
                          namespace=namespace or self._namespaces[0])

    def call(self, name: str, *args: Any, namespace: Optional[str] = None,
             timeout: float = DEADLINE) -> Any:
        """Send an event and return the result of the server's handler."""
        return self._socket.call(
            name, args, namespace=namespace or self._namespaces[0],
            timeout=timeout)

    def disconnect(self) -> None:
        """Disconnect, and wait until the connection is closed."""
        self._socket.disconnect()

    def close(self) -> None:
        """End the connection and every thread, whatever its state."""
        try:
            self._socket.disconnect()
        except (OSError, socketio.exceptions.SocketIOError):
            pass  # the server may have ended
        finally:
            self._socket.eio.end()

    # -- called by the socket -----------------------------------------------

    def _on_event(self, name: str, namespace: str, *args: Any) -> Any:
        self._events.append(Event(name, args, namespace))
        self._by_name.setdefault(name, []).append(args)
        answer = self._answers.get(name)
        return answer(*args) if answer is not None else None

    def _on_disconnect(self, namespace: str, reason: str) -> None:
        self._disconnects.append((namespace, reason))


def close_all(clients: Sequence[Any]) -> None:
    """Close clients."""
    for client in clients:
        client.close()
