"""Which faults there are, when, at which place, and for how long: decided
before the first one, by the seed alone.

A client that returns while its server has no Redis is connected as new, see
``docs/recovery.rst``. The schedule avoids that: faults between servers and
Redis never run at the same time as faults that make clients return. Faults of
one side overlap, at different places.
"""
import random
from typing import Dict, List, NamedTuple, Sequence, Tuple

#: Seconds between the beginnings of two faults, the least and the most, unless
#: the second one has to wait for another fault.
REST = (0.2, 1.5)

#: Seconds before the first fault.
CALM = 1.0


class Kind(NamedTuple):
    """A kind of fault.

    :param of_redis: whether servers have no Redis during it; if not, clients
                     return because of it.
    :param everywhere: whether it concerns all places, not one.
    :param seconds: how long it lasts, the least and the most.
    :param after: seconds until its effects have ended, too.
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
    :param place: the number of the place, even if the fault is everywhere.
    :param lasts: seconds.
    :param seed: of its further choices, such as which clients.
    """

    kind: Kind
    begin: float
    place: int
    lasts: float
    seed: int


def make(seed: int, seconds: float, places: int,
         kinds: Sequence[Kind] = KINDS) -> List[Fault]:
    """Decide on all faults of a run.

    :param seconds: the time after which no fault begins.
    :param places: the number of places.
    """
    chance = random.Random(seed)
    #: The times from which a place is free, and a side is calm.
    free = [0.0] * places
    calm: Dict[bool, float] = {True: 0.0, False: 0.0}
    faults: List[Fault] = []
    time, deck = CALM, []  # type: float, List[Kind]
    while True:
        # Every kind once before any kind twice, one side after the other.
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
