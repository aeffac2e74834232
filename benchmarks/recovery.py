"""Kill a node, and measure how its clients return to another one.

Run as ``python -m benchmarks.recovery``; see ``README.rst`` in this directory.
"""
import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from .channel import Child, ChildError
from .compare import environment
from .measuring import milliseconds
from .memory import forget_peak, memory
from .report import number
from .scenarios import LINGER, WARM_UP
from .server import EmbeddedRedisError, RedisServer

KINDS = {'plain': 'without', 'recovery': 'with'}
"""Without connection state recovery clients return without their messages:
the cost of that is not the cost of recovery."""

ALL, STAYING, IDLE = 'all', 'staying', 'idle'
"""The room of the clients that return, and two groups that do not."""

LIVE_RATE = 200.0
"""Messages per second to the client that stays."""

CALM = 3.0
"""Seconds of live traffic before the node is killed, for comparison."""

FURTHER = 20
"""Messages to all clients while they return, after the missed ones."""

FURTHER_INTERVAL = 0.1
"""Seconds between two of these messages."""

CONNECT_TIMEOUT = 120.0
"""Seconds for all clients to connect to the node that will be killed."""

RETURN_TIMEOUT = 60.0
"""Seconds in which all have to return, and then to get all they missed."""

SILENCE = 10.0
"""Seconds without a message after which the missing ones are lost."""

TARGET = 5.0
"""Seconds in which all should have returned, with all they missed."""


@dataclass(frozen=True)
class Outcome:
    """The measurements of one return: times in seconds, latencies in
    milliseconds, memory in MiB, and CPU in seconds, from the time at which
    the clients begin to return until the last one has all its messages.
    """
    back: int
    recovered: int
    first_reply: float | None
    median_reply: float | None
    last_reply: float | None
    last_missed: float | None
    lost: int
    duplicates: int
    disorder: int
    closed: int
    memory_before: float
    memory_after: float
    memory_peak: float
    live_messages: int
    live_lost: int
    live_calm_median: float | None
    live_calm_p99: float | None
    live_median: float | None
    live_p99: float | None
    live_max: float | None
    elapsed: float
    node_cpu: float
    emitter_cpu: float
    redis_cpu: float
    clients_cpu: float
    faults: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """The faults of the delivery, in words."""
        wrong = {'lost': self.lost, 'twice': self.duplicates,
                 'out of order': self.disorder,
                 'connections closed': self.closed,
                 'lost of the live traffic': self.live_lost}
        return [f'{n} {what}' for what, n in wrong.items() if n] \
            + list(self.faults)


