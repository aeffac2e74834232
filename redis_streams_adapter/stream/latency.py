"""How long entries took, counted in buckets. Pure.

A batch or a page is measured once: each entry in it counts with the time of
the oldest one. So the times are upper bounds, and a measurement costs the same
for one entry as for 500.
"""
from typing import Dict, Iterable, List

#: The upper bounds of the buckets, in seconds; the last bucket has none. A
#: message takes about a millisecond on an idle machine; an outage of Redis
#: lasts minutes.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
          1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

#: The names of the buckets, as Prometheus has them, and that of the sum.
INFINITE = '+Inf'
NAMES = (*map(str, BOUNDS), INFINITE)
SUM = 'sum'


class Latency:
    """Times of entries of one kind.

    One task counts. Others may read at any time: the sum and the counts may
    differ by one measurement then. If an exception strikes between the two,
    they do so for good.
    """

    __slots__ = ('counts', 'sum')

    def __init__(self) -> None:
        #: How many entries are in each bucket.
        self.counts: List[int] = [0] * len(NAMES)
        #: The sum of their times, in seconds.
        self.sum = 0.0

    def add(self, seconds: float, entries: int) -> None:
        """Count entries.

        :param seconds: how long the oldest of them took. Below 0: clocks
                        differ, and it counts as 0.
        """
        # Not bisect: a call more for each page, and most are below 5 ms.
        index = 0
        for bound in BOUNDS:
            if seconds <= bound:
                break
            index += 1
        self.counts[index] += entries
        if seconds > 0:
            self.sum += seconds * entries


def total(latencies: Iterable[Latency]) -> Dict[str, float]:
    """The counts of several together.

    :return: how many entries took at most as long as each of :data:`NAMES`
             says, in seconds, and their :data:`SUM`.
    """
    each = list(latencies)
    found: Dict[str, float] = {}
    count = 0
    for name, *counts in zip(NAMES, *(one.counts for one in each)):
        count += sum(counts)
        found[name] = count
    found[SUM] = round(sum(one.sum for one in each), 6)
    return found
