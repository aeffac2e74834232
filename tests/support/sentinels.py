"""Real Sentinels of the tests' own, and what they watch over."""
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, Optional

import redis

from redis_streams_adapter.demo.embedded import find_redis_server

from .process import OwnProcess
from .redis_server import free_port, RedisServer
from .replicated import ask, CALM, Replicated, SLOW, told_by
from .wait import wait_until

#: What the Sentinels call the master and its replicas.
SERVICE = 'mymaster'

#: How many Sentinels there are, and how many of them have to agree that the
#: master is gone.
COUNT = 3
QUORUM = 2


class Sentinel:
    """One Sentinel process.

    :param settings: more lines of its configuration.
    """

    def __init__(self, master: RedisServer, settings: str = '') -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix='sentinel-of-tests-'))
        self._file = self._directory / 'sentinel.conf'
        # It writes to this file what it finds out.
        self._file.write_text(
            f'port {self.port}\n'
            f'bind 127.0.0.1\n'
            f'dir {self._directory}\n'
            f'sentinel monitor {SERVICE} 127.0.0.1 {master.port} {QUORUM}\n'
            f'sentinel down-after-milliseconds {SERVICE} {CALM}\n'
            # Twice that goes by between two failovers.
            f'sentinel failover-timeout {SERVICE} 3000\n'
            f'{settings}\n')
        self._process: Optional[OwnProcess] = None

    def start(self) -> None:
        """Start it; :meth:`ask` answers a little later."""
        binary = find_redis_server()
        if binary is None:
            raise FileNotFoundError('there is no redis-server')
        self._process = OwnProcess(
            [binary, str(self._file), '--sentinel'],
            self._directory / 'sentinel.out')

    def client(self, **options: Any) -> redis.Redis:
        """A new client of it."""
        return redis.Redis(host='127.0.0.1', port=self.port, **options)

    def freeze(self) -> None:
        """Stop its execution; its connections stay open."""
        assert self._process is not None
        self._process.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.thaw()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End it, and remove its directory."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def master(self) -> Dict[str, str]:
        """What it knows of the master; nothing before it answers."""
        try:
            reply = ask(self, 'SENTINEL', 'MASTER', SERVICE)
        except redis.RedisError:
            return {}
        pairs = iter(reply)
        return dict(zip(pairs, pairs))


class SentinelSet(Replicated):
    """A master with a replica, and three Sentinels.

    :param settings: more lines of the Sentinels' configuration.
    """

    #: They ask once a second. One who has just become the master would be
    #: taken for dead before it was asked.
    NERVOUS = 3000

    def __init__(self, settings: str = '') -> None:
        super().__init__([RedisServer(
            append_only=True,
            arguments=('--repl-diskless-sync-delay', '0'))
            for _ in range(2)])
        self.sentinels = [Sentinel(self.servers[0], settings)
                          for _ in range(COUNT)]

    @property
    def url(self) -> str:
        """A URL that names all Sentinels."""
        hosts = ','.join(f'127.0.0.1:{each.port}' for each in self.sentinels)
        return f'redis+sentinel://{hosts}/0/{SERVICE}'

    def start(self) -> 'SentinelSet':
        """Start all, and wait until they know each other."""
        master, replica = self.servers
        master.start()
        replica.start('--replicaof', '127.0.0.1', str(master.port))
        for sentinel in self.sentinels:
            sentinel.start()
        self.wait_well()
        return self

    def wait_well(self) -> None:
        def is_well() -> bool:
            views = [each.master() for each in self.sentinels]
            if [(view.get('flags'), view.get('num-slaves'),
                 view.get('num-other-sentinels')) for view in views] != [
                     ('master', '1', str(COUNT - 1))] * COUNT:
                return False
            if len({view['port'] for view in views}) != 1:
                return False
            told = [told_by(server, 'INFO', 'replication')
                    for server in self.servers]
            return {each['role']: each.get('master_link_status')
                    for each in told} == {'master': None, 'slave': 'up'}

        wait_until(is_well, SLOW, 'Sentinels and servers to be well')

    def master_of(self, key: str) -> RedisServer:
        return self.by_port(int(self.sentinels[0].master()['port']))

    def wait_new_master_of(self, key: str, old: RedisServer,
                           ) -> RedisServer:
        (new,) = [each for each in self.servers if each is not old]
        wait_until(lambda: {each.master().get('port')
                            for each in self.sentinels} == {str(new.port)},
                   SLOW, 'a failover')
        return new

    def start_again(self, server: RedisServer) -> None:
        (master,) = [each for each in self.servers if each is not server]
        server.start('--replicaof', '127.0.0.1', str(master.port))

    def set_patience(self, milliseconds: int) -> None:
        for sentinel in self.sentinels:
            ask(sentinel, 'SENTINEL', 'SET', SERVICE,
                'down-after-milliseconds', milliseconds)

    def close(self) -> None:
        for sentinel in self.sentinels:
            sentinel.close()
        super().close()
