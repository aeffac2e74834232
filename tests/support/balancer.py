"""What stands in front of several servers."""
from typing import List

from .proxy import Proxy
from .redis_server import free_port


class Balancer(Proxy):
    """Gives each new connection to the next server, in turn.

    :param ports: where the servers are, of the loopback interface. It may
                  be changed; connections that are there stay where they are.
    """

    def __init__(self, ports: List[int]) -> None:
        self.ports = ports
        self._turn = 0
        super().__init__(free_port(), 0)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f'http://127.0.0.1:{self.port}'

    @property
    def target_port(self) -> int:
        """The server whose turn it is."""
        self._turn += 1
        return self.ports[self._turn % len(self.ports)]

    @target_port.setter
    def target_port(self, port: int) -> None:
        """The proxy's one server, which this does not have."""