class Stage:
    """Three nodes and two processes of clients.

    ``doomed`` is killed, its clients return to ``refuge``, which has one
    client already, and ``emitter`` emits to all of them.

    :param kind: one of :data:`KINDS`.
    :param stack: ends the processes.
    """
    def __init__(self, kind: str, redis: RedisServer,
                 stack: ExitStack) -> None:
        self.kind = kind
        self.redis = redis
        self.number = 0

        def start(name: str, module: str, *arguments: str) -> Child:
            child = Child(name, module, *arguments)
            stack.callback(child.stop)
            return child

        self.doomed, self.refuge, self.emitter = (
            start(f'{role} node, {KINDS[kind]} recovery', 'benchmarks.node',
                  kind, redis.url)
            for role in ('doomed', 'other', 'emitting'))
        self.few = start('staying clients', 'benchmarks.clients')
        self.many = start('returning clients', 'benchmarks.returning')

    def numbers(self, count: int) -> int:
        """Reserve numbers for messages; return the first."""
        self.number += count
        return self.number - count

    def emit(self, count: int, first: int) -> None:
        """Emit to all returning clients, as fast as possible."""
        self.emitter.ask('burst', to=ALL, first=first, count=count)

    def run(self, clients: int, missed: int,
            spread: tuple[float, float]) -> Outcome:
        """Kill the node, let the clients return, and measure."""
        port = self._connect(clients)
        calm = self._start_live()
        time.sleep(CALM)
        calm = self._stop_live(calm)

        self.doomed.kill()
        self.many.send('wait_closed', timeout=RETURN_TIMEOUT)
        self.many.receive(RETURN_TIMEOUT + 1)
        total = missed + FURTHER
        first = self.numbers(total)
        self.many.ask('arm_missed', first=first, count=total, missed=missed)
        self.emit(missed, first)

        forget_peak(self.refuge)
        before, _ = memory(self.refuge)
        live = self._start_live()
        cpu = self._cpu()
        began = self.many.ask('return_to', port=port, earliest=spread[0],
                              latest=spread[1])['at']
        self.many.send('wait_returned', timeout=RETURN_TIMEOUT + spread[1])
        for index in range(FURTHER):
            self.emit(1, first + missed + index)
            time.sleep(FURTHER_INTERVAL)
        back = self.many.receive(RETURN_TIMEOUT + spread[1] + 1)
        verdict = self._wait_complete() if self.kind == 'recovery' else {}
        elapsed = (time.monotonic_ns() - began) / 1e9
        cpu = [after - each for after, each in zip(self._cpu(), cpu)]
        live = self._stop_live(live)
        after, peak = memory(self.refuge)
        counts = self.refuge.ask('counts')['counts']
        return Outcome(
            back=back['back'], recovered=back['recovered'],
            first_reply=seconds(back['first']),
            median_reply=seconds(back['median']),
            last_reply=seconds(back['last']),
            last_missed=seconds(verdict['missed_at'] - began)
            if verdict.get('missed_at') else None,
            lost=verdict.get('lost', 0),
            duplicates=verdict.get('duplicates', 0),
            disorder=verdict.get('disorder', 0),
            closed=verdict.get('closed', 0),
            memory_before=before, memory_after=after, memory_peak=peak,
            live_messages=live['expected'], live_lost=live['lost'],
            live_calm_median=milliseconds(calm['latency_median']),
            live_calm_p99=milliseconds(calm['latency_p99']),
            live_median=milliseconds(live['latency_median']),
            live_p99=milliseconds(live['latency_p99']),
            live_max=milliseconds(live['latency_max']),
            elapsed=elapsed, node_cpu=cpu[0], emitter_cpu=cpu[1],
            redis_cpu=cpu[2], clients_cpu=cpu[3] + cpu[4],
            faults=(*back['faults'], *(
                f'{count} {name}' for name, count in counts.items())))

    def _connect(self, clients: int) -> int:
        """Connect all clients; return the port of the other node."""
        ports = [node.ask('port')['port'] for node in (
            self.doomed, self.refuge, self.emitter)]
        # A node joins its cluster when its first client connects.
        self.few.ask('connect', group=IDLE, port=ports[2])
        self.sid = self.few.ask('connect', group=STAYING,
                                port=ports[1])['sids'][0]
        self.many.send('connect', group=ALL, port=ports[0], count=clients,
                       room=ALL)
        self.many.receive(CONNECT_TIMEOUT)
        # Now everything has run once, and every client has an offset.
        first = self.numbers(WARM_UP)
        self.few.ask('arm', group=STAYING, first=first, count=WARM_UP)
        self.emitter.ask('burst', to=self.sid, first=first, count=WARM_UP)
        self._arrived(self.few, STAYING)
        first = self.numbers(1)
        self.many.ask('arm_missed', first=first, count=1, missed=0)
        self.emit(1, first)
        self._arrived(self.many, ALL)
        return int(ports[1])

    @staticmethod
    def _arrived(process: Child, group: str) -> None:
        process.send('wait', group=group, timeout=SILENCE, silence=SILENCE)
        lost = process.receive(2 * SILENCE)['lost']
        if lost:
            raise ChildError(f'{lost} messages did not arrive before the '
                             'node was killed')

    def _wait_complete(self) -> dict[str, Any]:
        """Wait until the clients have all messages; return the tally."""
        self.many.send('wait', group=ALL, timeout=RETURN_TIMEOUT,
                       silence=SILENCE)
        self.many.receive(RETURN_TIMEOUT + SILENCE)
        # A second time, for duplicates that arrive later.
        return self.many.ask('verdict', group=ALL, linger=LINGER)

    def _start_live(self) -> dict[str, Any]:
        """Begin to emit to the client that stays."""
        room = int(LIVE_RATE * 2 * (RETURN_TIMEOUT + CALM))
        first = self.numbers(room)
        self.few.ask('arm', group=STAYING, first=first, count=room,
                     latency=True)
        self.emitter.ask('live', to=self.sid, first=first, rate=LIVE_RATE)
        return {'room': room}

    def _stop_live(self, begun: dict[str, Any]) -> dict[str, Any]:
        """Stop; return what arrived."""
        count = self.emitter.ask('stop_live')['count']
        result = self.few.ask('verdict', group=STAYING, linger=1.0)
        return {**result, 'expected': count,
                'lost': result['lost'] - (begun['room'] - count)}

    def _cpu(self) -> list[float]:
        return [self.refuge.cpu(), self.emitter.cpu(), self.redis.cpu(),
                self.many.cpu(), self.few.cpu()]


def seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


ROWS = (
    ('clients returned', 'back'), ('  recovered', 'recovered'),
    ('CONNECT reply, first, s', 'first_reply'),
    ('CONNECT reply, median, s', 'median_reply'),
    ('CONNECT reply, last, s', 'last_reply'),
    ('last missed message, s', 'last_missed'),
    ('memory of the node, before, MiB', 'memory_before'),
    ('  after', 'memory_after'), ('  peak', 'memory_peak'),
    ('latency at the client that stays,', None),
    ('  before, median, ms', 'live_calm_median'),
    ('  before, p99, ms', 'live_calm_p99'),
    ('  during, median, ms', 'live_median'),
    ('  during, p99, ms', 'live_p99'),
    ('  during, longest, ms', 'live_max'),
    ('time in all, s', 'elapsed'),
    ('  CPU of the node, s', 'node_cpu'),
    ('  CPU of the emitting node, s', 'emitter_cpu'),
    ('  CPU of Redis, s', 'redis_cpu'),
    ('  CPU of the clients, s', 'clients_cpu'),
)


