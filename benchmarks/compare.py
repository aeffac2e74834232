"""Comparison of ``RedisStreamsManager`` with its peers, or with itself,
without and with connection state recovery.

Run as ``python -m benchmarks.compare``; see ``README.rst`` beside this file.
"""
import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import metadata
from typing import Any

from . import peers, plot, report
from .channel import Child, ChildError
from .cluster import Cluster
from .measuring import Measurement, measure
from .scenarios import RECOVERY_SCENARIOS, SCENARIOS, Scenario, quick
from .server import EmbeddedRedisError, RedisServer
from .targets import RECOVERY_TARGETS, TARGETS

PACKAGES = ('python-socketio', 'python-engineio', 'redis', 'hiredis',
            'msgspec', 'gevent', 'gevent-websocket', 'simple-websocket')
"""Other packages that influence the figures."""

QUICK_LIMIT = 90.0
"""Seconds after which a quick run begins nothing more."""

Results = dict[str, list[dict[str, Measurement]]]
"""For each scenario its rounds; for each round, what each kind did."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.compare',
        description='Compare RedisStreamsManager with its peers.')
    parser.add_argument('--recovery', action='store_true',
                        help='compare it with itself, without and with '
                             'connection state recovery')
    parser.add_argument('--quick', action='store_true',
                        help='one short round, to see that everything works; '
                             'two minutes at most')
    parser.add_argument('--rounds', type=int, metavar='N',
                        help='measure each kind N times (default: 5; quick: '
                             '1)')
    parser.add_argument('--scenario', action='append', metavar='NAME',
                        help='only this one; may be repeated')
    parser.add_argument('--kind', action='append', choices=list(peers.NAMES),
                        help='only this one; may be repeated')
    parser.add_argument('--json', metavar='FILE',
                        help='write all measurements there')
    parser.add_argument('--plot', metavar='FILE',
                        help='draw the medians there, as PNG')
    parser.add_argument('--check', action='store_true',
                        help='exit with 1 also if a target is missed')
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = 1 if options.quick else 5
    if options.rounds < 1:
        parser.error('--rounds must be 1 or more')
    scenarios: Sequence[Scenario] = \
        RECOVERY_SCENARIOS if options.recovery else SCENARIOS
    options.targets = RECOVERY_TARGETS if options.recovery else TARGETS
    names = [scenario.name for scenario in scenarios]
    for name in options.scenario or ():
        if name not in names:
            parser.error(f'--scenario must be one of {", ".join(names)}')
    if options.quick:
        scenarios = quick(scenarios)
    options.scenarios = [
        each for each in scenarios
        if not options.scenario or each.name in options.scenario]
    if options.plot and (fault := plot.obstacle()):
        parser.error(fault)
    return options


def available(scenarios: Sequence[Scenario],
              only: Sequence[str] | None) -> list[str]:
    """Return the kinds to measure.

    :raises ChildError: one of this package's, or in CI any, cannot run.
    """
    kinds = []
    for kind in peers.NAMES:
        if only and kind not in only or not any(
                kind in scenario.kinds for scenario in scenarios):
            continue
        fault = peers.obstacle(kind)
        if fault is None:
            kinds.append(kind)
        elif kind in peers.REQUIRED or os.environ.get('CI') == 'true':
            raise ChildError(fault)
        else:
            print(f'without {peers.NAMES[kind]}: {fault}', file=sys.stderr)
    return kinds


def environment(redis: RedisServer) -> dict[str, Any]:
    """Return the machine and the versions that were measured."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = 'none'
    return {'python': platform.python_version(),
            'machine': platform.machine(), 'cpus': os.cpu_count(),
            'redis-server': redis.version, 'node': peers.node_version(),
            **versions}


class Round:
    """One round, with nodes of its own.

    :param kinds: in the order in which they take turns.
    """
    def __init__(self, kinds: Sequence[str], redis: RedisServer,
                 stack: ExitStack) -> None:
        self.kinds = kinds
        self._redis = redis
        self._stack = stack
        self._clients = Child('clients', 'benchmarks.clients')
        stack.callback(self._clients.stop)
        self._clusters: dict[str, Cluster] = {}

    def measure(self, kind: str, scenario: Scenario) -> Measurement:
        """Run a scenario once, on nodes that others use, too, if it may."""
        if not scenario.alone:
            if kind not in self._clusters:
                self._clusters[kind] = cluster = self._start(kind, scenario)
                self._stack.callback(cluster.stop)
            return measure(self._clusters[kind], scenario)
        cluster = self._start(kind, scenario)
        try:
            return measure(cluster, scenario)
        finally:
            cluster.leave()

    def _start(self, kind: str, scenario: Scenario) -> Cluster:
        return Cluster(kind, self._redis, self._clients, scenario.nodes,
                       scenario.hide)


