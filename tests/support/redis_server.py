"""A real Redis server of the tests' own."""
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


#: Below the ports that kernels give to outgoing connections. A client that
#: tries to reach a server that is down could be given the server's own port
#: as its end of the connection, and would then be connected to itself. And
#: 10,000 lower still, because members of a cluster add that for another one.
PORTS = range(12_000, 22_000)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
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

    It has neither snapshots nor, unless it is asked for, an append-only
    file; it keeps its port over restarts.

    :param append_only: keep the data over :meth:`restart` and :meth:`kill`.
    :param binary: the path of the redis-server, if not the usual one.
    :param arguments: more of its command line, each time it is started.
    :param client_options: how a client of this server connects.
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
        """The URL of database 0, for a user of the access control list."""
        who = f'{user}:{password}@' if user else ''
        return f'redis://{who}127.0.0.1:{self.port}/0'

    def client(self, **options: Any) -> redis.Redis:
        """A new client of this server."""
        return redis.Redis(**{**self._client_options, **options})

    def counts_entries(self) -> bool:
        """Whether it tells how many entries a stream ever had: since 7.0."""
        with self.client() as client:
            version = client.info('server')['redis_version']
        return int(version.partition('.')[0]) >= 7

    def follow(self, port: int) -> None:
        """Become the replica of a server, and wait until it has all that
        is there now."""
        with self.client() as client:
            client.replicaof('127.0.0.1', port)
            wait_until(lambda: client.info('replication').get(
                'master_link_status') == 'up', what='replication')

    def promote(self) -> None:
        """Be a replica no longer."""
        with self.client() as client:
            client.replicaof('NO', 'ONE')

    def start(self, *arguments: str, ready: bool = True) -> 'RedisServer':
        """Start it.

        :param arguments: more of its command line.
        :param ready: wait until it answers.
        """
        binary = self._binary or find_redis_server()
        if binary is None:
            raise FileNotFoundError('there is no redis-server')
        self._process = OwnProcess([
            binary, '--port', str(self.port), '--bind', '127.0.0.1',
            '--dir', str(self._directory), '--save', '',
            '--appendonly', 'yes' if self._append_only else 'no',
            # Written before the reply, never synced: it outlives the
            # process, and nobody pulls this machine's plug.
            '--appendfsync', 'no',
            # A replica need not wait for others that may want the same.
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
                    # Who answers must be the process started here.
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
        """End it in good order."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """End it in good order and start it again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop its execution; its connections stay open."""
        assert self._process is not None
        self._process.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.thaw()

    def close(self) -> None:
        """End it, and remove its directory."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> 'RedisServer':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