def middle(outcomes: Sequence[Outcome], name: str) -> float | None:
    """Return the median of a figure over the rounds."""
    values = [getattr(each, name) for each in outcomes]
    found = [value for value in values if value is not None]
    return median(found) if found else None


def text(results: dict[str, list[Outcome]]) -> str:
    """Return the results as lines for a terminal."""
    heads = ''.join(f'{KINDS[kind]:>10}' for kind in results)
    lines = [f'  {"":35}{heads}']
    for title, name in ROWS:
        cells = '' if name is None else ''.join(
            f'{figure(middle(outcomes, name)):>10}'
            for outcomes in results.values())
        lines.append(f'  {title:35}{cells}')
    for kind, outcomes in results.items():
        problems = [each for outcome in outcomes for each in outcome.problems]
        right = 'every message once, in order' \
            if kind == 'recovery' else 'nothing wrong'
        lines.append(f'  {KINDS[kind]} recovery: '
                     f'{"; ".join(problems) or right}')
    return '\n'.join(lines)


def figure(value: float | None) -> str:
    """Return an integer in full, other numbers with some digits."""
    if value is not None and value == int(value):
        return f'{int(value):,}'
    return number(value)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.recovery',
        description='Kill a node, and measure how its clients return to '
                    'another one.')
    parser.add_argument('--clients', type=int, default=2000, metavar='N',
                        help='number of clients (default: 2000)')
    parser.add_argument('--missed', type=int, default=20, metavar='N',
                        help='messages that each client misses (default: 20)')
    parser.add_argument('--spread', type=float, nargs=2, default=(0.0, 0.0),
                        metavar=('FROM', 'TO'),
                        help='seconds after which the clients return, at '
                             'random; 0.5 1.5 is what the JavaScript client '
                             'does (default: all at once)')
    parser.add_argument('--rounds', type=int, default=1, metavar='N',
                        help='number of rounds (default: 1); figures are '
                             'medians')
    parser.add_argument('--kind', choices=list(KINDS),
                        help='only without recovery (plain), or only with')
    parser.add_argument('--json', metavar='FILE',
                        help='write all measurements to a file')
    parser.add_argument('--check', action='store_true',
                        help='also exit with 1 if the return took more than '
                             f'{TARGET:g} s')
    options = parser.parse_args(arguments)
    if min(options.clients, options.missed, options.rounds) < 1:
        parser.error('numbers must be 1 or more')
    if not 0 <= options.spread[0] <= options.spread[1]:
        parser.error('--spread FROM TO: 0 <= FROM <= TO')
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    options = parse(arguments)
    # SIGTERM unwinds the stack as an interrupt does, so that no process is
    # left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    kinds = [options.kind] if options.kind else list(KINDS)
    results: dict[str, list[Outcome]] = {kind: [] for kind in kinds}
    try:
        for turn in range(options.rounds):
            for kind in kinds:
                # A new Redis each time, so that no data are left in it.
                with RedisServer() as redis, ExitStack() as stack:
                    about = environment(redis)
                    outcome = Stage(kind, redis, stack).run(
                        options.clients, options.missed,
                        tuple(options.spread))
                    results[kind].append(outcome)
                print(f'round {turn + 1}  {KINDS[kind]:8} '
                      f'{outcome.recovered} of {options.clients} recovered '
                      f'{"; ".join(outcome.problems)}',
                      file=sys.stderr, flush=True)
    except (ChildError, EmbeddedRedisError) as exc:
        print(f'failed: {exc}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(', '.join(f'{name} {value}' for name, value in about.items()))
    print(f'{options.clients:,} clients of a killed node return to one other '
          f'node, {options.spread[0]:g} to {options.spread[1]:g} s later;\n'
          f'each has missed {options.missed} messages, and {FURTHER} more '
          f'follow while they return')
    print(text(results))
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as file:
            json.dump({'environment': about, 'rounds': {
                kind: [asdict(each) for each in outcomes]
                for kind, outcomes in results.items()}}, file, indent=2)
            file.write('\n')
    return status(results.get('recovery', []), options)


def status(outcomes: Sequence[Outcome], options: argparse.Namespace) -> int:
    """Return 1 if a client was not recovered or, with ``--check``, if the
    return took too long; else 0."""
    faulty = [each for each in outcomes if each.problems
              or each.recovered < options.clients]
    late = [each for each in outcomes
            if max(each.last_reply or 0.0, each.last_missed or 0.0)
            > TARGET + options.spread[1]]
    if faulty:
        print('delivery at fault', file=sys.stderr)
    return 1 if faulty or (options.check and late) else 0


if __name__ == '__main__':
    sys.exit(main())
