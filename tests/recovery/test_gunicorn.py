"""Workers of gunicorn are replaced, and their clients are recovered."""
import collections
import contextlib
import itertools
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, List, Set

import psutil
import pytest

from ..support.balancer import Balancer
from ..support.controlled import RemoteError
from ..support.gunicorn_process import GunicornProcess
from ..support.js_client import JsClient
from ..support.node_process import NodeProcess
from ..support.wait import DEADLINE, wait_until
from .helpers import check_received, ConnectJs, HOOKS, RECOVERING, Start, \
    Unique

#: Without hooks, a worker waits for its WebSockets until gunicorn's graceful
#: timeout, and a worker with threads until gunicorn kills it.
NO_HOOKS = 'graceful_timeout = 1\ntimeout = 8\n'

#: Messages per second to all clients.
RATE = 200

#: Clients of each worker.
EACH = 5

#: Seconds in which gunicorn replaces a worker, even on a busy machine.
REPLACED_WITHIN = 30.0

StartGunicorn = Callable[..., GunicornProcess]
Gather = Callable[[Any, int], 'Crowd']


@pytest.fixture(params=['plain', 'flask'])
def flavour(request: Any) -> str:
    """python-socketio, or Flask-SocketIO."""
    return str(request.param)


@pytest.fixture
def emitter(start: Start) -> NodeProcess:
    """A member of the cluster that has no clients, and runs throughout."""
    node, = start(1)
    return node


@pytest.fixture
def start_gunicorn(start_gunicorn_process: StartGunicorn, flavour: str,
                   emitter: NodeProcess, redis_server: Any, tmp_path: Path,
                   ) -> StartGunicorn:
    """Starts a gunicorn with the application of
    :mod:`tests.support.recovery_app`."""
    directories = map(str, itertools.count())

    def start_it(workers: int, configuration: str = HOOKS,
                 ) -> GunicornProcess:
        directory = tmp_path / next(directories)
        directory.mkdir()
        return start_gunicorn_process(
            redis_server.url,
            {**RECOVERING, 'stream_name': emitter.options['stream_name']},
            directory, workers, configuration, preload=False,
            application='tests.support.recovery_app',
            env={'NODE_FLAVOUR': flavour})

    return start_it


class Crowd:
    """Clients with rooms and data, to which messages are emitted all the
    time.

    :param connect: connects one more client.
    :param emitter: emits to all of them.
    """

    def __init__(self, connect: Callable[[], JsClient],
                 emitter: NodeProcess, unique: Unique) -> None:
        self._connect = connect
        self._emitter = emitter
        self._unique = unique
        self._event = unique('event')
        self._said: List[str] = []
        self._room = unique('room')
        self._remembered: Dict[str, Any] = {}
        self.clients: List[JsClient] = []

    @property
    def workers(self) -> Set[int]:
        """The pids of the workers that have these clients."""
        return {worker_of(client) for client in self.clients}

    def gather(self, workers: int) -> None:
        """Connect :data:`EACH` to each worker.

        A worker with enough clients is frozen until the others have theirs.
        """
        counts: Dict[int, int] = collections.Counter()
        frozen: List[int] = []
        try:
            while len(frozen) < workers:
                client = self._connect()
                self.clients.append(client)
                pid = worker_of(client)
                counts[pid] += 1
                if counts[pid] == EACH:
                    os.kill(pid, signal.SIGSTOP)
                    frozen.append(pid)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        # The last client first: its worker was not frozen for long.
        for client in reversed(self.clients):
            client.call('remember', client.sid, f'{self._room}-{client.sid}')
            client.call('remember', client.sid, self._room)
            self._remembered[client.sid] = client.call('recall')[0]
        self._emitter.start_pulse(self._event, 1 / RATE)
        for client in self.clients:
            client.wait_for(self._event, 20)
        self._said = [self._unique('said') for _ in self.clients]
        self._say(0)

    def _say(self, number: int) -> None:
        """Let each client's worker emit one message to all, and wait until
        all clients have received them."""
        for client, event in zip(self.clients, self._said):
            client.call('say', event, number, self._room)
        for client in self.clients:
            for event in self._said:
                client.wait_for(event, number + 1)

    def wait_moved(self, gone: Set[int]) -> None:
        """Wait until no client is connected to one of these workers."""
        def has_moved(client: JsClient) -> bool:
            # The call fails while the client has no connection, and times
            # out if its connection is dead.
            with contextlib.suppress(RemoteError):
                return worker_of(client, timeout=2.0) not in gone
            return False

        for client in self.clients:
            wait_until(lambda: has_moved(client), REPLACED_WITHIN, lambda: (
                f'client {client.sid} at another worker than {gone}; '
                f'connects: {client.connects()}, '
                f'disconnects: {client.disconnects()}, '
                f'errors: {client.errors()[-3:]}'))

    def check(self) -> None:
        """Check that all clients were recovered each time, with their rooms
        and data, and have received everything that was emitted."""
        for client in self.clients:
            first, *others = client.connects()
            now, at_connect, rooms = client.call('recall')
            assert {(each.sid, each.recovered) for each in others} <= {
                (first.sid, True)}, (
                f'{first.sid} was not recovered: {at_connect}; '
                f'{client.disconnects()}, {client.errors()}')
            expected = self._remembered[first.sid]
            assert now == expected
            assert rooms == [self._room, f'{self._room}-{first.sid}']
            if others:
                assert at_connect == [expected, [True, None], rooms]
        self._say(1)
        for client in self.clients:
            # What comes after the return.
            client.wait_for(self._event, client.count(self._event) + 20)
        emitted = self._emitter.stop_pulse(self._event)
        check_received(self.clients, [self._emitter], self._unique,
                       **{self._event: emitted,
                          **dict.fromkeys(self._said, 2)})


