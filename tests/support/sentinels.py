"""Real Sentinels for the tests, and the servers that they monitor."""
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, Optional

import redis

from .client_library import REDIS_CLIENT
from .process import OwnProcess
from .ports import free_port
from .redis_binaries import default_binary
from .redis_server import RedisServer
from .replicated import ask, CALM, Replicated, SLOW, info_of
from .wait import wait_until

#: The Sentinels' name for the master and its replicas.
SERVICE = 'mymaster'

#: The number of Sentinels, and the number of them that must agree that the
#: master is down.
COUNT = 3
QUORUM = 2


class Sentinel:
    """One Sentinel process.

    :param settings: further lines of its configuration.
    """

    def __init__(self, master: RedisServer, settings: str = '') -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix='sentinel-of-tests-'))
        self._file = self._directory / 'sentinel.conf'
        # The Sentinel writes its state to this file.
        self._file.write_text(
            f'port {self.port}\n'
            f'bind 127.0.0.1\n'
            f'dir {self._directory}\n'
            f'sentinel monitor {SERVICE} 127.0.0.1 {master.port} {QUORUM}\n'
            f'sentinel down-after-milliseconds {SERVICE} {CALM}\n'
            # The delay between two failovers is twice this time.
            f'sentinel failover-timeout {SERVICE} 3000\n'
            f'{settings}\n')
        self._process: Optional[OwnProcess] = None

    def start(self) -> None:
        """Start the Sentinel. It answers shortly after."""
        self._process = OwnProcess(
            [default_binary().path, str(self._file), '--sentinel'],
            self._directory / 'sentinel.out')

    def client(self, **options: Any) -> redis.Redis:
        """A new client of this Sentinel."""
        return redis.Redis(host='127.0.0.1', port=self.port, **options)

    def freeze(self) -> None:
        """Suspend the process. Its connections stay open."""
        assert self._process is not None
        self._process.freeze()

    def thaw(self) -> None:
        """Resume the process."""
        assert self._process is not None
        self._process.thaw()

    def kill(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Stop the Sentinel, and remove its directory."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def master(self) -> Dict[str, str]:
        """Its view of the master; empty while it does not answer."""
        try:
            reply = ask(self, 'SENTINEL', 'MASTER', SERVICE)
        except redis.RedisError:
            return {}
        pairs = iter(reply)
        return dict(zip(pairs, pairs))


class SentinelSet(Replicated):
    """A master with a replica, and three Sentinels.

    :param settings: further lines of the Sentinels' configuration.
    """

    #: Sentinels ask once a second. With a shorter time a new master would
    #: count as down before it was asked.
    QUICK = 3000

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
        return f'{REDIS_CLIENT}+sentinel://{hosts}/0/{SERVICE}'

    def start(self) -> 'SentinelSet':
        """Start all processes, and wait until the Sentinels know each
        other."""
        master, replica = self.servers
        master.start()
        replica.start('--replicaof', '127.0.0.1', str(master.port))
        for sentinel in self.sentinels:
            sentinel.start()
        self.wait_healthy()
        return self

    def wait_healthy(self) -> None:
        def is_healthy() -> bool:
            views = [each.master() for each in self.sentinels]
            if [(view.get('flags'), view.get('num-slaves'),
                 view.get('num-other-sentinels')) for view in views] != [
                     ('master', '1', str(COUNT - 1))] * COUNT:
                return False
            if len({view['port'] for view in views}) != 1:
                return False
            reply = [info_of(server, 'INFO', 'replication')
                     for server in self.servers]
            return {each['role']: each.get('master_link_status')
                    for each in reply} == {'master': None, 'slave': 'up'}

        wait_until(is_healthy, SLOW, 'Sentinels and servers to be healthy')

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

    def set_down_after(self, milliseconds: int) -> None:
        for sentinel in self.sentinels:
            ask(sentinel, 'SENTINEL', 'SET', SERVICE,
                'down-after-milliseconds', milliseconds)

    def close(self) -> None:
        for sentinel in self.sentinels:
            sentinel.close()
        super().close()
