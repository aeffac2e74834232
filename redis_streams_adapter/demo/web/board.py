"""What the page shows: the one place where all tasks write it.

A lock protects everything in it; no method holds it over I/O. Every method
that writes makes its change whole before it lets the lock go, and nothing in
between can raise but a defect.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import threading
import time
from typing import Any

from .tally import Source, Tally, due

#: Lines of the log that are kept.
LOG_LINES = 100

#: Latencies that the median is made of.
LATENCIES = 10_000


@dataclass
class Server:
    """A server, as the page shows it.

    :param state: ``'starting'``, ``'serving'`` or ``'killed'``.
    """
    number: int
    state: str = 'starting'
    url: str = ''
    pid: int = 0


@dataclass
class ClientState:
    """A client, as the page shows it.

    :param server: the number of its server; 0: it has none.
    :param connected: whether the server has let it in.
    :param returns: how often it came back.
    :param recovered: how often it was recovered then.
    """
    server: int = 0
    connected: bool = False
    returns: int = 0
    recovered: int = 0
    tally: Tally = field(default_factory=Tally)


class Board:
    """The state of the demo.

    :param clients: their names.
    :param say: called with each line of the log, without the lock.
    """

    def __init__(self, clients: Iterable[str],
                 say: Callable[[str], None] = lambda line: None) -> None:
        self._say = say
        # Its lock protects all attributes below.
        self._changed = threading.Condition()
        self._version = 0
        self._clients = {name: ClientState() for name in clients}
        self._servers: dict[int, Server] = {}
        self._sources: dict[str, Source] = {}
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._log: deque[dict[str, str]] = deque(maxlen=LOG_LINES)
        self._problems: list[str] = []
        self._redis = 'running'
        self._busy = ''
        self._ending = False
        self._verdict = ''

    # -- what happens -------------------------------------------------------

    def server(self, number: int, state: str, url: str = '',
               pid: int = 0) -> None:
        """Note the state of a server."""
        with self._change():
            self._servers[number] = Server(number, state, url, pid)

    def redis(self, state: str) -> None:
        """Note the state of Redis."""
        with self._change():
            self._redis = state

    def emitted(self, source: str, number: int) -> None:
        """Note that a source has emitted its next event; 0: none so far."""
        with self._change():
            self._sources.setdefault(source, Source(source)).emitted = number

    def ended(self, source: str) -> None:
        """Note that a source emits nothing more, because it has ended."""
        with self._change():
            self._sources[source].ended = True

    def place(self, client: str) -> Server | None:
        """Give a client the server with the fewest clients, if any serves."""
        with self._change():
            self._clients[client].server = 0
            serving = self._serving()
            if not serving:
                return None
            server = min(serving, key=lambda each: len(
                self._clients_of(each.number)))
            self._clients[client].server = server.number
            return server

    def connected(self, client: str, recovered: bool | None) -> None:
        """Note that a client was let in.

        :param recovered: whether it was recovered; ``None``: it is new.
        """
        with self._change():
            state = self._clients[client]
            state.connected = True
            if recovered is not None:
                state.returns += 1
                state.recovered += recovered

    def lost(self, client: str) -> None:
        """Note that a client has lost its connection."""
        with self._change():
            self._clients[client].connected = False
            self._clients[client].server = 0

    def received(self, client: str, source: str, number: int,
                 seconds: float) -> None:
        """Count an event that a client has received.

        :param seconds: since it was emitted.
        """
        with self._change():
            self._clients[client].tally.add(source, number)
            self._latencies.append(seconds)

    def log(self, text: str) -> None:
        """Add a line to the log."""
        at = time.strftime('%H:%M:%S')
        with self._change():
            self._log.append({'at': at, 'text': text})
        self._say(f'{at}  {text}')

    def problem(self, text: str) -> None:
        """Note something that must not happen. The demo has failed then."""
        with self._change():
            self._problems.append(text)
        self.log(text)

    def begin(self, text: str) -> bool:
        """Note that a button is in progress, unless another one is or the
        demo ends; return whether it may go on."""
        with self._change():
            if self._busy or self._ending:
                return False
            self._busy = text
            return True

    def finish(self) -> None:
        """Note that no button is in progress any more."""
        with self._change():
            self._busy = ''

    def end(self) -> None:
        """Let no other button begin. Idempotent."""
        with self._change():
            self._ending = True

    def conclude(self, verdict: str) -> None:
        """Note the result, after which nothing changes."""
        with self._change():
            self._verdict = verdict

    # -- what is known ------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """All that the page shows, as JSON has it."""
        with self._changed:
            numbers = self._due()
            return {
                'busy': self._busy, 'redis': self._redis,
                'verdict': self._verdict, 'log': list(self._log),
                'problems': list(self._problems),
                'events': sum(numbers.values()),
                'unsent': sum(each.emitted - numbers[each.name] for each
                              in self._sources.values() if each.ended
                              and each.emitted > numbers[each.name]),
                'servers': [{
                    'name': f'server {each.number}', 'state': each.state,
                    'pid': each.pid, 'url': each.url,
                    'clients': len(self._clients_of(each.number)),
                } for _, each in sorted(self._servers.items())],
                'clients': [{
                    'name': name, 'connected': each.connected,
                    'server': f'server {each.server}' if each.server else '',
                    'received': each.tally.received,
                    'lost': each.tally.lost, 'twice': each.tally.twice,
                    'disordered': each.tally.disordered,
                    'waiting': each.tally.waiting(numbers),
                    'returns': each.returns, 'recovered': each.recovered,
                } for name, each in self._clients.items()]}

    def latencies(self) -> list[float]:
        """Seconds from the emit to the client, of the last events."""
        with self._changed:
            return list(self._latencies)

    def busiest_server(self) -> int:
        """The number of the server with most clients; 0: none serves."""
        with self._changed:
            return max(((len(self._clients_of(each.number)), -each.number)
                        for each in self._serving()),
                       default=(0, 0))[1] * -1

    def busiest_client(self) -> str:
        """A client of the server with most clients, and among those the one
        that came back least often; empty: none is connected."""
        with self._changed:
            connected = [name for name, each in self._clients.items()
                         if each.connected]
            return min(connected, default='', key=lambda name: (
                -len(self._clients_of(self._clients[name].server)),
                self._clients[name].returns))

    # -- waiting ------------------------------------------------------------

    def wait_for_change(self, version: int, timeout: float) -> int:
        """Wait until something has changed since a version, or for so many
        seconds; return the current version."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout)
            return self._version

    def wait_until_idle(self, timeout: float) -> bool:
        """Wait until no button is in progress; return whether none is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, timeout)

    def wait_for_return(self, client: str, returns: int,
                        timeout: float) -> bool:
        """Wait until a client has come back more often than so."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._clients[client].returns > returns, timeout)

    def wait_until_caught_up(self, timeout: float) -> list[str]:
        """Wait until all clients are connected and have what was emitted
        before this call; return the names of those for which that is not so.
        """
        with self._changed:
            numbers = self._due()

            def behind() -> list[str]:
                # What a source that has ended since then has emitted is known
                # only now.
                now = self._due()
                marks = {name: min(number, now[name])
                         for name, number in numbers.items()}
                return [name for name, each in self._clients.items()
                        if not each.connected or each.tally.waiting(marks)]

            self._changed.wait_for(lambda: not behind(), timeout)
            return behind()

    # -- under the lock -----------------------------------------------------

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._changed:
            yield
            self._version += 1
            self._changed.notify_all()

    def _due(self) -> dict[str, int]:
        return due(list(self._sources.values()),
                   [each.tally for each in self._clients.values()])

    def _serving(self) -> list[Server]:
        return [each for _, each in sorted(self._servers.items())
                if each.state == 'serving']

    def _clients_of(self, number: int) -> list[str]:
        return [name for name, each in self._clients.items()
                if each.server == number]
