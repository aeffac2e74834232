"""What a cluster of a given size takes: a model, on paper.

Run as ``python -m benchmarks.capacity --rate 1000 --nodes 100``;
``docs/performance.rst`` explains the model and compares it with measurements.

All costs come from one run of ``benchmarks.compare``, see :mod:`.costs`.
"""
import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import payload
from .costs import Costs, fit, KILOBYTE, PUBLISHED

SHARE = 0.7
"""The part of a core that a process should use at most: the rest is for peaks.
"""

PING_INTERVAL = 25.0
"""Seconds between two pings of a client: Engine.IO's default."""

PING_CPU = 200.0
"""Microseconds of CPU that a ping and its answer take: of a node with 1,000
idle clients, in 50 s."""

HISTORY_OVERHEAD = 190
"""Bytes of an entry in Redis besides the data of its event: the names of
event and room, ids, the listpack's own."""

HISTORY_SHARE = 1.15
"""Memory of a stream, as a multiple of its entries: free space in listpacks,
and what the allocator rounds up. ``MEMORY USAGE`` shows 1.04 to 1.27 times for
10 to 100,000 characters."""


@dataclass(frozen=True)
class Load:
    """What a cluster has to carry.

    :param rate: events per second, of all nodes.
    :param nodes: processes that serve clients.
    :param size: bytes of an event's data.
    :param reached: clients that get an event, of all nodes.
    :param clients: clients that are connected, of all nodes.
    :param masters: Redis servers that share the streams evenly.
    :param max_len: entries that each stream keeps.
    """
    rate: float
    nodes: int
    size: int = payload.SIZE
    reached: float = 1
    clients: int = 0
    masters: int = 1
    max_len: int = 10_000


@dataclass(frozen=True)
class Needs:
    """What that takes: CPU in cores, of each Redis server and of each node.

    :param input: megabytes per second that each Redis server receives.
    :param output: megabytes per second that it sends.
    :param history: MiB of its stream.
    :param node_memory: MiB of each node.
    """
    redis_cpu: float
    input: float
    output: float
    history: float
    node_cpu: float
    node_memory: float


def needs(load: Load, costs: Costs) -> Needs:
    """Return what a load takes."""
    share = load.rate / load.masters
    # The rest of the reads return several events.
    requests = load.nodes / (1 + share * costs.batch)
    return Needs(
        redis_cpu=used(share, redis_event(load, costs, False),
                       redis_event(load, costs, True)),
        input=share * (
            costs.input + load.size + requests * costs.request) / 1e6,
        output=share * load.nodes * (costs.output + load.size) / 1e6,
        history=history(load.size) * load.max_len / 2**20,
        node_cpu=used(load.rate, node_event(load, costs, False),
                      node_event(load, costs, True)) + pings(load),
        node_memory=costs.node_memory
        + load.clients / load.nodes * costs.client_memory / 1024)


def used(rate: float, cost: float, busy: float) -> float:
    """Return how much of a core a process uses.

    A process that could not keep up event by event takes more of them at
    once. It is overloaded only if that does not suffice.

    :param cost: microseconds for an event.
    :param busy: the same in the largest batches.
    """
    return max(min(1.0, rate * cost / 1e6), rate * busy / 1e6)


def redis_event(load: Load, costs: Costs, busy: bool) -> float:
    """Return what a Redis server spends on an event, in microseconds.

    :param busy: in the largest batches; otherwise as it is at that rate.
    """
    share = load.rate / load.masters
    # An event comes once, and goes to every node.
    data = (load.nodes + 1) * _more(load) * costs.redis_kilobyte
    return data + (
        costs.write.busy + load.nodes * costs.read.busy if busy else
        costs.write.at(share / load.nodes, costs.batch)
        + load.nodes * costs.read.at(share, costs.batch))


def node_event(load: Load, costs: Costs, busy: bool) -> float:
    """Return what a node spends on an event of the cluster, on average, in
    microseconds.

    :param busy: in the largest batches; otherwise as it is at that rate.
    """
    own = 1 / load.nodes
    here = load.reached / load.nodes
    data = _more(load) * costs.node_kilobyte
    # Each stream has batches of its own.
    share = load.rate / load.masters
    client_rate = load.rate * load.reached / max(load.clients, load.reached)
    parts = (
        (costs.send, share * own, own),
        (costs.ignore, share, 1 - own),
        (costs.first, share, min(1.0, here)),
        (costs.client, client_rate, max(0.0, here - 1)))
    return data + sum(
        (cost.busy if busy else cost.at(rate, costs.batch)) * times
        for cost, rate, times in parts)


def pings(load: Load) -> float:
    """Return how much of a core a node uses for pings."""
    return load.clients / load.nodes / PING_INTERVAL * PING_CPU / 1e6


def _more(load: Load) -> float:
    """Return how many kilobytes of data an event has beyond those that were
    measured."""
    return (load.size - payload.SIZE) / KILOBYTE


def history(size: int) -> float:
    """Return the bytes that an entry takes in Redis."""
    return HISTORY_SHARE * (size + HISTORY_OVERHEAD)


def limit(load: Load, costs: Costs) -> tuple[float, float]:
    """Return at how many events a second, of all nodes, :data:`SHARE` of a
    core is used in the largest batches: that of a Redis server, and that of
    a node."""
    return (SHARE * 1e6 / redis_event(load, costs, True) * load.masters,
            max(0.0, SHARE - pings(load)) * 1e6
            / node_event(load, costs, True))


def text(load: Load, costs: Costs) -> str:
    """Return what a load takes, as lines for a terminal."""
    found = needs(load, costs)
    redis, node = limit(load, costs)
    return '\n'.join((
        f'{"Redis (each)":34}{found.redis_cpu:10.1%} of a core',
        f'  {"in":32}{found.input:10.2f} MB/s',
        f'  {"out":32}{found.output:10.2f} MB/s',
        f'  {"history of a stream":32}{found.history:10.1f} MiB',
        f'{"node (each)":34}{found.node_cpu:10.1%} of a core',
        f'  {"memory":32}{found.node_memory:10.0f} MiB',
        f'at most, for {SHARE:.0%} of a core of Redis {redis:10,.0f} '
        f'events/s',
        f'{"":30}a node{node:10,.0f} events/s'))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what a cluster takes; return the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.capacity',
        description='Estimate what a cluster takes.')
    parser.add_argument('--results', metavar='FILE', type=Path,
                        default=PUBLISHED,
                        help='what "benchmarks.compare --json" has written '
                             '(default: the run that the documentation '
                             'shows)')
    for name, kind, default, what in (
            ('rate', float, None, 'events per second, of all nodes'),
            ('nodes', int, None, 'processes that serve clients'),
            ('size', int, payload.SIZE, 'bytes of an event\'s data'),
            ('reached', float, 1.0, 'clients that get an event'),
            ('clients', int, 0, 'clients that are connected'),
            ('masters', int, 1, 'Redis servers that share the streams'),
            ('max-len', int, 10_000, 'entries that each stream keeps')):
        parser.add_argument(
            f'--{name}', type=kind, default=default, metavar='N',
            required=default is None,
            help=what if default is None else f'{what} (default: {default})')
    options = vars(parser.parse_args(arguments))
    summary = json.loads(options.pop('results').read_text('utf-8'))['summary']
    print(text(Load(**options), fit(summary)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
