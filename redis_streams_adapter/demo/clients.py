"""The clients of the demo: real ones, each with a WebSocket of its own.

They run in this process, in threads, as python-socketio's client does. A
client keeps everything that it receives, so that the report also shows what
no client should have received.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
import threading
import time
from typing import Any, Protocol

import socketio

from .errors import DemoError
from .orders import MARKER, QUESTION, ROOM

#: Seconds for all clients together to disconnect.
DISCONNECT_TIMEOUT = 2.0


@dataclass(frozen=True)
class Delivery:
    """One event as one client received it.

    :param event: its name.
    :param step: the line of the report that it belongs to, -1 for none.
    :param text: what it said.
    :param seconds: from the emit to the client's handler.
    """
    event: str
    step: int
    text: str
    seconds: float


class Inbox:
    """What all clients have received, and a way to wait for more."""

    def __init__(self) -> None:
        # The lock of the condition protects the deliveries and markers,
        # which the clients' threads add to.
        self._changed = threading.Condition()
        self._deliveries: dict[str, list[Delivery]] = {}
        self._markers: dict[str, list[int]] = {}
        self._gone: set[str] = set()

    def add(self, client: str, delivery: Delivery) -> None:
        with self._changed:
            self._deliveries.setdefault(client, []).append(delivery)
            self._changed.notify_all()

    def add_marker(self, client: str, step: int) -> None:
        with self._changed:
            self._markers.setdefault(client, []).append(step)
            self._changed.notify_all()

    def lose(self, client: str) -> None:
        """Note that a client's connection ended."""
        with self._changed:
            self._gone.add(client)
            self._changed.notify_all()

    def of(self, client: str) -> tuple[Delivery, ...]:
        with self._changed:
            return tuple(self._deliveries.get(client, ()))

    def wait_for_marker(self, clients: list[str], step: int,
                        timeout: float) -> list[str]:
        """Wait until these clients have a marker.

        :param timeout: in seconds.

        Returns the names of those that do not have it.
        """
        def without() -> list[str]:
            return [client for client in clients
                    if step not in self._markers.get(client, ())]

        with self._changed:
            self._changed.wait_for(
                lambda: not without() or self._gone, timeout)
            return without()


class Client:
    """One client, connected to one worker by WebSocket.

    :param name: its name in the report.
    :param inbox: where its events go.
    """

    def __init__(self, name: str, inbox: Inbox) -> None:
        self.name = name
        self.welcome: dict[str, Any] = {}
        self._inbox = inbox
        self._welcomed = threading.Event()
        # A client that came back would hide that it had been away. Signals
        # are the demo's own affair.
        self._socketio = socketio.Client(
            reconnection=False, handle_sigint=False,
            websocket_extra_options={'http_no_proxy': ['*']})
        self._socketio.on('*', self._receive)
        self._socketio.on('disconnect', self._disconnected)
        handle_in_order(self._socketio.eio)

    @property
    def sid(self) -> str:
        return str(self._socketio.get_sid())

    def connect(self, url: str, timeout: float) -> None:
        """Connect, and wait until the worker has sent its name.

        :param url: the worker's.
        :param timeout: in seconds.
        """
        try:
            self._socketio.connect(url, transports=['websocket'],
                                   wait_timeout=timeout)
        except socketio.exceptions.ConnectionError as exc:
            raise DemoError(
                f'{self.name} cannot connect to {url} by WebSocket: '
                f'{exc}') from exc
        if not self._welcomed.wait(timeout):
            raise DemoError(f'{self.name} received no welcome event from '
                            f'{url} within {timeout:g} s')

    def join(self, timeout: float) -> None:
        """Enter the room, and wait until the worker says so."""
        try:
            self._socketio.call('join', ROOM, timeout=timeout)
        except socketio.exceptions.SocketIOError as exc:
            raise DemoError(f'{self.name} cannot join the room: '
                            f'{exc or "no answer"}') from exc

    def say(self, step: int, text: str) -> None:
        """Have the worker pass something on to everyone else."""
        self._socketio.emit('say', (step, text, time.monotonic()))

    def disconnect(self) -> None:
        self._socketio.disconnect()

    def _receive(self, event: str, *args: Any) -> Any:
        now = time.monotonic()
        data = args[0] if args else None
        if event == 'welcome' and isinstance(data, dict):
            self.welcome = data
            self._welcomed.set()
        elif event == MARKER and isinstance(data, int):
            self._inbox.add_marker(self.name, data)
        else:
            if not isinstance(data, dict):
                data = {}
            self._inbox.add(self.name, Delivery(
                event, data.get('step', -1), data.get('text', repr(args)),
                now - data.get('sent', now)))
        return self.name if event == QUESTION else None

    def _disconnected(self, *reason: str) -> None:
        self._inbox.lose(self.name)


class CanDisconnect(Protocol):
    """A client, also one of :mod:`.web`."""

    def disconnect(self) -> None:
        ...


def disconnect_all(clients: Iterable[CanDisconnect]) -> None:
    """Disconnect clients at once, within :data:`DISCONNECT_TIMEOUT`."""
    threads = [threading.Thread(target=client.disconnect, daemon=True)
               for client in clients]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + DISCONNECT_TIMEOUT
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def handle_in_order(client: Any) -> None:
    """Have a client handle its messages one after the other.

    :param client: an ``engineio.Client``.

    python-engineio (up to 4.15 at least) starts a thread for each message
    that arrives, and of two threads the second may be first. The order in
    which messages arrive is part of what the demo shows.
    """
    start: Callable[..., Any] = client.start_background_task

    def start_or_run(target: Any, *args: Any, **kwargs: Any) -> Any:
        if target == client.handlers['message']:
            return target(*args, **kwargs)
        return start(target, *args, **kwargs)

    client.start_background_task = start_or_run
