"""Nodes of one kind, a client on each, and what passes between them."""
import itertools
import time
from collections.abc import Sequence
from typing import Any

from . import peers
from .channel import Child, ChildError
from .server import RedisServer

PROBE_INTERVAL = 0.2
"""Seconds given to a probe before the next: a node that has not subscribed
yet gets none."""

PROBE_LIMIT = 50
"""Probes after which a cluster counts as broken."""

SILENCE = 5.0
"""Seconds without a message after which the missing ones are lost."""

SETTLE_INTERVAL = 0.1
"""Seconds between two checks of whether a node is idle again."""

SETTLED = 0.005
"""Seconds of CPU that an idle node uses in that time at most."""

SETTLE_LIMIT = 50
"""Checks after which the next scenario begins anyway."""

_numbers = itertools.count(1)


class Cluster:
    """Nodes, the first of which sends.

    Each has a client of its own: a node joins its cluster when the first
    client connects. The sender's client gets nothing, unless the scenario says
    so.

    :param kind: one of :data:`.peers.NAMES`.
    :param redis: the server they share.
    :param clients: the process that holds the clients.
    :param nodes: how many there are.
    :param hide: modules that they must not find.
    """
    def __init__(self, kind: str, redis: RedisServer, clients: Child,
                 nodes: int = 2, hide: Sequence[str] = ()) -> None:
        self.kind = kind
        self.redis = redis
        self.clients = clients
        # No cluster begins with the stream of an earlier one.
        self.name = f'{kind}-{next(_numbers)}'
        self.next_number = 0
        self.ports: list[int] = []
        self.nodes: list[Child] = []
        self.groups: list[str] = []
        self.sids: list[str] = []
        self.many = f'{self.name}-many'
        try:
            for number in range(1 if kind == 'xadd' else nodes):
                role = f'receiver {number}' if number else 'sender'
                self.nodes.append(
                    peers.start(kind, role, redis.url, self.name, hide))
            if kind != 'xadd':
                self._join()
        except BaseException:
            self.stop()
            raise

    @property
    def sender(self) -> Child:
        return self.nodes[0]

    @property
    def receivers(self) -> list[Child]:
        return self.nodes[1:]

    def _join(self) -> None:
        self.ports = [node.ask('port')['port'] for node in self.nodes]
        for number, port in enumerate(self.ports):
            group = f'{self.name}-{number}'
            answer = self.clients.ask('connect', group=group, port=port)
            self.groups.append(group)
            self.sids += answer['sids']
        for group, sid in zip(self.groups[1:], self.sids[1:]):
            self.probe(group, sid)

    def stop(self) -> None:
        """End the nodes; forget their clients."""
        for node in self.nodes:
            node.stop()
        self.nodes = []

    def leave(self) -> None:
        """Close the connections of the clients, then :meth:`stop`."""
        self.clients.ask('close', groups=self.groups)
        self.stop()

    def close(self, group: str) -> None:
        """Close the connections of a group on the first receiver; wait until
        that is done with them, so that the next scenario has the machine."""
        self.clients.ask('close', groups=[group])
        used = self.receivers[0].cpu() if self.receivers else 0.0
        for _ in range(SETTLE_LIMIT if self.receivers else 0):
            time.sleep(SETTLE_INTERVAL)
            before, used = used, self.receivers[0].cpu()
            if used - before < SETTLED:
                return

    def probe(self, group: str, to: str) -> None:
        """Send to a group until a message reaches all of it."""
        for _ in range(PROBE_LIMIT):
            if not self.deliver(group, to, 1, PROBE_INTERVAL)['lost']:
                return
        raise ChildError(f'{self.kind}: nothing arrives')

    def warm_up(self, count: int) -> None:
        """Send to the client of the first receiver, unmeasured."""
        if self.receivers:
            self.deliver(self.groups[1], self.sids[1], count, SILENCE)

    def deliver(self, group: str, to: str, count: int,
                timeout: float) -> dict[str, Any]:
        """Send messages to a group, unmeasured."""
        first = self.numbers(count)
        self.clients.ask('arm', group=group, first=first, count=count)
        self.sender.ask('burst', to=to, first=first, count=count)
        self.clients.send('wait', group=group, timeout=timeout,
                          silence=timeout)
        return self.clients.receive(timeout + SILENCE)

    def numbers(self, count: int) -> int:
        """Return the first of this many numbers for messages."""
        self.next_number += count
        return self.next_number - count
