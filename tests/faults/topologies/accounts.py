"""Nodes that emit all the time, and the account of what was emitted, what has
arrived, and which losses were reported."""
import json
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ...integration.conftest import start_managers
from ...integration.helpers import BACK_WITHIN, numbers
from ...support.client import Client
from ...support.node_process import NodeProcess
from ..fixtures import Connect, StartNodes, Unique

#: The id and the fields of an entry, names and values in turn.
Entry = Tuple[str, List[str]]

#: The counters of losses in ``stats()``.
LOSSES = ('messages_lost', 'messages_vanished', 'streams_deleted',
          'stream_setbacks')


def losses(node: NodeProcess) -> Dict[str, int]:
    """The counters of a node's losses that are not 0."""
    stats = node.stats()
    return {name: stats[name] for name in LOSSES if stats[name]}


class Pulses:
    """Nodes that emit numbers all the time, and a client on each.

    :param nodes: each emits a different event.
    :param clients: one for each node.
    :param interval: seconds between two emits of a node.
    """

    def __init__(self, nodes: Sequence[NodeProcess],
                 clients: Sequence[Client], unique: Callable[[str], str],
                 interval: float = 0.005) -> None:
        self.nodes = nodes
        self._clients = clients
        self._unique = unique
        self._events = [unique('event') for _ in nodes]
        for node, event in zip(nodes, self._events):
            node.start_pulse(event, interval)

    def wait_flow(self, count: int = 20, timeout: float = BACK_WITHIN,
                  among: Optional[Sequence[int]] = None) -> None:
        """Wait until each client has received more of each event.

        :param count: how many more.
        :param among: the indices of the nodes to look at; all by default.
        """
        chosen = range(len(self.nodes)) if among is None else among
        before = {(client, event): len(client.received(event))
                  for client in (self._clients[each] for each in chosen)
                  for event in (self._events[each] for each in chosen)}
        for (client, event), number in before.items():
            client.wait_for(event, number + count, timeout)

    def stop(self) -> List[int]:
        """Stop, and wait until all events under way have arrived.

        :return: how many each node has emitted.
        """
        counts = [node.stop_pulse(event)
                  for node, event in zip(self.nodes, self._events)]
        # Once this event has arrived, a missing one before it is lost.
        last = self._unique('last')
        for node in self.nodes:
            assert node.flush(BACK_WITHIN)
            node.emit(last)
        for client in self._clients:
            client.wait_for(last, len(self.nodes), BACK_WITHIN)
        return counts

    def check_all_arrived(self, set_back: bool = False) -> None:
        """Every client has every event once, in order, and no node reports a
        loss.

        :param set_back: nodes may report that the stream was set back.
        """
        counts = self.stop()
        for client in self._clients:
            for event, count in zip(self._events, counts):
                assert numbers(client, event) == list(range(count))
        for node in self.nodes:
            reported = losses(node)
            if set_back:
                reported.pop('stream_setbacks', None)
            assert reported == {}

    def check_losses_reported(self, read: Callable[[], Sequence[Entry]]
                              ) -> None:
        """No event has arrived twice or out of order, and exactly the missing
        ones were reported: by the node that did not receive them, and by the
        node that had sent them. To be called once for a set of nodes.

        :param read: returns the entries of the stream, which is not trimmed.
        """
        counts = self.stop()
        entries = read()
        lost = [[0] * len(counts) for _ in self._clients]
        for receiver, client in enumerate(self._clients):
            for sender, count in enumerate(counts):
                got = numbers(client, self._events[sender])
                lost[receiver][sender] = count - _in_order(got, count)
        for number, node in enumerate(self.nodes):
            reported = losses(node)
            # Local clients need no Redis.
            assert lost[number][number] == 0
            assert reported.get('messages_lost', 0) == sum(lost[number]), \
                reported
            count = counts[number]
            stored = _numbers_in(entries, self._events[number])
            vanished = count - _in_order(stored, count)
            assert reported.get('messages_vanished', 0) == vanished, reported
            # A message is missed only because it vanished.
            assert max(row[number] for row in lost) <= vanished


def start_pulses(start_nodes: StartNodes, connect: Connect, unique: Unique,
                 url: str, count: int = 2, interval: float = 0.005,
                 **options: Any) -> Pulses:
    """Start nodes that emit all the time, connect a client to each, and wait
    until events arrive.

    :param count: how many nodes.
    :param options: those of the managers.
    """
    nodes = start_nodes(count, url, **options)
    start_managers(nodes)
    pulses = Pulses(nodes, [connect(node) for node in nodes], unique,
                    interval)
    pulses.wait_flow()
    return pulses


def _in_order(got: Sequence[int], count: int) -> int:
    """Check that these are numbers below ``count``, each once and in order.

    :return: how many there are.
    """
    assert list(got) == sorted(set(got))
    assert set(got) <= set(range(count))
    return len(got)


def _numbers_in(entries: Sequence[Entry], event: str) -> List[int]:
    """The first arguments of an event in the stream."""
    found = []
    for _, fields in entries:
        pairs = iter(fields)
        data = json.loads(dict(zip(pairs, pairs)).get('data', '{}'))
        name, *args = data.get('packet', {}).get('data', [''])
        if name == event:
            found.append(args[0])
    return found
