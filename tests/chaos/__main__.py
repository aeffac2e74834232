"""``python -m tests.chaos --seconds 300 --seed 1``: see the package.

The same seed makes the same schedule: the same faults, of the same places and
lengths, at the same times. The exit status is 1 where a client has lost
something, or got it twice or in another order, or came back as somebody else;
and where a server complains, or a process is left.
"""
import argparse
import concurrent.futures
import contextlib
import random
import sys
import threading
import time
import traceback
from collections import Counter
from typing import List, Optional

import psutil
import redis

from ..support.modes import MODES
from ..support.node_process import NodeProcess, RemoteError
from ..support.npm import find_obstacle
from .oracle import check_connects, check_record, due_to, Follower, Message, \
    stored_twice
from .schedule import Fault, make
from .world import BACK_WITHIN, LOAD, OPTIONS, PLACES, RATE, World

#: What ends a run before its account: something was waited for in vain; a
#: server does not answer, or its emit has raised; Redis does not answer.
FAILURES = (AssertionError, OSError, RemoteError, redis.RedisError)

#: Faults that may be on their way at the same time: as many as places, and
#: those that last for a moment only.
AT_ONCE = 8

#: The share of the messages that there are at least: servers that are gone
#: emit nothing.
LEAST = 0.5

#: How many of the last lines of each process are shown after a failure.
LINES = 40


class Run:
    """One run.

    :param faults: those that are to be, in the order of their beginnings.
    """

    def __init__(self, mode: str, faults: List[Fault]) -> None:
        self._mode = mode
        self._faults = faults
        self._begun = time.monotonic()
        #: What was not as it has to be. Appended to by all threads.
        self.violations: List[str] = []

    def say(self, text: str) -> None:
        print(f'{time.monotonic() - self._begun:7.1f} s  {text}', flush=True)

    def work(self, stack: contextlib.ExitStack) -> None:
        """From the start of the servers to the account."""
        # Linux ends a process with the thread that has started it, see
        # tests/support/leash.py: these have to outlive the servers.
        threads = stack.enter_context(
            concurrent.futures.ThreadPoolExecutor(AT_ONCE))
        world = World(self._mode, stack)
        connection = stack.enter_context(world.redis.client())
        follower = Follower(connection, OPTIONS['stream_name'], LOAD)
        follower.start()
        world.start_load()
        self.say(f'{len(world.clients)} clients are connected')
        self._let_go_wrong(world, threads)
        self.say('the faults are over; the account follows')
        emitted = world.settle()
        self.violations.extend(world.complaints)
        self._judge(world, follower, emitted)

    def _let_go_wrong(self, world: World,
                      threads: concurrent.futures.Executor) -> None:
        begun = time.monotonic()

        def bring_about(fault: Fault) -> None:
            try:
                world.bring_about(fault)
            except FAILURES as exc:
                self.violations.append(
                    f'{fault.kind.name} failed: {type(exc).__name__}: {exc}')

        futures = []
        for fault in self._faults:
            threading.Event().wait(
                max(0.0, begun + fault.begin - time.monotonic()))
            self.say(f'{fault.kind.name}, place {fault.place}, '
                     f'{fault.lasts:.1f} s')
            futures.append(threads.submit(bring_about, fault))
        _, unfinished = concurrent.futures.wait(futures, BACK_WITHIN)
        assert not unfinished, 'a fault has no end'

    def _judge(self, world: World, follower: Follower,
               emitted: int) -> None:
        entries = follower.entries(emitted, BACK_WITHIN)
        self.violations.extend(stored_twice(entries))
        due_to_all = delivered = returns = recovered = 0
        for client, members in world.clients:
            log, connects = client.log(), client.connects()
            for member in members:
                due = due_to(member, entries)
                came = [Message(event.name, *event.args) for event in log
                        if event.namespace == member.namespace
                        and event.name.startswith(LOAD)]
                here = [each for each in connects
                        if each.namespace == member.namespace]
                due_to_all += len(due)
                delivered += len(came)
                returns += len(here) - 1
                recovered += sum(each.recovered for each in here[1:])
                found = [*check_record(member, due, came), *check_connects(
                    member, here, lambda sid: world.reason_of(
                        sid, member.namespace))]
                if found:
                    found[-1] += f'\n{client.story(40)}'
                self.violations.extend(found)
        for kind, count in sorted(Counter(
                fault.kind.name for fault in self._faults).items()):
            print(f'{count:9} {kind}')
        print(f'{len(entries):9} messages in the stream\n'
              f'{due_to_all:9} deliveries due\n{delivered:9} delivered\n'
              f'{returns:9} returns of clients, {recovered} recovered',
              flush=True)
        expected = RATE * self._faults[-1].begin * LEAST
        if len(entries) < expected:
            self.violations.append(
                f'only {len(entries)} messages, not {expected:.0f}')


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m tests.chaos')
    parser.add_argument('--seconds', type=float, default=300.0,
                        help='for so long there are new faults (300)')
    parser.add_argument('--seed', type=int,
                        default=random.SystemRandom().randrange(10**6),
                        help='of the schedule (a new one)')
    parser.add_argument('--mode', choices=MODES, default='gevent',
                        help='how the servers run their tasks (gevent)')
    given = parser.parse_args(argv)
    print(f'seed {given.seed}; to repeat: python -m tests.chaos --seconds '
          f'{given.seconds:g} --seed {given.seed} --mode {given.mode}',
          flush=True)
    obstacle = find_obstacle()
    if obstacle is not None:
        print(f'FAIL: {obstacle}')
        return 1
    run = Run(given.mode, make(given.seed, given.seconds, PLACES))
    before = {each.pid for each in psutil.Process().children(recursive=True)}
    with contextlib.ExitStack() as stack:
        try:
            run.work(stack)
        except FAILURES as exc:
            run.violations.append(
                f'{type(exc).__name__}: {exc}\n{traceback.format_exc()}')
        if run.violations:
            for node in NodeProcess.running:
                print(f'--- {node.name}\n{node.process.tail(LINES)}')
    run.violations.extend(
        f'{each} is left' for each
        in psutil.Process().children(recursive=True)
        if each.pid not in before)
    for violation in run.violations:
        print(f'VIOLATION  {violation}')
    print(f'{len(run.violations)} violations with seed {given.seed}\n'
          + ('FAIL' if run.violations else 'PASS'), flush=True)
    return 1 if run.violations else 0


if __name__ == '__main__':
    sys.exit(main())
