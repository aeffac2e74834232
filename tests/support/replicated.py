"""What the tests ask of servers with replicas, however these are organised.
"""
import contextlib
from typing import Any, Dict, Iterator, Sequence

from .redis_server import RedisServer
from .wait import wait_until

#: Milliseconds after which a server that is silent is taken for dead, where
#: no test kills one: longer than a busy machine lets one wait.
CALM = 15_000

#: Seconds that a failover may take.
SLOW = 60.0


def ask(server: RedisServer, *command: Any) -> Any:
    """The reply of a server to a command, as text."""
    with server.client(decode_responses=True, protocol=2) as client:
        # Clients know what to make of many a reply; here it is wanted as it
        # stands.
        client.response_callbacks.clear()
        return client.execute_command(*command)


def told_by(server: RedisServer, *command: Any) -> Dict[str, str]:
    """The reply to a command that answers with lines of pairs."""
    pairs = [line.partition(':')[::2] for line
             in ask(server, *command).splitlines()]
    return dict(pairs)


class Replicated:
    """Servers of which some take over when others fail.

    :param servers: all that hold data.
    """

    #: The same where a test kills one.
    NERVOUS = 1000

    def __init__(self, servers: Sequence[RedisServer]) -> None:
        self.servers = list(servers)

    @property
    def url(self) -> str:
        """The URL for nodes."""
        raise NotImplementedError

    def shortest_url(self, key: str) -> str:
        """The URL that tells a node as little as can be."""
        return self.url

    def master_of(self, key: str) -> RedisServer:
        """The server that has a key, in good weather."""
        raise NotImplementedError

    def wait_new_master_of(self, key: str, old: RedisServer,
                           ) -> RedisServer:
        """Wait until all that know of such things know another one."""
        raise NotImplementedError

    def wait_well(self) -> None:
        """Wait until all know that all is well, and each master has a
        replica that follows it."""
        raise NotImplementedError

    def start_again(self, server: RedisServer) -> None:
        """Start a server that was killed, as a replica."""
        raise NotImplementedError

    def set_patience(self, milliseconds: int) -> None:
        """After how long a silent server is taken for dead."""
        raise NotImplementedError

    @contextlib.contextmanager
    def nervous(self) -> Iterator[None]:
        """Have it noticed within a second or two that a server is gone; at
        the end all servers are there again."""
        self.set_patience(self.NERVOUS)
        try:
            yield
        finally:
            self.set_patience(CALM)
            for server in self.servers:
                if not server.running:
                    self.start_again(server)
            self.wait_well()

    def replica_of(self, master: RedisServer) -> RedisServer:
        """The server that follows another one."""
        (replica,) = [
            server for server in self.servers
            if server is not master
            and told_by(server, 'INFO', 'replication').get(
                'master_port') == str(master.port)]
        return replica

    def wait_replicated(self, master: RedisServer) -> None:
        """Wait until its replica has all that a master has now."""
        has = told_by(master, 'INFO', 'replication')['master_repl_offset']
        replica = self.replica_of(master)
        wait_until(lambda: int(told_by(replica, 'INFO', 'replication')[
            'slave_repl_offset']) >= int(has), what='a replica to catch up')

    def stop_replicating(self, master: RedisServer) -> RedisServer:
        """From now on, the replica gets nothing more of its master.

        :return: the replica, which is frozen.
        """
        replica = self.replica_of(master)
        replica.freeze()
        # What stood in the socket's buffer it would have got all the same.
        ask(master, 'CLIENT', 'KILL', 'TYPE', 'replica')
        return replica

    def by_port(self, port: int) -> RedisServer:
        """The server that listens there."""
        (found,) = [each for each in self.servers if each.port == port]
        return found

    def close(self) -> None:
        """End all servers."""
        for server in self.servers:
            server.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
