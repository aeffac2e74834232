"""A load balancer for several servers."""
from typing import List

from .proxy import Proxy
from .ports import free_port


class Balancer(Proxy):
    """Sends each new connection to the next server, in turn.

    :param ports: the servers' ports on the loopback interface. The list may
                  be changed. Existing connections stay.
    """

    def __init__(self, ports: List[int]) -> None:
        self.ports = ports
        self._turn = 0
        super().__init__(free_port(), 0)

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f'http://127.0.0.1:{self.port}'

    @property
    def target_port(self) -> int:
        """The port of the next server."""
        self._turn += 1
        return self.ports[self._turn % len(self.ports)]

    @target_port.setter
    def target_port(self, port: int) -> None:
        """Ignored: a balancer has no single target."""
