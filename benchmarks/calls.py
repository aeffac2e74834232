"""Function calls per message, which do not depend on how busy a machine is.

Run as ``python -m benchmarks.calls``; see ``README.rst`` beside this file.

Messages are sent in chunks, each after the one before has arrived. So a chunk
is one batch of the writer and one page of the reader, whatever the machine
does meanwhile. The median over the rounds leaves out what a chunk takes
besides the messages, such as a heartbeat now and then.
"""
import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from .channel import Child, ChildError
from .server import EmbeddedRedisError, RedisServer

CHUNK = 100
"""Messages in a round."""

ROUNDS = 5
"""Rounds of a case, and as many without messages. They are few enough for a
test, and a heartbeat falls into fewer than half of them."""

CLIENTS = 50
"""Clients of the fan-out."""

ONE, MANY, IDLE, NOBODY = 'one', 'many', 'idle', 'nobody'
"""Groups and rooms: of one client, of all those of the fan-out, of the client
of the emitting node, and of no client."""

TIMEOUT = 10.0
"""Seconds for a chunk to arrive."""

LINGER = 0.05
"""Seconds between two checks of whether every node has read a chunk."""

KINDS = {'streams': 'without recovery', 'recovery': 'with recovery'}


class Calls(NamedTuple):
    """Calls per message; in a fan-out, per message and client.

    :param ours: of functions of the package.
    :param every: of all functions.
    """
    ours: float
    every: float


@dataclass(frozen=True)
class Case:
    """One thing to count.

    :param title: how it is presented.
    :param sender: whether the calls of the emitting node count, or those of
                   the other one.
    :param room: which clients of the other node get the messages.
    :param clients: how many these are.
    :param target: how many calls it may take.
    """
    title: str
    sender: bool
    room: str
    clients: int
    target: Calls


CASES = {
    'sending': Case('sending', True, ONE, 1, Calls(25, 80)),
    'receiving': Case('receiving, one client', False, ONE, 1, Calls(15, 60)),
    'nobody': Case('a message for no client here', False, NOBODY, 0,
                   Calls(10, 25)),
    'fanout': Case(f'fan-out to {CLIENTS}, for each client', False, MANY,
                   CLIENTS, Calls(0.5, float('inf'))),
}


class Profiled:
    """Two nodes of one kind that count calls, and their clients.

    :param kind: one of :data:`KINDS`.
    """
    def __init__(self, kind: str, url: str, stack: ExitStack) -> None:
        def start(name: str, module: str, *arguments: str) -> Child:
            child = Child(name, module, *arguments)
            stack.callback(child.stop)
            return child

        self.next_number = 0
        self.clients = start('clients', 'benchmarks.clients')
        self.sender, self.receiver = (
            start(f'{role}, {KINDS[kind]}', 'benchmarks.profiled', kind, url)
            for role in ('sender', 'receiver'))
        # A node joins its cluster when its first client connects.
        for node, group, count in ((self.sender, IDLE, 1),
                                   (self.receiver, ONE, 1),
                                   (self.receiver, MANY, CLIENTS)):
            self.clients.ask('connect', group=group, count=count,
                             port=node.ask('port')['port'], room=group)

    def count(self, case: Case) -> Calls:
        """Return the calls that a message takes."""
        self._round(case, CHUNK)  # everything runs for the first time
        idle = [self._round(case, 0) for _ in range(ROUNDS)]
        rounds = [self._round(case, CHUNK) for _ in range(ROUNDS)]
        each = CHUNK * max(1, case.clients)
        return Calls(*(
            (median(figures) - median(nothing)) / each
            for figures, nothing in zip(zip(*rounds), zip(*idle))))

    def _round(self, case: Case, count: int) -> Calls:
        first, self.next_number = self.next_number, self.next_number + count
        node = self.sender if case.sender else self.receiver
        group = case.room if case.clients else ONE
        self.clients.ask('arm', group=group, first=first,
                         count=count if case.clients else 0)
        self.sender.ask('prepare', first=first, count=count)
        expected = [read + count for read in self._received()]
        node.ask('profile')
        self.sender.ask('chunk', to=case.room)
        self.clients.send('wait', group=group, timeout=TIMEOUT,
                          silence=TIMEOUT)
        lost = self.clients.receive(2 * TIMEOUT)['lost']
        deadline = time.monotonic() + TIMEOUT
        # A node reads what it has sent itself, too, and that counts.
        while True:
            self.clients.ask('verdict', group=group, linger=LINGER)
            late = any(read < goal for read, goal in zip(
                self._received(), expected))
            if not late or time.monotonic() > deadline:
                break
        calls = node.ask('calls')
        if lost or late:
            raise ChildError(f'{case.title}: a chunk did not arrive in time')
        return Calls(calls['ours'], calls['every'])

    def _received(self) -> list[int]:
        """Return how many entries each node has read."""
        return [node.ask('received')['received']
                for node in (self.sender, self.receiver)]


@contextmanager
def profiled(kind: str, url: str) -> Iterator[Profiled]:
    """Yield two nodes.

    :param url: of a Redis of their own.
    """
    with ExitStack() as stack:
        yield Profiled(kind, url, stack)


def measure(kind: str, url: str) -> dict[str, Calls]:
    """Return the calls of all cases."""
    with profiled(kind, url) as nodes:
        return {name: nodes.count(case) for name, case in CASES.items()}


def text(results: dict[str, dict[str, Calls]]) -> str:
    """Return the figures as lines for a terminal."""
    lines = [f'  {"":34}' + ''.join(
        f'{KINDS[kind]:>20}' for kind in results) + f'{"target":>16}',
        f'  {"calls a message":34}'
        + f'{"ours":>12}{"all":>8}' * len(results) + f'{"ours":>9}{"all":>7}']
    for name, case in CASES.items():
        cells = ''.join(f'{found[name].ours:>12.2f}{found[name].every:>8.1f}'
                        for found in results.values())
        every = case.target.every
        lines.append(f'  {case.title:34}{cells}{case.target.ours:>9g}'
                     + (f'{every:>7g}' if every < float('inf') else ''))
    return '\n'.join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Count; return the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.calls',
        description='Count the function calls a message.')
    parser.add_argument('--kind', choices=list(KINDS),
                        help='only without recovery (streams), or only with')
    parser.add_argument('--json', metavar='FILE',
                        help='write the figures there')
    options = parser.parse_args(arguments)
    results: dict[str, dict[str, Calls]] = {}
    try:
        for kind in [options.kind] if options.kind else KINDS:
            print(f'counting {KINDS[kind]}', file=sys.stderr, flush=True)
            with RedisServer() as redis:
                results[kind] = measure(kind, redis.url)
    except (ChildError, EmbeddedRedisError) as exc:
        print(f'failed: {exc}', file=sys.stderr)
        return 2
    print(text(results))
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as file:
            json.dump({kind: {name: calls._asdict()
                              for name, calls in found.items()}
                       for kind, found in results.items()}, file, indent=2)
            file.write('\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
