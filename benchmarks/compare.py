"""Compare ``RedisStreamsManager`` with python-socketio's ``RedisManager``, or
with itself, without and with connection state recovery.

Run as ``python -m benchmarks.compare``; see ``README.rst`` beside this file.
"""
import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import metadata
from typing import Any

from . import report
from .channel import Child, ChildError
from .scenarios import RECOVERY_SCENARIOS, SCENARIOS, Measurement, Pair, \
    Scenario
from .server import EmbeddedRedisError, RedisServer

PACKAGES = ('python-socketio', 'python-engineio', 'redis', 'hiredis',
            'gevent', 'simple-websocket')
"""What has a say in the figures, besides us."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.compare',
        description='Compare RedisStreamsManager with RedisManager.')
    parser.add_argument('--recovery', action='store_true',
                        help='compare it with itself: without, and with '
                             'connection state recovery')
    parser.add_argument('--rounds', type=int, default=5, metavar='N',
                        help='measure each manager N times (default: 5)')
    parser.add_argument('--scenario', action='append', metavar='NAME',
                        help='only this one; may be repeated')
    parser.add_argument('--manager', metavar='NAME',
                        help='only this manager; no comparison then')
    parser.add_argument('--json', metavar='FILE',
                        help='write all measurements there')
    parser.add_argument('--check', action='store_true',
                        help='exit with 1 also where a target is missed')
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error('--rounds must be 1 or more')
    options.compared, options.scenarios = (
        (report.RECOVERY, RECOVERY_SCENARIOS) if options.recovery
        else (report.MANAGERS, SCENARIOS))
    names = [scenario.name for scenario in options.scenarios]
    for name in options.scenario or ():
        if name not in names:
            parser.error(f'--scenario must be one of {", ".join(names)}')
    kinds = options.compared.names
    if options.manager and options.manager not in kinds:
        parser.error(f'--manager must be one of {", ".join(kinds)}')
    return options


def environment(redis: RedisServer) -> dict[str, Any]:
    """Return where the figures come from."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = 'none'
    return {'python': platform.python_version(),
            'machine': platform.machine(), 'cpus': os.cpu_count(),
            'redis-server': redis.version, **versions}


@contextmanager
def pairs(kinds: Sequence[str], redis: RedisServer) -> Iterator[list[Pair]]:
    """Yield a fresh pair of nodes of each kind."""
    with ExitStack() as stack:
        clients = Child('clients', 'benchmarks.clients')
        stack.callback(clients.stop)
        started = []
        for kind in kinds:
            pair = Pair(kind, redis, clients)
            stack.callback(pair.stop)
            started.append(pair)
        yield started


def run(scenarios: Sequence[Scenario], kinds: dict[str, str], rounds: int,
        redis: RedisServer) -> dict[str, list[dict[str, Measurement]]]:
    """Measure; return for each scenario its rounds.

    :param kinds: of nodes, and how they are called.
    """
    results: dict[str, list[dict[str, Measurement]]] = {
        scenario.name: [] for scenario in scenarios}
    for turn in range(rounds):
        # Who begins changes, so that a machine that slows down or speeds up
        # favours nobody.
        order = list(kinds) if turn % 2 == 0 else list(reversed(kinds))
        with pairs(order, redis) as started:
            for scenario in scenarios:
                measured = {}
                for pair in started:
                    measured[pair.kind] = pair.measure(scenario)
                    progress(turn, scenario, kinds[pair.kind],
                             measured[pair.kind])
                results[scenario.name].append(measured)
    return results


def progress(turn: int, scenario: Scenario, name: str,
             measured: Measurement) -> None:
    """Say on standard error how far the run is."""
    print(f'round {turn + 1}  {scenario.name:10} '
          f'{name:20}'
          f'{measured.throughput:>10,.0f}/s'
          f'{measured.sender_cpu:>8.1f} +'
          f'{measured.receiver_cpu:>8.1f} us  '
          f'{measured.faults}', file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; return the exit status."""
    options = parse(arguments)
    # Ends by the same way as an interrupt, so that no process stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    compared = options.compared
    scenarios = [each for each in options.scenarios
                 if not options.scenario or each.name in options.scenario]
    kinds = {kind: name for kind, name in compared.names.items()
             if options.manager in (None, kind)}
    try:
        with RedisServer() as redis:
            about = environment(redis)
            results = run(scenarios, kinds, options.rounds, redis)
    except (ChildError, EmbeddedRedisError) as exc:
        print(f'failed: {exc}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(', '.join(f'{name} {value}' for name, value in about.items()))
    print(f'rounds: {options.rounds}; figures are medians')
    summaries = {}
    for scenario in scenarios:
        summaries[scenario.name] = report.summary(
            scenario, results[scenario.name], compared)
        print()
        print(report.text(summaries[scenario.name], compared))
    if options.json:
        rounds = {name: [{kind: each.as_dict() for kind, each in turn.items()}
                         for turn in turns]
                  for name, turns in results.items()}
        with open(options.json, 'w', encoding='utf-8') as file:
            json.dump({'environment': about, 'summary': summaries,
                       'rounds': rounds}, file, indent=2)
            file.write('\n')
    return status(summaries, compared.ours, options.check)


def status(summaries: dict[str, Any], ours: str, check: bool) -> int:
    """Return 1 where our delivery was at fault or, on request, a target was
    missed, else 0."""
    missed = [target for each in summaries.values()
              for target in each['targets'] if not target['reached']]
    faulty = [each for each in summaries.values()
              if each['faults'][ours]]
    for each in faulty:
        print(f'delivery at fault: {each["title"]}', file=sys.stderr)
    return 1 if faulty or (check and missed) else 0


if __name__ == '__main__':
    sys.exit(main())
