"""A gunicorn process for the tests."""
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional

import socketio

from .client import Client
from .process import OwnProcess
from .wait import wait_until

#: The worker class for each mode.
WORKERS = {'gevent': 'gevent', 'threading': 'gthread'}


class GunicornProcess:
    """A master and its workers.

    :param mode: one of :data:`WORKERS`.
    :param options: the manager's options.
    :param directory: the directory for its output and its configuration.
    :param workers: the number of workers.
    :param configuration: the text of a ``gunicorn.conf.py``.
    :param preload: whether the application is loaded before the workers are
                    forked. The master is then monkey patched. With gevent it
                    does not detect the end of a worker.
    :param application: the application's module.
    :param env: further environment variables for the application.
    """

    def __init__(self, mode: str, redis_url: str, options: Dict[str, Any],
                 directory: Path, workers: int = 2,
                 configuration: str = '', preload: bool = True,
                 application: str = 'tests.support.gunicorn_app',
                 env: Optional[Mapping[str, str]] = None) -> None:
        self._workers = workers
        config = directory / 'gunicorn.conf.py'
        config.write_text(configuration)
        # The socket is opened here and inherited, so that no other process can
        # take the port.
        listener = socket.create_server(('127.0.0.1', 0), backlog=64)
        self.port: int = listener.getsockname()[1]
        self.url = f'http://127.0.0.1:{self.port}'
        self.process = OwnProcess(
            [sys.executable, '-m', 'gunicorn',
             *(['--preload'] if preload else []),
             '--config', str(config), '--worker-class', WORKERS[mode],
             '--workers', str(workers), '--threads', '20',
             '--bind', f'fd://{listener.fileno()}',
             f'{application}:application'],
            directory / 'gunicorn.out',
            env={'NODE_MODE': mode, 'NODE_REDIS_URL': redis_url,
                 'NODE_OPTIONS': json.dumps(options), **(env or {})},
            pass_fds=[listener.fileno()])
        # Then no process accepts connections after gunicorn has ended.
        listener.close()

    def clients_of_all_workers(self) -> Iterator[Client]:
        """Connect a client to each worker, one after the other.

        A worker with a client is frozen until all workers have one, so that
        the next connection goes to another worker.
        """
        frozen: List[int] = []
        try:
            for _ in range(self._workers):
                client = self._connect()
                yield client
                pid, _ = client.call('identify')
                os.kill(pid, signal.SIGSTOP)
                frozen.append(pid)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)

    def _connect(self) -> Client:
        def attempt() -> Any:
            if self.process.returncode is not None:
                raise AssertionError(
                    f'gunicorn has ended:\n{self.process.tail()}')
            try:
                return Client(self.url)
            except socketio.exceptions.ConnectionError:
                return None

        return wait_until(attempt, 30.0, lambda: (
            f'a client to be connected:\n{self.process.tail()}'))

    def stop(self) -> None:
        """Stop the master and its workers."""
        self.process.stop()
