"""The Redis and the processes of the demo: all that has to be ended.

Written by the main thread alone, until the page of :mod:`.web` is served: then
by the task of the button that was pressed, of which there is one at a time,
and at the end by the main thread, when no button is in progress any more.
"""
from __future__ import annotations

from pathlib import Path
import secrets
import shutil
import tempfile

from .embedded import EmbeddedRedis, EmbeddedRedisError
from .errors import DemoError
from .given import GivenRedis
from .processes import APPLICATION, Emitter, Worker, cluster_environment
from ..stream.masking import shown
from .redis_url import message_queue
from .report import Report
from .scenario import WORKERS
from .signals import Signals


class Cluster:
    """A Redis, three workers and an external process.

    :param report: describes what was started.
    :param signals: wait while something is started.
    :param redis_url: the Redis to use; by default, it starts one.
    :param timeout: seconds that each step may take.
    :param application: what the workers serve, as gunicorn takes it.
    :param durable: whether Redis keeps its data if it is killed, and clients
                    are recovered: with connection state recovery.

    Whatever it starts, :meth:`close` ends.
    """

    def __init__(self, report: Report, signals: Signals,
                 redis_url: str | None = None, timeout: float = 10.0,
                 application: str = APPLICATION,
                 durable: bool = False) -> None:
        self.stream = f'redis-streams-adapter-demo-{secrets.token_hex(4)}'
        #: The URL that connections are made from.
        self.redis_url = redis_url or ''
        #: The server that was started for this run.
        self.embedded: EmbeddedRedis | None = None
        self.workers: list[Worker] = []
        self.emitter: Emitter | None = None
        self._report = report
        self._signals = signals
        self._timeout = timeout
        self._application = application
        self._durable = durable
        self._given: GivenRedis | None = None
        self._directory: Path | None = None

    @property
    def redis(self) -> GivenRedis:
        """The Redis, to send commands to."""
        return GivenRedis(self.redis_url, self.stream)

    def open_redis(self) -> None:
        """Find or start Redis, and report it."""
        if self.redis_url:
            given = self.redis
            product, version = given.check()
            self._given = given
            origin = ['given with --redis-url']
        else:
            with self._signals.held():
                try:
                    self.embedded = EmbeddedRedis(
                        timeout=self._timeout, append_only=self._durable)
                except EmbeddedRedisError as exc:
                    raise DemoError(str(exc)) from exc
            self.redis_url = self.embedded.url
            product, version = self.redis.check()
            origin = ['started for this run', self.embedded.origin]
        self._report.fact(
            product, f'{version} at {shown(self.redis_url)}', *origin)
        self._report.fact('Stream', self.stream)

    def start_processes(self) -> None:
        """Start the workers and the external process."""
        with self._signals.held():
            self._directory = Path(tempfile.mkdtemp(prefix='demo-'))
            for number in range(1, WORKERS + 1):
                self.start_worker(number)
            self.emitter = Emitter(self._directory)
            self.emitter.launch(self._environment())
        for worker in self.workers:
            worker.wait_until_member(WORKERS, self._timeout)
            self._signals.check()

    def start_worker(self, number: int) -> Worker:
        """Start a worker, in place of the one with this number."""
        if self._directory is None:
            raise DemoError('the demo has ended')
        worker = Worker(number, self._directory)
        # Before it is started: close() then ends it, whatever happens.
        self.workers[number - 1:number] = [worker]
        worker.serve(self._application, self._environment())
        return worker

    def close(self) -> None:
        """End everything. Bounded in time, and idempotent.

        Raises :class:`DemoError`, after everything else, if the stream could
        not be deleted.
        """
        processes = [*self.workers, *filter(None, [self.emitter])]
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
        self.workers, self.emitter = [], None
        try:
            # Only now: a worker that ends writes its goodbye to the stream.
            if self._given is not None:
                self._given.delete_stream()
        finally:
            self._given = None
            if self.embedded is not None:
                self.embedded.stop()
                self.embedded = None
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)
                self._directory = None

    def _environment(self) -> dict[str, str]:
        return cluster_environment(
            message_queue(self.redis_url, recovery=self._durable),
            self.stream)
