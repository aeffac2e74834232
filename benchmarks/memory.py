"""The memory of nodes (``/proc``, so Linux).

Run as ``python -m benchmarks.memory``; see ``README.rst`` beside this file.
"""
import argparse
import json
import re
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from . import peers
from .channel import Child, ChildError
from .cluster import Cluster
from .server import EmbeddedRedisError, RedisServer

KINDS = ('redis', 'recovery', 'streams')
"""What is compared."""

LOADED = ('streams', 'recovery')
"""What is kept under a load, unless it is chosen."""

CLIENTS = 1_000
"""Idle clients."""

NAMESPACES = 100
"""Namespaces that both nodes begin to serve."""

WAITING = 10_000
"""Messages of 100 characters that wait for Redis."""

PAUSE = 3.0
"""Seconds for which Redis carries out nothing, so that they wait."""

WARM_UP = 500
"""Messages before anything is measured: all code has run. More of them would
leave free memory for those that wait."""

RATE = 500.0
"""Messages a second of the load, of each kind."""

VISIT = 1.0
"""Seconds after which one client leaves and another one comes."""

SAMPLE = 5.0
"""Seconds between two looks at the memory."""

SETTLING = 120_000
"""Messages, at most, before the memory has to stay as it is, and half of the
time in short runs. A writer remembers the positions of its last 10,000
messages, and recovery keeps a history of 30,000 for clients that return. The
allocator's heap grows until these were replaced a few times."""

GROWTH = 1.0
"""MiB by which a node may seem to grow after that. In a run of 10 minutes it
is 9 bytes for each message: no object of Python is that small."""


def memory(process: Child) -> tuple[float, float]:
    """Return the MiB of memory that a process has, and has had at most."""
    with open(f'/proc/{process.pid}/status', encoding='ascii') as file:
        found = dict(re.findall(r'^(VmRSS|VmHWM):\s+(\d+) kB$', file.read(),
                                re.MULTILINE))
    return int(found['VmRSS']) / 1024, int(found['VmHWM']) / 1024


def forget_peak(process: Child) -> None:
    """Let the peak of a process's memory begin anew."""
    with open(f'/proc/{process.pid}/clear_refs', 'w',
              encoding='ascii') as file:
        file.write('5')


@dataclass(frozen=True)
class Footprint:
    """What a node takes: at its start, with one client, in MiB; for each
    idle client and each namespace, in KiB; for 10,000 messages that wait for
    Redis, in MiB. ``None``: they cannot wait."""
    start: float
    client: float
    namespace: float
    outbox: float | None


def footprint(kind: str, redis: RedisServer, clients: Child) -> Footprint:
    """Measure one kind of node."""
    cluster = Cluster(kind, redis, clients)
    node, port = cluster.receivers[0], cluster.ports[1]
    try:
        start, _ = memory(node)
        cluster.warm_up(WARM_UP)
        before, _ = memory(node)
        clients.ask('connect', group=cluster.many, port=port, count=CLIENTS)
        after, _ = memory(node)
        client = (after - before) * 1024 / CLIENTS
        cluster.close(cluster.many)

        before, _ = memory(node)
        for each in cluster.nodes:
            each.ask('serve', count=NAMESPACES)
        # A node looks at what it serves when a client connects.
        clients.ask('connect', group=cluster.many, port=cluster.ports)
        time.sleep(1)
        after, _ = memory(node)
        namespace = (after - before) * 1024 / NAMESPACES
        cluster.close(cluster.many)

        outbox = None
        if kind in peers.OURS:
            outbox = _outbox(cluster, redis)
    finally:
        cluster.leave()
    return Footprint(start, client, namespace, outbox)


def _outbox(cluster: Cluster, redis: RedisServer) -> float:
    sender, sid = cluster.sender, cluster.sids[1]
    before, _ = memory(sender)
    redis.pause(PAUSE)
    sender.ask('burst', to=sid, first=0, count=WAITING)
    after, _ = memory(sender)
    time.sleep(PAUSE)
    return after - before


class Load:
    """A constant load on two nodes, and their memory over time."""
    def __init__(self, kind: str, redis: RedisServer, clients: Child,
                 rate: float, stack: ExitStack) -> None:
        self.kind = kind
        self._clients = clients
        self._cluster = cluster = Cluster(kind, redis, clients)
        stack.callback(cluster.stop)
        self.samples: list[tuple[float, ...]] = []
        cluster.sender.ask('live', to=cluster.sids[1], first=0, rate=rate)
        self._visitors(0)

    def _visitors(self, count: int) -> None:
        """One client of each node leaves, another one comes."""
        group = self._cluster.many
        if count:
            self._clients.ask('close', groups=[group])
        self._clients.ask('connect', group=group, port=self._cluster.ports,
                          room=f'visit-{count}')

    def step(self, count: int) -> None:
        """Let visitors change."""
        self._visitors(count)

    def sample(self) -> tuple[float, ...]:
        """Look at the memory of the nodes, in MiB."""
        found = tuple(memory(node)[0] for node in self._cluster.nodes)
        self.samples.append(found)
        return found

    def end(self) -> int:
        """End the load; return how many messages were emitted."""
        return int(self._cluster.sender.ask('stop_live')['count'])


