"""``python -m tests.soak --seconds 60 --seed 1``: see the package.

The same seed makes the same faults, in the same order and of the same
length. The exit status is 1 if a client has not received every message once
and in order, or if a node reports a problem at the end.
"""
import argparse
import contextlib
import random
import sys
import time
from typing import List

import redis

from ..support.modes import MODES
from ..support.node_process import NodeProcess, RemoteError
from .cluster import Cluster
from .faults import FAULTS

#: The longest pause between two faults, in seconds.
REST = 1.5

#: What ends a run before its account: a condition is not met in time, a node
#: does not answer or its emit raises, or Redis does not answer.
FAILURES = (AssertionError, OSError, RemoteError, redis.RedisError)

#: How many of the last lines of each process are shown after a failure.
LINES = 60


def run(mode: str, seconds: float, chance: random.Random,
        stack: contextlib.ExitStack) -> List[str]:
    """Run a cluster through faults.

    :return: the violations.
    """
    cluster = Cluster(mode, stack)
    begun = time.monotonic()
    # Every fault comes once before any comes twice.
    faults = chance.sample(FAULTS, len(FAULTS))
    count = 0
    while time.monotonic() - begun < seconds:
        fault = faults.pop()
        faults = faults or chance.sample(FAULTS, len(FAULTS))
        say(begun, fault.name)
        fault.work(cluster, chance)
        count += 1
        # The pause is part of the schedule.
        time.sleep(chance.uniform(0.0, REST))
    say(begun, f'{count} faults have ended; the account follows')
    emitted = cluster.settle()
    violations = list(cluster.violations(emitted))
    say(begun, f'{sum(emitted.values())} messages to {len(cluster.clients)} '
               f'clients, {cluster.malformed} malformed entries, '
               f'{len(violations)} violations')
    return violations


def say(begun: float, text: str) -> None:
    print(f'{time.monotonic() - begun:7.1f} s  {text}', flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog='python -m tests.soak')
    parser.add_argument('--seconds', type=float, default=60.0,
                        help='how long new faults begin (60)')
    parser.add_argument('--seed', type=int,
                        default=random.SystemRandom().randrange(10**6),
                        help='of the random choices (a new one)')
    parser.add_argument('--mode', choices=MODES, default='gevent',
                        help='how the nodes run their tasks (gevent)')
    given = parser.parse_args()
    print(f'seed {given.seed}; to repeat: python -m tests.soak --seconds '
          f'{given.seconds:g} --seed {given.seed} --mode {given.mode}',
          flush=True)
    with contextlib.ExitStack() as stack:
        try:
            violations = run(given.mode, given.seconds,
                             random.Random(given.seed), stack)
        except FAILURES as exc:
            violations = [f'{type(exc).__name__}: {exc}']
        if violations:
            for node in NodeProcess.running:
                print(f'--- {node.name}\n{node.process.tail(LINES)}')
    for violation in violations:
        print(f'VIOLATION  {violation}')
    print('FAIL' if violations else 'PASS', flush=True)
    return 1 if violations else 0


if __name__ == '__main__':
    sys.exit(main())
