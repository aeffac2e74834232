"""A real Redis Cluster of the tests' own."""
import contextlib
import socket
from typing import Any, Dict, Iterator, List

import redis
from redis.crc import key_slot

from .redis_server import RedisServer
from .wait import wait_for_value, wait_until

#: How many slots there are.
SLOTS = 16384

#: A member listens for the others on its port plus this.
BUS = 10_000

#: Milliseconds after which a member that is silent is taken for dead: longer
#: than a busy machine lets one wait, and short where a test kills one.
CALM = 15_000
NERVOUS = 1000

#: Seconds that a failover, or the making of a cluster, may take.
SLOW = 30.0


class RedisCluster:
    """Masters with a replica each.

    :param masters: how many.
    """

    def __init__(self, masters: int = 3) -> None:
        self.servers = [_member() for _ in range(2 * masters)]
        self._masters = masters
        self._ids: Dict[int, str] = {}

    @property
    def url(self) -> str:
        """A URL that names all members."""
        return self.url_of(*self.servers)

    @staticmethod
    def url_of(*servers: RedisServer) -> str:
        """A URL that names these."""
        hosts = ','.join(f'127.0.0.1:{each.port}' for each in servers)
        return f'redis+cluster://{hosts}'

    # -- its life -----------------------------------------------------------

    def start(self) -> 'RedisCluster':
        """Start the servers and make a cluster of them."""
        for server in self.servers:
            server.start(ready=False)
        for server in self.servers:
            server.wait_ready()
        self._ids = {server.port: self.ask(server, 'CLUSTER', 'MYID')
                     for server in self.servers}
        for epoch, server in enumerate(self.servers, 1):
            self.ask(server, 'CLUSTER', 'SET-CONFIG-EPOCH', epoch)
            for other in self.servers[:epoch - 1]:
                self.ask(server, 'CLUSTER', 'MEET', '127.0.0.1', other.port)
        masters, replicas = (self.servers[:self._masters],
                             self.servers[self._masters:])
        for index, server in enumerate(masters):
            self.ask(server, 'CLUSTER', 'ADDSLOTS', *range(
                SLOTS * index // self._masters,
                SLOTS * (index + 1) // self._masters))
        for server, master in zip(replicas, masters):
            wait_until(lambda: self._ids[master.port] in self.ask(
                server, 'CLUSTER', 'NODES'), SLOW, 'members to meet')
            wait_until(lambda: self._replicate(server, master), SLOW,
                       'a replica to know its master')
        self.wait_well()
        return self

    def close(self) -> None:
        """End all servers."""
        for server in self.servers:
            server.close()

    def __enter__(self) -> 'RedisCluster':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def wait_well(self) -> None:
        """Wait until all members agree that all is well, and each master
        has a replica that follows it."""
        def is_well() -> bool:
            for server in self.servers:
                told = self._told(server, 'CLUSTER', 'INFO')
                if told['cluster_state'] != 'ok' \
                        or told['cluster_known_nodes'] != str(
                            len(self.servers)) \
                        or told['cluster_size'] != str(self._masters) \
                        or 'fail' in self.ask(server, 'CLUSTER', 'NODES'):
                    return False
                told = self._told(server, 'INFO', 'replication')
                if told['role'] == 'slave' \
                        and told['master_link_status'] != 'up':
                    return False
                if told['role'] == 'master' \
                        and told['connected_slaves'] != '1':
                    return False
            return len({str(self.owners(server))
                        for server in self.servers}) == 1

        wait_until(is_well, SLOW, 'the cluster to be well')

    @contextlib.contextmanager
    def nervous(self) -> Iterator[None]:
        """Have it notice within a second or two that a member is gone; at
        the end all members are there again."""
        self._set_timeout(NERVOUS)
        try:
            yield
        finally:
            for server in self.servers:
                if not server.running:
                    server.start()
            self.wait_well()
            self._set_timeout(CALM)

    def _set_timeout(self, milliseconds: int) -> None:
        for server in self.servers:
            self.ask(server, 'CONFIG', 'SET', 'cluster-node-timeout',
                     milliseconds)

    # -- what is where ------------------------------------------------------

    def owners(self, server: RedisServer) -> Dict[int, int]:
        """The port of the master of each slot, as a member sees it."""
        found: Dict[int, int] = {}
        for first, last, master, *_ in self.ask(server, 'CLUSTER', 'SLOTS'):
            found.update(dict.fromkeys(range(first, last + 1), master[1]))
        return found

    def master_of(self, key: str) -> RedisServer:
        """The server that has a key, in good weather."""
        port = self.owners(self.servers[0])[key_slot(key.encode())]
        return self._by_port(port)

    def replica_of(self, master: RedisServer) -> RedisServer:
        """The server that follows another one."""
        (replica,) = [
            server for server in self.servers
            if server is not master
            and self._told(server, 'INFO', 'replication').get(
                'master_port') == str(master.port)]
        return replica

    def wait_replicated(self, master: RedisServer) -> None:
        """Wait until its replica has all that a master has now."""
        has = self._told(master, 'INFO', 'replication')['master_repl_offset']
        replica = self.replica_of(master)
        wait_until(lambda: int(self._told(replica, 'INFO', 'replication')[
            'slave_repl_offset']) >= int(has), what='a replica to catch up')

    def others(self, *servers: RedisServer) -> List[RedisServer]:
        """The masters but these, in good weather."""
        ports = {*self.owners(self.servers[0]).values()}
        return [server for server in self.servers
                if server.port in ports and server not in servers]

    def wait_new_master_of(self, key: str, old: RedisServer,
                           ) -> RedisServer:
        """Wait until all members but the old master know another one."""
        slot = key_slot(key.encode())
        rest = [each for each in self.servers if each is not old]

        def found() -> int:
            ports = {self.owners(server).get(slot) for server in rest}
            (port, *more) = ports
            return port if port and not more and port != old.port else 0

        return self._by_port(wait_until(found, SLOW, 'a failover'))

    # -- a slot moves -------------------------------------------------------

    def begin_move(self, key: str, source: RedisServer,
                   target: RedisServer) -> None:
        """From now on, keys of this slot that are not there are asked for
        at the target."""
        slot = key_slot(key.encode())
        self.ask(target, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING',
                 self._ids[source.port])
        self.ask(source, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING',
                 self._ids[target.port])

    def move_keys(self, key: str, source: RedisServer,
                  target: RedisServer) -> None:
        """Move what the source has of this slot."""
        self.ask(source, 'MIGRATE', '127.0.0.1', target.port, '', 0, 5000,
                 'KEYS', key)

    def count_keys(self, key: str, server: RedisServer) -> int:
        """How many keys a server has in the slot of this one."""
        return int(self.ask(server, 'CLUSTER', 'COUNTKEYSINSLOT',
                            key_slot(key.encode())))

    def end_move(self, key: str, source: RedisServer,
                 target: RedisServer) -> None:
        """The slot is the target's."""
        for server in (target, source, *self.others(source, target)):
            self.ask(server, 'CLUSTER', 'SETSLOT', key_slot(key.encode()),
                     'NODE', self._ids[target.port])
        wait_for_value(lambda: {
            self.owners(server)[key_slot(key.encode())]
            for server in self.servers}, {target.port}, SLOW,
            "the members' idea of whose the slot is")

    # -- asking -------------------------------------------------------------

    @staticmethod
    def ask(server: RedisServer, *command: Any) -> Any:
        """The reply of one member to a command, as text."""
        with server.client(decode_responses=True, protocol=2) as client:
            # Clients know what to make of many a reply; here it is wanted
            # as it stands.
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def _told(self, server: RedisServer, *command: Any) -> Dict[str, str]:
        pairs = [line.partition(':')[::2] for line
                 in self.ask(server, *command).splitlines()]
        return dict(pairs)

    def _replicate(self, server: RedisServer, master: RedisServer) -> bool:
        try:
            self.ask(server, 'CLUSTER', 'REPLICATE', self._ids[master.port])
        except redis.ResponseError:
            return False  # not known to be a master yet
        return True

    def _by_port(self, port: int) -> RedisServer:
        (found,) = [each for each in self.servers if each.port == port]
        return found


def _member() -> RedisServer:
    while True:
        server = RedisServer(append_only=True, arguments=(
            '--cluster-enabled', 'yes', '--cluster-node-timeout', str(CALM),
            # However long a replica was cut off, it may take over.
            '--cluster-replica-validity-factor', '0',
            '--repl-diskless-sync-delay', '0'))
        with socket.socket() as probe:
            try:
                probe.bind(('127.0.0.1', server.port + BUS))
                return server
            except OSError:
                server.close()