def growth(samples: Sequence[float], settled: int) -> float:
    """Return by how many MiB the memory grew once it had settled: from the
    first quarter of that time to the last.

    :param settled: the number of the first sample that counts.
    """
    counted = samples[settled:]
    quarter = max(1, len(counted) // 4)
    return mean(counted[-quarter:]) - mean(counted[:quarter])


def watch(kinds: Sequence[str], minutes: float,
          rate: float) -> dict[str, Any]:
    """Keep nodes under a constant load; print their memory each minute.

    :return: for each kind the samples of each node, and how much each grew.
    """
    with RedisServer() as redis, ExitStack() as stack:
        clients = Child('clients', 'benchmarks.clients')
        stack.callback(clients.stop)
        loads = [Load(kind, redis, clients, rate, stack) for kind in kinds]
        began = time.monotonic()
        visits, sampled, printed = 0, 0, 0
        print(f'{"minute":>8}' + ''.join(
            f'{peers.HEADS[kind] + " " + role + ", MiB":>26}'
            for kind in kinds for role in ('sending', 'receiving')),
            flush=True)
        while (passed := time.monotonic() - began) < minutes * 60:
            if passed >= visits * VISIT:
                visits += 1
                for load in loads:
                    load.step(visits)
            if passed >= sampled * SAMPLE:
                sampled += 1
                found = [each for load in loads for each in load.sample()]
                if passed >= printed * 60:
                    print(f'{passed / 60:8.1f}' + ''.join(
                        f'{each:26.1f}' for each in found), flush=True)
                    printed += 1
            time.sleep(VISIT / 10)
        counts = {load.kind: load.end() for load in loads}
    settled = int(min(SETTLING / rate, minutes * 60 / 2) / SAMPLE)
    return {load.kind: {
        'messages': counts[load.kind], 'interval': SAMPLE,
        'samples': load.samples,
        'growth': [growth(node, settled) for node in zip(*load.samples)]}
        for load in loads}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.memory',
        description='Measure the memory of nodes.')
    parser.add_argument('--minutes', type=float, metavar='N',
                        help='keep the nodes under a constant load instead, '
                             'and exit with 1 if one grows')
    parser.add_argument('--rate', type=float, default=RATE, metavar='N',
                        help='messages a second of that load (default: '
                             '%(default)g)')
    parser.add_argument('--kind', action='append', choices=KINDS,
                        help='only this one; may be repeated')
    parser.add_argument('--json', metavar='FILE',
                        help='write the figures there')
    options = parser.parse_args(arguments)
    if options.minutes is not None and options.minutes <= 0 \
            or options.rate <= 0:
        parser.error('numbers must be above 0')
    return options


def text(found: dict[str, Footprint]) -> str:
    """Return the table of footprints."""
    lines = [f'{"":44}' + ''.join(
        f'{peers.HEADS[kind]:>12}' for kind in found)]
    for name, title in (
            ('start', 'at start, with one client, MiB'),
            ('client', f'each of {CLIENTS:,} idle clients, KiB'),
            ('namespace', f'each of {NAMESPACES} namespaces, KiB'),
            ('outbox', f'{WAITING:,} messages that wait, MiB')):
        values = [getattr(each, name) for each in found.values()]
        lines.append(f'{title:44}' + ''.join(
            f'{"-":>12}' if value is None else f'{value:12.1f}'
            for value in values))
    return '\n'.join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    options = parse(arguments)
    # SIGTERM unwinds the stack as an interrupt does, so that no process is
    # left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    output: dict[str, Any] = {}
    status = 0
    try:
        if options.minutes is not None:
            output = watch(options.kind or LOADED, options.minutes,
                           options.rate)
            for kind, each in output.items():
                grown = ', '.join(f'{value:+.2f}'
                                  for value in each['growth'])
                print(f'{peers.NAMES[kind]}: {each["messages"]:,} messages, '
                      f'growth of the nodes {grown} MiB')
                if max(each['growth']) > GROWTH:
                    print(f'{peers.NAMES[kind]} grows', file=sys.stderr)
                    status = 1
        else:
            found = {}
            for kind in options.kind or KINDS:
                # A new Redis each time, so that no data are left in it.
                with RedisServer() as redis:
                    clients = Child('clients', 'benchmarks.clients')
                    try:
                        found[kind] = footprint(kind, redis, clients)
                    finally:
                        clients.stop()
                print(f'measured {peers.NAMES[kind]}', file=sys.stderr,
                      flush=True)
            print(text(found))
            output = {kind: asdict(each) for kind, each in found.items()}
    except (ChildError, EmbeddedRedisError) as exc:
        print(f'failed: {exc}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as file:
            json.dump(output, file, indent=2)
            file.write('\n')
    return status


if __name__ == '__main__':
    sys.exit(main())
