"""``python -m tests.chaos --seconds 300 --seed 1``: see the package.

The same seed makes the same schedule: the same faults, at the same places and
times, of the same lengths. The exit status is 1 if a client has lost a
message, received it twice or out of order, or was not recovered; or if a
server reports a problem, or a process is left.
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

from ..support.forged import forge_of
from ..support.modes import MODES
from ..support.node_process import NodeProcess, RemoteError
from ..support.npm import find_obstacle
from .oracle import check_connects, check_record, due_to, Follower, Message, \
    stored_twice
from .schedule import Fault, make
from .world import BACK_WITHIN, LOAD, OPTIONS, PLACES, RATE, World

#: What ends a run before its account: a condition is not met in time, a
#: server does not answer or its emit raises, or Redis does not answer.
FAILURES = (AssertionError, OSError, RemoteError, redis.RedisError)

#: How many faults may run at the same time: one for each place, and some that
#: last only for a moment.
AT_ONCE = 8

#: The share of the planned messages that has to be emitted: killed servers
#: emit nothing.
LEAST = 0.5

#: How many of the last lines of each process are shown after a failure.
LINES = 40


class Run:
    """One run.

    :param faults: in the order of their beginnings.
    """

    def __init__(self, mode: str, faults: List[Fault]) -> None:
        self._mode = mode
        self._faults = faults
        self._begun = time.monotonic()
        #: The violations, in words. All threads append to it.
        self.violations: List[str] = []

    def say(self, text: str) -> None:
        print(f'{time.monotonic() - self._begun:7.1f} s  {text}', flush=True)

    def work(self, stack: contextlib.ExitStack) -> None:
        """Do everything from the start of the servers to the account."""
        # Linux ends a process together with the thread that started it, see
        # tests/support/leash.py: these threads have to outlive the servers.
        threads = stack.enter_context(
            concurrent.futures.ThreadPoolExecutor(AT_ONCE))
        world = World(self._mode, stack)
        connection = stack.enter_context(world.redis.client())
        follower = Follower(connection, OPTIONS['stream_name'], LOAD)
        follower.start()
        world.start_load()
        self.say(f'{len(world.clients)} clients are connected')
        self._run_faults(world, threads)
        self.say('the faults have ended; the account follows')
        emitted = world.settle()
        self.violations.extend(world.violations)
        self._judge(world, follower, emitted)

    def _run_faults(self, world: World,
                    threads: concurrent.futures.Executor) -> None:
        begun = time.monotonic()

        def run(fault: Fault) -> None:
            try:
                world.run(fault)
            except FAILURES as exc:
                self.violations.append(
                    f'{fault.kind.name} failed: {type(exc).__name__}: {exc}')

        futures = []
        for fault in self._faults:
            threading.Event().wait(
                max(0.0, begun + fault.begin - time.monotonic()))
            self.say(f'{fault.kind.name}, place {fault.place}, '
                     f'{fault.lasts:.1f} s')
            futures.append(threads.submit(run, fault))
        _, unfinished = concurrent.futures.wait(futures, BACK_WITHIN)
        assert not unfinished, 'a fault does not end'

    def _judge(self, world: World, follower: Follower,
               emitted: int) -> None:
        entries = follower.entries(emitted, BACK_WITHIN)
        self.violations.extend(stored_twice(entries))
        due_to_all = delivered = returns = recovered = 0
        for client, members in world.clients:
            log, connects = client.log(), client.connects()
            for member in members:
                due = due_to(member, entries)
                received = [Message(event.name, *event.args) for event in log
                            if event.namespace == member.namespace
                            and event.name.startswith(LOAD)]
                own = [each for each in connects
                       if each.namespace == member.namespace]
                due_to_all += len(due)
                delivered += len(received)
                returns += len(own) - 1
                recovered += sum(each.recovered for each in own[1:])
                found = [
                    *check_record(member, due, received),
                    *check_connects(member, own, lambda sid: world.reason_of(
                        sid, member.namespace))]
                if found:
                    found[-1] += f'\n{client.history(40)}'
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
                        help='how long new faults begin (300)')
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
    # It stays: it starts the servers.
    forge_of(given.mode)
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
