"""Which faults there are, when, where, and for how long: decided before the
first one, by the seed alone.

A client that comes back while its server has no Redis is connected as new,
as ``docs/recovery.rst`` says. That would be nobody's fault, so it does not
happen: faults between servers and Redis and those that make clients come back
are never on their way at the same time. Those of one side overlap, in
different places.
"""
import random
from typing import Dict, List, NamedTuple, Sequence, Tuple

#: Seconds between the beginnings of two faults, when nothing is in the way.
REST = (0.2, 1.5)

#: Seconds before the first one.
CALM = 1.0


class Kind(NamedTuple):
    """A kind of fault.

    :param of_redis: whether servers have no Redis meanwhile; else clients
                     come back because of it.
    :param everywhere: whether it concerns all places, not one.
    :param seconds: how long it lasts: at least, at most.
    :param after: so many seconds later nobody is affected any more.
    """

    name: str
    of_redis: bool
    everywhere: bool
    seconds: Tuple[float, float]
    after: float


KINDS = (
    Kind('server killed', False, False, (0.0, 1.5), 4.0),
    Kind('server restarted', False, False, (0.0, 0.5), 5.0),
    Kind('server frozen', False, False, (0.3, 5.0), 3.0),
    Kind('clients cut off', False, False, (0.1, 3.0), 2.0),
    Kind("clients' connections broken", False, False, (0.0, 0.0), 2.0),
    Kind("clients' connections silent", False, False, (0.0, 1.0), 4.0),
    Kind('clients moved', False, False, (0.0, 0.0), 2.0),
    Kind('clients flapping', False, False, (0.2, 0.6), 2.0),
    Kind('Redis frozen', True, True, (0.2, 4.0), 2.0),
    Kind('Redis connection cut', True, False, (0.1, 3.0), 2.0),
    Kind("Redis' connections broken", True, False, (0.0, 0.0), 1.5),
    Kind("Redis' replies lost", True, False, (0.1, 2.0), 2.0),
    Kind('Redis slow', True, False, (0.5, 2.0), 2.0),
)


class Fault(NamedTuple):
    """One fault.

    :param begin: seconds after the beginning of the run.
    :param place: the number of the place, also where it does not count.
    :param lasts: seconds.
    :param seed: decides the rest, such as which clients.
    """

    kind: Kind
    begin: float
    place: int
    lasts: float
    seed: int


def make(seed: int, seconds: float, places: int,
         kinds: Sequence[Kind] = KINDS) -> List[Fault]:
    """Decide on all faults of a run.

    :param seconds: when the last one has begun, at the latest.
    :param places: how many there are.
    """
    chance = random.Random(seed)
    #: When a place is free, and when one side is calm.
    free = [0.0] * places
    calm: Dict[bool, float] = {True: 0.0, False: 0.0}
    faults: List[Fault] = []
    time, deck = CALM, []  # type: float, List[Kind]
    while True:
        # All of them once before any of them twice, one side after the other.
        deck = deck or sorted(chance.sample(list(kinds), len(kinds)),
                              key=lambda each: each.of_redis)
        kind = deck.pop()
        begin = max(time, calm[not kind.of_redis],
                    (max if kind.everywhere else min)(free))
        place = chance.choice([number for number in range(places)
                               if free[number] <= begin])
        lasts = chance.uniform(*kind.seconds)
        if begin > seconds:
            return faults
        faults.append(Fault(kind, begin, place, lasts,
                            chance.randrange(2**32)))
        over = begin + lasts + kind.after
        calm[kind.of_redis] = max(calm[kind.of_redis], over)
        for each in range(places) if kind.everywhere else [place]:
            free[each] = over
        time = begin + chance.uniform(*REST)