def worker_of(client: JsClient, timeout: float = DEADLINE) -> int:
    """The pid of the worker that has a client."""
    pid, _ = client.call('identify', timeout=timeout)
    return int(pid)


@pytest.fixture
def gather(connect_js: ConnectJs, emitter: NodeProcess, unique: Unique,
           ) -> Gather:
    """Connects clients: ``gather(server, workers)``."""
    def gather_them(server: Any, workers: int) -> Crowd:
        wait_until_serving(server.url)
        crowd = Crowd(lambda: connect_js(server.url, reconnection=True),
                      emitter, unique)
        crowd.gather(workers)
        return crowd

    return gather_them


def wait_until_serving(url: str) -> None:
    """Wait until the application answers."""
    def answers() -> bool:
        with contextlib.suppress(OSError):
            polling = f'{url}/socket.io/?EIO=4&transport=polling'
            with urllib.request.urlopen(polling, timeout=5.0) as response:
                return bool(response.status == 200)
        return False

    wait_until(answers, 30.0, f'{url} to serve')


@pytest.mark.parametrize('hooks', [HOOKS, NO_HOOKS],
                         ids=['hooks', 'no hooks'])
def test_reload_replaces_all_workers(start_gunicorn: StartGunicorn,
                                     gather: Gather, hooks: str) -> None:
    """The master gets a HUP, as when an application is deployed."""
    gunicorn = start_gunicorn(2, hooks)
    crowd = gather(gunicorn, 2)
    before = crowd.workers
    assert len(before) == 2
    gunicorn.process.signal(signal.SIGHUP)
    crowd.wait_moved(before)
    crowd.check()


def test_worker_is_killed(start_gunicorn: StartGunicorn,
                          gather: Gather) -> None:
    """Its clients connect to the other worker, or to the replacement."""
    gunicorn = start_gunicorn(2)
    crowd = gather(gunicorn, 2)
    first, second = crowd.workers
    stayed = [client for client in crowd.clients
              if worker_of(client) == second]
    os.kill(first, signal.SIGKILL)
    crowd.wait_moved({first})
    crowd.check()
    for client in stayed:
        assert len(client.connects()) == 1


def test_rolling_restart(start_gunicorn: StartGunicorn, gather: Gather,
                         ) -> None:
    """Servers with one worker each serve behind a proxy. Each in turn is
    removed from the proxy, ended, and replaced."""
    servers = [start_gunicorn(1) for _ in range(3)]
    for server in servers:
        wait_until_serving(server.url)
    with Balancer([server.port for server in servers]) as balancer:
        balancer.open()
        crowd = gather(balancer, 3)
        for server in servers:
            # The server's worker. Other clients are at other servers.
            gone = {pid for pid in crowd.workers
                    if parent_of(pid) == server.process.pid}
            assert gone
            balancer.ports.remove(server.port)
            replacement = start_gunicorn(1)
            server.stop()
            wait_until_serving(replacement.url)
            balancer.ports.append(replacement.port)
            crowd.wait_moved(gone)
        crowd.check()


def parent_of(pid: int) -> int:
    """The pid of the process that has started this one."""
    return psutil.Process(pid).ppid()
