"""A real Redis Cluster for the tests."""
import socket
from typing import Dict, List

import redis
from redis.crc import key_slot

from .client_library import REDIS_CLIENT
from .redis_server import RedisServer
from .replicated import ask, CALM, Replicated, SLOW, info_of
from .wait import wait_for_value, wait_until

#: The number of hash slots.
SLOTS = 16384

#: The difference between a member's cluster bus port and its port.
BUS = 10_000


class RedisCluster(Replicated):
    """A cluster in which each master has a replica.

    :param masters: the number of masters.
    :param binary: the path of the redis-server; the default one if empty.
    """

    def __init__(self, masters: int = 3, binary: str = '') -> None:
        super().__init__([_member(binary) for _ in range(2 * masters)])
        self._masters = masters
        self._ids: Dict[int, str] = {}

    @property
    def url(self) -> str:
        """A URL that names all members."""
        return self.url_of(*self.servers)

    def shortest_url(self, key: str) -> str:
        """A URL that names only the server of a key."""
        return self.url_of(self.master_of(key))

    @staticmethod
    def url_of(*servers: RedisServer) -> str:
        """A URL that names these servers."""
        hosts = ','.join(f'127.0.0.1:{each.port}' for each in servers)
        return f'{REDIS_CLIENT}+cluster://{hosts}'

    # -- lifecycle ----------------------------------------------------------

    def start(self) -> 'RedisCluster':
        """Start the servers and create the cluster."""
        for server in self.servers:
            server.start(ready=False)
        for server in self.servers:
            server.wait_ready()
        self._ids = {server.port: ask(server, 'CLUSTER', 'MYID')
                     for server in self.servers}
        for epoch, server in enumerate(self.servers, 1):
            ask(server, 'CLUSTER', 'SET-CONFIG-EPOCH', epoch)
            for other in self.servers[:epoch - 1]:
                ask(server, 'CLUSTER', 'MEET', '127.0.0.1', other.port)
        masters, replicas = (self.servers[:self._masters],
                             self.servers[self._masters:])
        for index, server in enumerate(masters):
            ask(server, 'CLUSTER', 'ADDSLOTS', *range(
                SLOTS * index // self._masters,
                SLOTS * (index + 1) // self._masters))
        for server, master in zip(replicas, masters):
            wait_until(lambda: self._ids[master.port] in ask(
                server, 'CLUSTER', 'NODES'), SLOW, 'members to meet')
            wait_until(lambda: self._replicate(server, master), SLOW,
                       'a replica to know its master')
        self.wait_healthy()
        return self

    def wait_healthy(self) -> None:
        """Wait until all members agree that the cluster is healthy, and each
        master has a replica that follows it."""
        def is_healthy() -> bool:
            for server in self.servers:
                reply = info_of(server, 'CLUSTER', 'INFO')
                if reply['cluster_state'] != 'ok' \
                        or reply['cluster_known_nodes'] != str(
                            len(self.servers)) \
                        or reply['cluster_size'] != str(self._masters) \
                        or 'fail' in ask(server, 'CLUSTER', 'NODES'):
                    return False
                reply = info_of(server, 'INFO', 'replication')
                if reply['role'] == 'slave' \
                        and reply['master_link_status'] != 'up':
                    return False
                if reply['role'] == 'master' \
                        and reply['connected_slaves'] != '1':
                    return False
            return len({str(self.owners(server))
                        for server in self.servers}) == 1

        wait_until(is_healthy, SLOW, 'the cluster to be healthy')

    def start_again(self, server: RedisServer) -> None:
        server.start()

    def set_down_after(self, milliseconds: int) -> None:
        for server in self.servers:
            if server.running:
                ask(server, 'CONFIG', 'SET', 'cluster-node-timeout',
                    milliseconds)

    # -- slots and their servers --------------------------------------------

    def owners(self, server: RedisServer) -> Dict[int, int]:
        """The port of each slot's master, according to a member."""
        found: Dict[int, int] = {}
        for first, last, master, *_ in ask(server, 'CLUSTER', 'SLOTS'):
            found.update(dict.fromkeys(range(first, last + 1), master[1]))
        return found

    def master_of(self, key: str) -> RedisServer:
        """The server of a key, while there is no failover."""
        port = self.owners(self.servers[0])[key_slot(key.encode())]
        return self.by_port(port)

    def others(self, *servers: RedisServer) -> List[RedisServer]:
        """The masters except these, while there is no failover."""
        ports = {*self.owners(self.servers[0]).values()}
        return [server for server in self.servers
                if server.port in ports and server not in servers]

    def wait_new_master_of(self, key: str, old: RedisServer,
                           ) -> RedisServer:
        """Wait until all members except the old master know a new one."""
        slot = key_slot(key.encode())
        rest = [each for each in self.servers if each is not old]

        def found() -> int:
            ports = {self.owners(server).get(slot) for server in rest}
            (port, *more) = ports
            return port if port and not more and port != old.port else 0

        return self.by_port(wait_until(found, SLOW, 'a failover'))

    # -- moving a slot ------------------------------------------------------

    def begin_move(self, key: str, source: RedisServer,
                   target: RedisServer) -> None:
        """Start to move a slot. From now on the target is asked for keys of
        this slot that the source does not have."""
        slot = key_slot(key.encode())
        ask(target, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING',
            self._ids[source.port])
        ask(source, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING',
            self._ids[target.port])

    def move_keys(self, key: str, source: RedisServer,
                  target: RedisServer) -> None:
        """Move the source's keys of this slot."""
        ask(source, 'MIGRATE', '127.0.0.1', target.port, '', 0, 5000,
            'KEYS', key)

    def count_keys(self, key: str, server: RedisServer) -> int:
        """The number of keys in the slot of ``key`` on a server."""
        return int(ask(server, 'CLUSTER', 'COUNTKEYSINSLOT',
                       key_slot(key.encode())))

    def end_move(self, key: str, source: RedisServer,
                 target: RedisServer) -> None:
        """Assign the slot to the target."""
        for server in (target, source, *self.others(source, target)):
            ask(server, 'CLUSTER', 'SETSLOT', key_slot(key.encode()),
                'NODE', self._ids[target.port])
        wait_for_value(lambda: {
            self.owners(server)[key_slot(key.encode())]
            for server in self.servers}, {target.port}, SLOW,
            "the members' view of the slot's owner")

    def _replicate(self, server: RedisServer, master: RedisServer) -> bool:
        try:
            ask(server, 'CLUSTER', 'REPLICATE', self._ids[master.port])
        except redis.ResponseError:
            return False  # not yet known to be a master
        return True


def _member(binary: str) -> RedisServer:
    while True:
        server = RedisServer(append_only=True, binary=binary, arguments=(
            '--cluster-enabled', 'yes', '--cluster-node-timeout', str(CALM),
            # A replica may take over after any time without its master.
            '--cluster-replica-validity-factor', '0',
            '--repl-diskless-sync-delay', '0'))
        with socket.socket() as probe:
            try:
                probe.bind(('127.0.0.1', server.port + BUS))
                return server
            except OSError:
                server.close()