def run(options: argparse.Namespace, kinds: Sequence[str],
        redis: RedisServer, results: Results) -> None:
    """Measure.

    :param results: is filled, also if an error ends the run.
    """
    deadline = time.monotonic() + QUICK_LIMIT if options.quick else None
    for turn in range(options.rounds):
        # The order changes, so that a machine that slows down or speeds up
        # favours none.
        order = list(kinds) if turn % 2 == 0 else list(reversed(kinds))
        with ExitStack() as stack:
            this = Round(order, redis, stack)
            for scenario in options.scenarios:
                measured: dict[str, Measurement] = {}
                results[scenario.name].append(measured)
                for kind in order:
                    if kind not in scenario.kinds:
                        continue
                    if deadline is not None and time.monotonic() > deadline:
                        print(f'no time left for {scenario.name}, '
                              f'{peers.NAMES[kind]}', file=sys.stderr)
                        continue
                    measured[kind] = this.measure(kind, scenario)
                    progress(turn, scenario, kind, measured[kind])


def progress(turn: int, scenario: Scenario, kind: str,
             measured: Measurement) -> None:
    """Report the progress on standard error."""
    figures = measured.as_dict()
    shown = [f'{report.number(figures[metric])} {unit}' for metric, unit in (
        ('throughput', '/s'), ('sender_cpu', 'us sending'),
        ('receiver_cpu', 'us receiving'), ('memory_start', 'MiB'),
        ('memory_client', 'KiB a client')) if figures[metric] is not None]
    print(f'round {turn + 1}  {scenario.name:12}{peers.NAMES[kind]:33}'
          f'{", ".join(shown)}  {measured.faults}', file=sys.stderr,
          flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; return the exit status."""
    options = parse(arguments)
    # SIGTERM unwinds the stack as an interrupt does, so that no process is
    # left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results: Results = {scenario.name: [] for scenario in options.scenarios}
    failed = 0
    about: dict[str, Any] = {}
    try:
        kinds = available(options.scenarios, options.kind)
        with RedisServer() as redis:
            about = environment(redis)
            run(options, kinds, redis, results)
    except (ChildError, EmbeddedRedisError) as exc:
        print(f'failed: {exc}', file=sys.stderr)
        failed = 2
    except KeyboardInterrupt:
        failed = 130
    if failed and not any(any(rounds) for rounds in results.values()):
        return failed
    summaries, targets = {}, []
    for scenario in options.scenarios:
        rounds = results[scenario.name]
        if any(rounds):
            summaries[scenario.name] = report.summary(scenario, rounds)
            targets += report.judge(scenario, rounds, options.targets.get(
                scenario.name, ()))
    print(', '.join(f'{name} {value}' for name, value in about.items()))
    print('a quick run: it works, the figures say little' if options.quick
          else f'rounds: {options.rounds}; figures are medians')
    for summary in summaries.values():
        print(f'\n{report.text(summary)}')
    print(f'\n{report.targets_text(targets)}')
    output = {'environment': about, 'repeated': options.rounds,
              'summary': summaries, 'targets': targets,
              'rounds': {name: [{kind: each.as_dict() for kind, each
                                 in measured.items()} for measured in rounds]
                         for name, rounds in results.items()}}
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as file:
            json.dump(output, file, indent=2)
            file.write('\n')
    if options.plot:
        plot.draw(output, options.plot)
    return failed or status(summaries, targets, options.check)


def status(summaries: dict[str, Any], targets: Sequence[dict[str, Any]],
           check: bool) -> int:
    """Return 1 if our delivery was at fault or, on request, a target was
    missed, else 0."""
    faulty = [each['title'] for each in summaries.values()
              if any(each['faults'].get(kind) for kind in peers.OURS)]
    for title in faulty:
        print(f'delivery at fault: {title}', file=sys.stderr)
    missed = any(target['reached'] is False for target in targets)
    return 1 if faulty or (check and missed) else 0


if __name__ == '__main__':
    sys.exit(main())
