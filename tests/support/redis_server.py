"""A real Redis server for the tests."""
import random
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

import redis

from redis_streams_adapter.demo.embedded import find_redis_server

from .process import OwnProcess
from .wait import wait_until


#: Below the ports that kernels give to outgoing connections. A client of a
#: server that is down could otherwise be given the server's port as its own
#: end of the connection, and would be connected to itself. And another
#: 10,000 lower, because a cluster member uses a second port that much higher.
PORTS = range(12_000, 22_000)


def free_port() -> int:
    """A port of the loopback interface on which no process listens."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('127.0.0.1', port))
            except OSError:
                continue
        return port


class RedisServer:
    """A redis-server process with its own port and directory.

    It takes no snapshots, writes an append-only file only if asked to, and
    keeps its port over restarts.

    :param append_only: keep the data over :meth:`restart` and :meth:`kill`.
    :param binary: the path of the redis-server, if not the default one.
    :param arguments: further command-line arguments of every start.
    :param client_options: options for clients of this server.
    """

    def __init__(self, append_only: bool = False, binary: str = '',
                 arguments: Sequence[str] = (),
                 client_options: Optional[Mapping[str, Any]] = None,
                 ) -> None:
        self.port = free_port()
        self._append_only = append_only
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
        return f'redis://{login}127.0.0.1:{self.port}/0'

    def client(self, **options: Any) -> redis.Redis:
        """A new client of this server."""
        return redis.Redis(**{**self._client_options, **options})

    def counts_entries(self) -> bool:
        """Whether it counts all entries ever added to a stream: since 7.0."""
        with self.client() as client:
            version = client.info('server')['redis_version']
        return int(version.partition('.')[0]) >= 7

    def follow(self, port: int) -> None:
        """Become a replica of a server, and wait until it has all of the
        server's present data."""
        with self.client() as client:
            client.replicaof('127.0.0.1', port)
            wait_until(lambda: client.info('replication').get(
                'master_link_status') == 'up', what='replication')

    def promote(self) -> None:
        """Stop being a replica."""
        with self.client() as client:
            client.replicaof('NO', 'ONE')

    def start(self, *arguments: str, ready: bool = True) -> 'RedisServer':
        """Start it.

        :param arguments: further command-line arguments.
        :param ready: wait until it answers.
        """
        binary = self._binary or find_redis_server()
        if binary is None:
            raise FileNotFoundError('there is no redis-server')
        self._process = OwnProcess([
            binary, '--port', str(self.port), '--bind', '127.0.0.1',
            '--dir', str(self._directory), '--save', '',
            '--appendonly', 'yes' if self._append_only else 'no',
            # Written before the reply but never synced: it outlives the
            # process, and the tests do not cut the power.
            '--appendfsync', 'no',
            # A replica need not wait for other replicas to arrive.
            '--repl-diskless-sync-delay', '0', *self._arguments, *arguments],
            self._directory / 'redis.out')
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait until it answers a PING."""
        process = self._process
        assert process is not None

        def answers() -> bool:
            if process.returncode is not None:
                raise AssertionError(
                    f'redis-server has ended:\n{process.tail()}')
            with self.client(socket_timeout=1.0) as client:
                try:
                    # The answer must come from the process started here.
                    return bool(client.ping()) and client.info(
                        'server')['process_id'] == process.pid
                except redis.RedisError:
                    return False

        wait_until(answers, what=lambda: f'redis-server:\n{process.tail()}')

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    def stop(self) -> None:
        """End it gracefully."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """End it gracefully and start it again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop its execution; its connections stay open."""
        assert self._process is not None
        self._process.freeze()

    def thaw(self) -> None:
        """Resume its execution."""
        assert self._process is not None
        self._process.thaw()

    def close(self) -> None:
        """End it and remove its directory."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> 'RedisServer':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
