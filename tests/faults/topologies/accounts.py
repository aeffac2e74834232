"""The account of what was emitted, what has arrived, and what was told."""
import json
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from ...integration.helpers import BACK_WITHIN, numbers
from ...support.client import Client
from ...support.node_process import NodeProcess

#: The id and the fields of an entry, names and values in turn.
Entry = Tuple[str, List[str]]

#: The counters of ``stats()`` that tell of losses.
LOSSES = ('messages_lost', 'messages_vanished', 'streams_deleted',
          'stream_setbacks')


def losses(node: NodeProcess) -> Dict[str, int]:
    """What a node has told of losses; only what is not 0."""
    stats = node.stats()
    return {name: stats[name] for name in LOSSES if stats[name]}


class Pulses:
    """Nodes that emit all the time, and a client on each that counts.

    :param nodes: each emits an event of its own.
    :param clients: one for each node.
    """

    def __init__(self, nodes: Sequence[NodeProcess],
                 clients: Sequence[Client], unique: Callable[[str], str],
                 interval: float = 0.005) -> None:
        self._nodes = nodes
        self._clients = clients
        self._unique = unique
        self._events = [unique('event') for _ in nodes]
        for node, event in zip(nodes, self._events):
            node.start_pulse(event, interval)

    def wait_flow(self, count: int = 20, timeout: float = BACK_WITHIN,
                  among: Optional[Sequence[int]] = None) -> None:
        """Wait until each client has got so many more of each event.

        :param among: only between these nodes.
        """
        chosen = range(len(self._nodes)) if among is None else among
        before = {(client, event): len(client.received(event))
                  for client in (self._clients[each] for each in chosen)
                  for event in (self._events[each] for each in chosen)}
        for (client, event), number in before.items():
            client.wait_for(event, number + count, timeout)

    def stop(self) -> List[int]:
        """Stop, and wait until all that is still under way has arrived.

        :return: how many each node has emitted.
        """
        counts = [node.stop_pulse(event)
                  for node, event in zip(self._nodes, self._events)]
        # What comes behind everything else shows what is missing at the end.
        last = self._unique('last')
        for node in self._nodes:
            assert node.flush(BACK_WITHIN)
            node.emit(last)
        for client in self._clients:
            client.wait_for(last, len(self._nodes), BACK_WITHIN)
        return counts

    def check_all_arrived(self, set_back: bool = False) -> None:
        """Every client has got everything once, in order, and nobody has
        told of a loss.

        :param set_back: but that the stream was set back.
        """
        counts = self.stop()
        for client in self._clients:
            for event, count in zip(self._events, counts):
                assert numbers(client, event) == list(range(count))
        for node in self._nodes:
            told = losses(node)
            if set_back:
                told.pop('stream_setbacks', None)
            assert told == {}

    def check_all_told(self, read: Callable[[], Sequence[Entry]]) -> None:
        """Nothing has come twice or out of order, and exactly what has not
        come was told: by the node that has not got it, and by the one that
        had sent it. To be called once for a set of nodes.

        :param read: what is in the stream; nothing was trimmed.
        """
        counts = self.stop()
        entries = read()
        lost = [[0] * len(counts) for _ in self._clients]
        for receiver, client in enumerate(self._clients):
            for sender, count in enumerate(counts):
                got = numbers(client, self._events[sender])
                lost[receiver][sender] = count - _in_order(got, count)
        for number, node in enumerate(self._nodes):
            told = losses(node)
            # The own clients are served without Redis.
            assert lost[number][number] == 0
            assert told.get('messages_lost', 0) == sum(lost[number]), told
            count = counts[number]
            stored = _numbers_in(entries, self._events[number])
            vanished = count - _in_order(stored, count)
            assert told.get('messages_vanished', 0) == vanished, told
            # Who has missed one has missed it because it vanished.
            assert max(row[number] for row in lost) <= vanished


def _in_order(got: Sequence[int], count: int) -> int:
    """Check that these are some of so many numbers, once and in order.

    :return: how many.
    """
    assert list(got) == sorted(set(got))
    assert set(got) <= set(range(count))
    return len(got)


def _numbers_in(entries: Sequence[Entry], event: str) -> List[int]:
    """What was emitted as an event's first argument, in the stream."""
    found = []
    for _, fields in entries:
        pairs = iter(fields)
        data = json.loads(dict(zip(pairs, pairs)).get('data', '{}'))
        name, *args = data.get('packet', {}).get('data', [''])
        if name == event:
            found.append(args[0])
    return found
