"""What the parts of an event cost, by a run of ``benchmarks.compare``.

A cost has two values. *Alone* is what an event costs if no other is near: a
wake-up, a command and a reply. *Busy* is what it costs if many share these.
"""
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from . import payload

PUBLISHED = Path(__file__).parent / 'published.json'
"""The run that the documentation shows."""

OURS = 'streams'

FITTED = (1, 2, 4)
"""Sizes of clusters to which the costs of Redis are fitted. What the model
says of eight nodes is a prediction."""

SIZES = (1, 2, 4, 8)
"""Sizes of clusters that are measured."""

KILOBYTE = 1000


class Cost(NamedTuple):
    """Microseconds of CPU for an event.

    :param busy: if many events share a command, a reply and a wake-up.
    :param alone: if none do.
    """
    busy: float
    alone: float

    def at(self, rate: float, batch: float) -> float:
        """Return the cost at a rate.

        Events that follow each other within the time of a batch share what
        can be shared.

        :param rate: events per second.
        :param batch: seconds that a batch takes.
        """
        return self.busy + (self.alone - self.busy) / (1 + rate * batch)


@dataclass(frozen=True)
class Costs:
    """What the parts of an event cost.

    :param send: to emit it, and to read it again.
    :param ignore: to read an event that no local client gets.
    :param first: to deliver it to a local client.
    :param client: for each further local client.
    :param write: for Redis, to store it.
    :param read: for Redis, to give it to a node.
    :param node_kilobyte: for a node, microseconds for each 1,000 bytes of
                          data.
    :param redis_kilobyte: for Redis, the same, each time they pass.
    :param batch: seconds from an emit to the client: what is emitted
                  meanwhile goes into one batch.
    :param input: bytes that Redis receives besides the data, per event.
    :param request: bytes of a node's command to read.
    :param output: bytes that Redis sends a node besides the data, per event.
    :param node_memory: MiB of a node at start.
    :param client_memory: KiB of an idle client.
    """
    send: Cost
    ignore: Cost
    first: Cost
    client: Cost
    write: Cost
    read: Cost
    node_kilobyte: float
    redis_kilobyte: float
    batch: float
    input: float
    request: float
    output: float
    node_memory: float
    client_memory: float


def fit(summary: dict[str, Any]) -> Costs:
    """Return the costs that a run has measured.

    :param summary: of a result that ``benchmarks.compare --json`` wrote, with
                    all scenarios.
    """
    def median(scenario: str, metric: str) -> float:
        return float(summary[scenario]['metrics'][metric]['median'][OURS])

    def redis(prefix: str) -> tuple[float, float]:
        at_zero, slope = line([
            (nodes, median(f'{prefix}{nodes}', 'redis_cpu'))
            for nodes in FITTED])
        return max(0.0, at_zero), slope

    batch = median('paced', 'latency_median') / 1000
    rate = 500

    def both(busy: float, paced: float) -> Cost:
        # At 500 events a second a few share a batch already.
        return Cost(busy, busy + max(0.0, paced - busy) * (1 + rate * batch))

    receiving = median('single', 'receiver_cpu')
    ignoring = median('nobody', 'receiver_cpu')
    first = receiving - ignoring
    ignore = both(ignoring, median('paced', 'receiver_cpu') - first)
    write, read = map(both, redis('nodes'), redis('paced'))
    more = (10_000 - payload.SIZE) / KILOBYTE
    return Costs(
        send=both(median('single', 'sender_cpu'),
                  median('paced', 'sender_cpu')
                  - median('paced', 'pace_cpu')),
        ignore=ignore,
        first=Cost(first, first),
        client=Cost(median('fanout', 'client_cpu'),
                    max(median('fanout', 'client_cpu'),
                        median('fanout50', 'client_cpu')
                        - ignore.alone / 100)),
        write=write, read=read,
        node_kilobyte=(median('10kb', 'receiver_cpu') - receiving) / more,
        # Two nodes read what one of them has written.
        redis_kilobyte=(median('10kb', 'redis_cpu')
                        - median('single', 'redis_cpu')) / more / 3,
        batch=batch,
        input=median('nodes4', 'redis_input') - payload.SIZE,
        request=(median('paced4', 'redis_input')
                 - median('paced1', 'redis_input')) / 3 * (1 + rate * batch),
        output=median('nodes4', 'redis_output') / 4 - payload.SIZE,
        node_memory=median('memory', 'memory_start'),
        client_memory=median('memory', 'memory_client'))


@dataclass(frozen=True)
class Check:
    """Predictions, each with what was measured; ``None`` if it was not.

    :param what: what they are of.
    :param redis: microseconds of CPU of Redis, for an event.
    :param output: bytes that Redis sends, for an event.
    :param sender: microseconds of CPU of the node that emits.
    :param receiver: microseconds of CPU of another node.
    """
    what: str
    redis: 'Pair'
    output: 'Pair'
    sender: 'Pair'
    receiver: 'Pair'


Pair = tuple[float, float] | None


def checks(summary: dict[str, Any], costs: Costs) -> Iterator[Check]:
    """Yield what the model predicts for the clusters that were measured: a
    client of each node gets each event, and one node emits."""
    for scenario, what, nodes, rate in (
            *((f'nodes{nodes}', f'{nodes}, in a burst', nodes, math.inf)
              for nodes in SIZES),
            *((f'paced{nodes}', f'{nodes}, at 500/s', nodes, 500)
              for nodes in SIZES),
            ('paced5000', '2, at 5,000/s', 2, 5000)):
        metrics = summary[scenario]['metrics']

        def pair(predicted: float, metric: str) -> Pair:
            found = metrics.get(metric, {}).get('median', {}).get(OURS)
            return found and (predicted, found)

        # The sender of the last scenario has no client that gets the events.
        local = 0.0 if scenario == 'paced5000' else costs.first.busy
        pace = metrics.get('pace_cpu', {}).get('median', {}).get(OURS, 0.0)
        yield Check(
            what,
            redis=pair(costs.write.at(rate, costs.batch)
                       + nodes * costs.read.at(rate, costs.batch),
                       'redis_cpu'),
            # A cluster of one delivers an event before it reads it back.
            output=None if nodes == 1 else pair(
                nodes * (payload.SIZE + costs.output), 'redis_output'),
            sender=pair(costs.send.at(rate, costs.batch) + local + pace,
                        'sender_cpu'),
            receiver=pair(costs.ignore.at(rate, costs.batch)
                          + costs.first.busy, 'receiver_cpu'))


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the line closest to the points: its value at zero, and its
    slope."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) \
        / sum((x - mean_x) ** 2 for x, _ in points)
    return mean_y - slope * mean_x, slope


def published() -> dict[str, Any]:
    """Return the result that the documentation shows."""
    found: dict[str, Any] = json.loads(PUBLISHED.read_text('utf-8'))
    return found
