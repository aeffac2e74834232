"""Servers with replicas, in a cluster or with Sentinels."""
import contextlib
from typing import Any, Dict, Iterator, Sequence

from .redis_server import RedisServer
from .wait import wait_until

#: Milliseconds after which a silent server counts as down while no test kills
#: one: longer than the delay of an answer on a busy machine.
CALM = 15_000

#: Seconds: the time limit of a failover.
SLOW = 60.0


def ask(server: RedisServer, *command: Any) -> Any:
    """A server's reply to a command, as text."""
    with server.client(decode_responses=True, protocol=2) as client:
        # Clients convert many replies, but the raw reply is needed here.
        client.response_callbacks.clear()
        return client.execute_command(*command)


def info_of(server: RedisServer, *command: Any) -> Dict[str, str]:
    """The reply to a command that returns lines of pairs."""
    pairs = [line.partition(':')[::2] for line
             in ask(server, *command).splitlines()]
    return dict(pairs)


class Replicated:
    """Servers of which some take over when others fail.

    :param servers: all servers that have data.
    """

    #: Like :data:`CALM`, while a test kills a server.
    QUICK = 1000

    def __init__(self, servers: Sequence[RedisServer]) -> None:
        self.servers = list(servers)

    @property
    def url(self) -> str:
        """The URL for nodes."""
        raise NotImplementedError

    def shortest_url(self, key: str) -> str:
        """The shortest URL with which a node can find the key's server."""
        return self.url

    def master_of(self, key: str) -> RedisServer:
        """The server of a key, while there is no failover."""
        raise NotImplementedError

    def wait_new_master_of(self, key: str, old: RedisServer,
                           ) -> RedisServer:
        """Wait until every monitor knows another master."""
        raise NotImplementedError

    def wait_healthy(self) -> None:
        """Wait until all monitors consider all servers healthy, and each
        master has a replica that follows it."""
        raise NotImplementedError

    def start_again(self, server: RedisServer) -> None:
        """Start a server that was killed, as a replica."""
        raise NotImplementedError

    def set_down_after(self, milliseconds: int) -> None:
        """Set the time after which a silent server counts as down."""
        raise NotImplementedError

    @contextlib.contextmanager
    def quick_failover(self) -> Iterator[None]:
        """Within the block, a failed server is detected within a second or
        two. At its end all servers run again."""
        self.set_down_after(self.QUICK)
        try:
            yield
        finally:
            self.set_down_after(CALM)
            for server in self.servers:
                if not server.running:
                    self.start_again(server)
            self.wait_healthy()

    def replica_of(self, master: RedisServer) -> RedisServer:
        """The replica of a master."""
        (replica,) = [
            server for server in self.servers
            if server is not master
            and info_of(server, 'INFO', 'replication').get(
                'master_port') == str(master.port)]
        return replica

    def wait_replicated(self, master: RedisServer) -> None:
        """Wait until a master's replica has all current data."""
        has = info_of(master, 'INFO', 'replication')['master_repl_offset']
        replica = self.replica_of(master)
        wait_until(lambda: int(info_of(replica, 'INFO', 'replication')[
            'slave_repl_offset']) >= int(has), what='a replica to catch up')

    def stop_replicating(self, master: RedisServer) -> RedisServer:
        """Stop the replication from a master to its replica.

        :return: the replica, which is frozen.
        """
        replica = self.replica_of(master)
        replica.freeze()
        # Otherwise it would still receive the bytes in the socket's buffer.
        ask(master, 'CLIENT', 'KILL', 'TYPE', 'replica')
        return replica

    def by_port(self, port: int) -> RedisServer:
        """The server that listens on a port."""
        (found,) = [each for each in self.servers if each.port == port]
        return found

    def close(self) -> None:
        """Stop all servers."""
        for server in self.servers:
            server.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
