"""Counts of lost, duplicated and reordered messages."""
from typing import NamedTuple, Sequence


class Account(NamedTuple):
    """The differences between received and emitted messages.

    :param lost: the number of messages that did not arrive.
    :param twice: the number of duplicates.
    :param out_of_order: the number of messages that arrived after a later one.
    :param unknown: the number of messages that were never emitted.
    """

    lost: int
    twice: int
    out_of_order: int
    unknown: int


#: Every message arrived once and in order.
EXACT = Account(0, 0, 0, 0)


def account(received: Sequence[int], emitted: int) -> Account:
    """Compare the numbers of one emitter's messages, in order of arrival,
    with 0, 1, 2, … as they were emitted.

    :param emitted: the number of emitted messages.
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
        unknown=sum(number not in expected for number in seen))
