"""What the buttons of the page do: each breaks something, then mends it.

One at a time: :meth:`.board.Board.begin` decides. So the task of a button is
the only one that starts and ends processes meanwhile.
"""
from __future__ import annotations

from collections.abc import Callable
import threading

from ..cluster import Cluster
from ..embedded import EmbeddedRedis, EmbeddedRedisError
from ..errors import DemoError
from ..processes import Worker
from ..scenario import WORKERS
from .board import Board
from .clients import ReturningClient
from .emitting import Emitting

#: Seconds for which Redis is frozen.
FREEZE = 3.0

#: Seconds between the end of a process and the start of the next one: long
#: enough to be seen.
PAUSE = 1.0

#: The limit of a button: as many times the limit of a step.
STEPS = 8


class Refused(Exception):
    """A button cannot be pressed now. The text says why."""


class Actions:
    """The buttons.

    :param cluster: the processes.
    :param clients: the clients.
    :param board: where everything is noted.
    :param timeout: seconds that each step may take.
    """

    def __init__(self, cluster: Cluster, clients: list[ReturningClient],
                 board: Board, timeout: float) -> None:
        self._cluster = cluster
        self._clients = {client.name: client for client in clients}
        self._board = board
        self._timeout = timeout
        self._ending = threading.Event()
        #: The tasks that have processes emit, by the number of the worker;
        #: 0: the external process. Written by the main thread, then by the
        #: task of the button.
        self.emitting: dict[int, Emitting] = {}
        self._buttons: dict[str, tuple[str, Callable[[], None]]] = {
            'kill-server': ('A server is killed', self._kill_server),
            'freeze-redis': ('Redis is frozen', self._freeze_redis),
            'restart-redis': ('Redis is restarted', self._restart_redis),
            'cut-connections': ('All connections to Redis are cut',
                                self._cut_connections),
            'drop-client': ('A client is dropped', self._drop_client)}

    def available(self) -> list[str]:
        """The buttons that can be pressed in this run: a Redis that was given
        may serve others, too."""
        return [name for name in self._buttons
                if self._cluster.embedded is not None
                or name in ('kill-server', 'drop-client')]

    def press(self, name: str) -> None:
        """Begin to do what a button says, on a task of its own.

        Raises :class:`Refused`.
        """
        if name not in self.available():
            raise Refused('there is no such button in this run')
        text, act = self._buttons[name]
        if not self._board.begin(text):
            raise Refused('another button is in progress, or the demo ends')
        threading.Thread(target=self._run, args=(act,), daemon=True).start()

    def emit_from(self, worker: Worker) -> None:
        """Have a worker emit, and let clients connect to it."""
        number = worker.number
        self._board.server(number, 'serving', worker.url, worker.pid)
        self.emitting[number] = Emitting(
            f'server {number}, pid {worker.pid}', worker.carry_out,
            self._board, self._timeout)
        self.emitting[number].start()

    def end(self) -> None:
        """Have the button in progress make haste, and begin no other one.
        Returns when it has ended, or taken too long. Idempotent."""
        self._ending.set()
        self._board.end()
        if not self._board.wait_until_idle(STEPS * self._timeout):
            self._board.problem('a button is still in progress')

    def _run(self, act: Callable[[], None]) -> None:
        try:
            act()
            behind = self._board.wait_until_caught_up(2 * self._timeout)
            if behind:
                self._board.problem(
                    f'{", ".join(behind)} did not catch up within '
                    f'{2 * self._timeout:g} s')
            else:
                self._board.log('all clients have all events')
        except (DemoError, EmbeddedRedisError, OSError) as exc:
            self._board.problem(str(exc))
        finally:
            self._board.finish()

    def _kill_server(self) -> None:
        number = self._board.busiest_server()
        if not number:
            raise DemoError('no server is left')
        worker = self._cluster.workers[number - 1]
        self._board.log(f'server {number}, pid {worker.pid}, is killed, with '
                        'SIGKILL')
        self._board.server(number, 'killed', worker.url, worker.pid)
        self.emitting[number].expect_kill()
        worker.kill()
        # It ends by the error of its next event.
        self.emitting[number].join()
        self._ending.wait(PAUSE)
        self._board.server(number, 'starting')
        worker = self._cluster.start_worker(number)
        worker.wait_until_member(WORKERS, 2 * self._timeout)
        self.emit_from(worker)
        self._board.log(f'another server {number} has started, pid '
                        f'{worker.pid}')

    def _freeze_redis(self) -> None:
        embedded = self._embedded()
        self._board.log(f'Redis is frozen for {FREEZE:g} s, with SIGSTOP')
        self._board.redis('frozen')
        embedded.freeze()
        try:
            self._ending.wait(FREEZE)
        finally:
            embedded.resume()
        self._board.redis('running')
        self._board.log('Redis goes on')

    def _restart_redis(self) -> None:
        embedded = self._embedded()
        self._board.log('Redis is killed, with SIGKILL')
        self._board.redis('killed')
        embedded.kill()
        self._ending.wait(PAUSE)
        self._board.redis('starting')
        embedded.restart(self._timeout)
        self._board.redis('running')
        self._board.log('Redis has started again, with the data of its '
                        'append-only file')

    def _cut_connections(self) -> None:
        self._embedded()
        count = self._cluster.redis.cut_connections()
        self._board.log(f'{count} connections to Redis are cut')

    def _drop_client(self) -> None:
        name = self._board.busiest_client()
        if not name:
            raise DemoError('no client is connected')
        before, = (each['returns'] for each
                   in self._board.snapshot()['clients']
                   if each['name'] == name)
        self._board.log(f'the connection of {name} is cut, without a goodbye')
        self._clients[name].drop()
        if not self._board.wait_for_return(name, before, 2 * self._timeout):
            raise DemoError(f'{name} did not come back')

    def _embedded(self) -> EmbeddedRedis:
        if self._cluster.embedded is None:
            raise DemoError('Redis was not started by this run')
        return self._cluster.embedded
