"""Nodes under load, a client on each, and the account at the end."""
import logging
import time
from typing import Any, Dict, List, Tuple

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN, check_working, numbers, \
    outage_lines
from ..support.account import account, Account, EXACT
from ..support.node_process import NodeProcess
from ..support.wait import wait_until
from .fixtures import Connect, StartNodes, Unique


#: How many messages each node emits in a second.
RATE = 500

#: Seconds in which the clients have to receive a backlog.
CATCH_UP_WITHIN = 60.0

#: The counters that stay 0 as long as Redis keeps its data.
LOSSES = ('refused', 'failed', 'messages_lost', 'streams_deleted',
          'stream_setbacks', 'messages_vanished')


class Load:
    """Nodes that each emit :data:`RATE` messages a second to all clients.

    :param nodes: running nodes.
    """

    def __init__(self, nodes: List[NodeProcess], connect: Connect,
                 unique: Unique) -> None:
        self.nodes = nodes
        self._unique = unique
        start_managers(nodes)
        self.clients = [connect(node) for node in nodes]
        self._others: Dict[str, int] = {}
        self._events = [unique('pulse') for _ in nodes]
        for node, event in zip(nodes, self._events):
            node.start_pulse(event, 1 / RATE)
        for event in self._events:
            for client in self.clients:
                client.wait_for(event, 20)

    def wait_emitted(self, messages: int) -> None:
        """Wait until each node has emitted so many more. Its local client
        gets them, whatever Redis does."""
        goals = [client.count(event) + messages
                 for client, event in zip(self.clients, self._events)]
        for client, event, goal in zip(self.clients, self._events, goals):
            client.wait_for(event, goal, CATCH_UP_WITHIN)

    def wait_seconds(self, seconds: float) -> None:
        """Wait for this long, and until each node has emitted the messages
        of that time."""
        end = time.monotonic() + seconds
        self.wait_emitted(int(seconds * RATE))
        wait_until(lambda: time.monotonic() >= end, seconds + 1.0)

    def stats(self, name: str) -> List[int]:
        """A counter of each node."""
        return [int(node.stats()[name]) for node in self.nodes]

    def add(self, event: str, emitted: int) -> None:
        """Take another event into account."""
        self._others[event] = emitted

    def check(self, malformed: int = 0) -> None:
        """Stop emitting. Check that every client has every message once, in
        order, that the nodes are healthy, and that the log has a pair of
        lines for each outage.

        :param malformed: how many malformed entries each node has met.
        """
        emitted = {event: node.stop_pulse(event)
                   for node, event in zip(self.nodes, self._events)}
        emitted.update(self._others)
        for node in self.nodes:
            node.wait_health('ok', BACK_WITHIN)
        self._wait_arrived(emitted)
        # Its messages come after all others, so duplicates show.
        check_working(self.nodes, self.clients, self._unique)
        assert self._accounts(emitted) == {
            key: EXACT for key in self._accounts(emitted)}
        for node in self.nodes:
            stats = node.stats()
            assert {name: stats[name] for name in LOSSES} == dict.fromkeys(
                LOSSES, 0)
            assert stats['malformed'] == malformed
            assert node.health()['status'] == 'ok'
            check_pairs(node, stats['outages'])

    def _wait_arrived(self, emitted: Dict[str, int]) -> None:
        def missing() -> List[Account]:
            return [each for each in self._accounts(emitted).values()
                    if each.lost]

        def arrived() -> bool:
            return all(client.count(event) >= count
                       for client in self.clients
                       for event, count in emitted.items())

        wait_until(arrived, CATCH_UP_WITHIN, lambda: (
            f'all messages to arrive: {missing()} of {emitted}'))

    def _accounts(self, emitted: Dict[str, int]
                  ) -> Dict[Tuple[str, str], Account]:
        return {(client.sid, event): account(numbers(client, event), count)
                for client in self.clients
                for event, count in emitted.items()}


def check_pairs(node: NodeProcess, outages: int) -> None:
    """Each outage has its line when it begins and its line when it ends."""
    lines = outage_lines(node)
    assert ['cannot be used' in line for line in lines] \
        == [True, False] * outages, lines
    assert ['is back after' in line for line in lines] \
        == [False, True] * outages, lines
    assert node.logs(logging.ERROR) == []


def start_load(start_nodes: StartNodes, connect: Connect, unique: Unique,
               *urls: str, **options: Any) -> Load:
    """Start a node for each URL, and put them under load."""
    nodes = [start_nodes(1, url, **{**STEADY, **options})[0] for url in urls]
    return Load(nodes, connect, unique)
