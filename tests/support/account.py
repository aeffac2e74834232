"""Counts of lost, duplicated and reordered messages."""
from typing import NamedTuple, Sequence


class Account(NamedTuple):
    """How the messages that were received differ from those emitted.

    :param lost: how many never arrived.
    :param twice: how many arrived more than once.
    :param out_of_order: how many arrived after a later one.
    :param strange: how many were never emitted.
    """

    lost: int
    twice: int
    out_of_order: int
    strange: int


#: Every message, once, in order.
EXACT = Account(0, 0, 0, 0)


def account(received: Sequence[int], emitted: int) -> Account:
    """Compare the numbers of one emitter's messages, in order of arrival,
    with 0, 1, 2, … as they were emitted.

    :param emitted: how many there were.
    """
    highest = -1
    late = 0
    seen = set()
    for number in received:
        if number in seen:
            continue
        seen.add(number)
        if number < highest:
            late += 1
        highest = max(highest, number)
    expected = range(emitted)
    return Account(
        lost=len(set(expected) - seen), twice=len(received) - len(seen),
        out_of_order=late,
        strange=sum(number not in expected for number in seen))
