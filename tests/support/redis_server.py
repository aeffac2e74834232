"""A real Redis server for the tests."""
import shutil
import tempfile
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

import redis

from .client_library import REDIS_CLIENT
from .ports import free_port
from .process import OwnProcess
from .redis_binaries import default_binary, describe, RedisBinary
from .wait import wait_until


class RedisServer:
    """A redis-server process with its own port and directory.

    It takes no snapshots, writes an append-only file only on request, and
    keeps its port over restarts.

    :param append_only: keep the data over :meth:`restart` and :meth:`kill`.
    :param binary: the path of the redis-server; the default one if empty.
    :param arguments: further command-line arguments for every start.
    :param client_options: options for clients of this server.
    """

    def __init__(self, append_only: bool = False, binary: str = '',
                 arguments: Sequence[str] = (),
                 client_options: Optional[Mapping[str, Any]] = None,
                 ) -> None:
        self.port = free_port()
        self._append_only = append_only
        #: The path of the server for the next start.
        self._binary = binary
        self._arguments = arguments
        self._client_options = {
            'host': '127.0.0.1', 'port': self.port, **(client_options or {})}
        self._directory = Path(tempfile.mkdtemp(prefix='redis-of-tests-'))
        self._process: Optional[OwnProcess] = None

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return self.url_of()

    def url_of(self, user: str = '', password: str = '') -> str:
        """The URL of database 0 for a user of the access control list."""
        login = f'{user}:{password}@' if user else ''
        return f'{REDIS_CLIENT}://{login}127.0.0.1:{self.port}/0'

    def client(self, **options: Any) -> redis.Redis:
        """A new client of this server."""
        return redis.Redis(**{**self._client_options, **options})

    def use(self, binary: str = '') -> None:
        """Use another executable from the next start on.

        :param binary: its path; the default one if empty.
        """
        self._binary = binary

    @property
    def binary(self) -> RedisBinary:
        """The server's product and version, and what it can do."""
        return describe(self._binary) if self._binary else default_binary()

    def follow(self, port: int) -> None:
        """Become a replica of a server, and wait until it has all current
        data of that server."""
        with self.client() as client:
            client.replicaof('127.0.0.1', port)
            wait_until(lambda: client.info('replication').get(
                'master_link_status') == 'up', what='replication')

    def promote(self) -> None:
        """Stop being a replica."""
        with self.client() as client:
            client.replicaof('NO', 'ONE')

    def start(self, *arguments: str, ready: bool = True) -> 'RedisServer':
        """Start the server.

        :param arguments: further command-line arguments.
        :param ready: whether to wait until it answers.
        """
        self._process = OwnProcess([
            self._binary or default_binary().path, '--port', str(self.port),
            '--bind', '127.0.0.1', '--dir', str(self._directory), '--save', '',
            '--appendonly', 'yes' if self._append_only else 'no',
            # The file is written before the reply, but never synced. It
            # survives the end of the process, which is enough here.
            '--appendfsync', 'no',
            # The first replica does not wait for others.
            '--repl-diskless-sync-delay', '0', *self._arguments, *arguments],
            self._directory / 'redis.out')
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait until the server answers a PING."""
        process = self._process
        assert process is not None

        def answers() -> bool:
            if process.returncode is not None:
                raise AssertionError(
                    f'redis-server has ended:\n{process.tail()}')
            with self.client(socket_timeout=1.0) as client:
                try:
                    # The answer has to come from this process.
                    return bool(client.ping()) and client.info(
                        'server')['process_id'] == process.pid
                except redis.RedisError:
                    return False

        wait_until(answers, what=lambda: f'redis-server:\n{process.tail()}')

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    def stop(self) -> None:
        """Stop the server gracefully."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """Kill the server."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Stop the server gracefully, and start it again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Suspend the process. Its connections stay open."""
        assert self._process is not None
        self._process.freeze()

    def thaw(self) -> None:
        """Resume the process."""
        assert self._process is not None
        self._process.thaw()

    def close(self) -> None:
        """Stop the server, and remove its directory."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> 'RedisServer':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
