"""The oracle of the chaos run finds violations. The schedule is
reproducible."""
import base64
import json
from collections import Counter
from typing import Any, Callable, List, Optional

import msgpack
import pytest

from ..chaos.oracle import check_connects, check_record, decode, due_to, \
    Entry, Member, Message, stored_twice
from ..chaos.schedule import Fault, KINDS, make
from ..support.js_client import Connect

PREFIX = 'load-'

MEMBER = Member('client 1', '/chat', 'sid-1', frozenset({'sid-1', 'red'}))


def entry(number: int, namespace: str = '/chat', rooms: Any = (),
          excluded: Any = ()) -> Entry:
    return Entry(Message('load-0', number, f'1000-{number}'), namespace,
                 frozenset(rooms), frozenset(excluded))


#: Entries that are due to the member alternate with others.
STREAM = [entry(0), entry(1, '/'), entry(2, rooms=['red']),
          entry(3, rooms=['blue']), entry(4, rooms=['blue', 'sid-1']),
          entry(5, excluded=['red']), entry(6, excluded=['blue']),
          entry(7, rooms=['red'], excluded=['sid-1']), entry(8)]

DUE = due_to(MEMBER, STREAM)


# -- due events -------------------------------------------------------------

def test_due_events() -> None:
    assert [message.number for message in DUE] == [0, 2, 4, 6, 8]


def fields(data: bytes, kind: bytes = b'3') -> Any:
    return {b'uid': b'a', b'nsp': b'/chat', b'type': kind, b'data': data}


CONTENT = {'opts': {'rooms': ['red'], 'except': ['blue'], 'flags': {}},
           'packet': {'type': 2, 'data': ['load-0', 7]}}


@pytest.mark.parametrize('data', [
    json.dumps(CONTENT).encode(),
    base64.b64encode(msgpack.packb(CONTENT))], ids=['json', 'msgpack'])
def test_entries_are_decoded(data: bytes) -> None:
    assert decode(b'1000-7', fields(data), PREFIX) == Entry(
        Message('load-0', 7, '1000-7'), '/chat', frozenset({'red'}),
        frozenset({'blue'}))


@pytest.mark.parametrize('others', [
    {b'uid': b'a', b'nsp': b'/', b'type': b'2'},
    fields(json.dumps(CONTENT).encode(), b'4'),
    fields(json.dumps({**CONTENT, 'packet': {
        'data': ['another']}}).encode())])
def test_other_entries_do_not_count(others: Any) -> None:
    assert decode(b'1000-7', others, PREFIX) is None


def test_entries_stored_twice() -> None:
    again = Entry(Message('load-0', 2, '1000-9'), *STREAM[2][1:])
    assert list(stored_twice(STREAM)) == []
    assert list(stored_twice([*STREAM, again])) == [
        'load-0 2 is stored as 1000-2 and as 1000-9']


# -- falsified records ------------------------------------------------------

def check(came: List[Message]) -> List[str]:
    return list(check_record(MEMBER, DUE, came))


def test_due_events_are_no_violation() -> None:
    assert check(list(DUE)) == []


def lost(came: List[Message]) -> None:
    del came[2]


def last_lost(came: List[Message]) -> None:
    came.pop()


def twice(came: List[Message]) -> None:
    came.insert(3, came[2])


def twice_later(came: List[Message]) -> None:
    came.append(came[0])


def swapped(came: List[Message]) -> None:
    came[1], came[2] = came[2], came[1]


def strange(came: List[Message]) -> None:
    came.insert(1, STREAM[3].message)


def other_offset(came: List[Message]) -> None:
    came[1] = came[1]._replace(offset=came[2].offset)


def instead(came: List[Message]) -> None:
    came[4] = came[3]


@pytest.mark.parametrize('falsify, found', [
    (lost, ['1 lost: load-0 4']), (last_lost, ['1 lost: load-0 8']),
    (twice, ['1 twice: load-0 4: 2 times']),
    (twice_later, ['1 twice: load-0 0', '1 out of order']),
    (swapped, ['1 out of order: load-0 2 at 1000-2 after load-0 4']),
    (strange, ['1 not due: load-0 3']),
    (other_offset, ['1 with another offset: load-0 2']),
    (instead, ['1 lost: load-0 8', '1 twice: load-0 6']),
    (lambda came: came.clear(), ['5 lost'])])
def test_falsified_records_are_found(falsify: Callable[[List[Message]], Any],
                                     found: List[str]) -> None:
    came = list(DUE)
    falsify(came)
    violations = check(came)
    assert len(violations) == len(found)
    for violation, part in zip(violations, found):
        assert violation.startswith('client 1 in /chat: ')
        assert part in violation


def connect(sid: str = 'sid-1', recovered: bool = True) -> Connect:
    return Connect('/chat', sid, recovered, 0)


FIRST = connect(recovered=False)


@pytest.mark.parametrize('connects, found', [
    ([FIRST], None), ([FIRST, connect(), connect()], None),
    ([FIRST, connect(), connect('sid-2', False), connect('sid-2')],
     'not recovered at return 2 of 3: sid-2 for a reason'),
    ([FIRST, connect(recovered=False)], 'not recovered at return 1 of 1'),
    ([], 'was never connected'),
    ([connect('sid-2', False)], 'was never connected')])
def test_client_that_returns_as_a_new_one(connects: List[Connect],
                                          found: Optional[str]) -> None:
    violations = list(check_connects(
        MEMBER, connects, lambda sid: f'{sid} for a reason'))
    if found is None:
        assert violations == []
    else:
        assert found in violations[0]


# -- the schedule -----------------------------------------------------------

@pytest.fixture
def faults() -> List[Fault]:
    return make(7, 300.0, 3)


def test_seed_determines_the_schedule(faults: List[Fault]) -> None:
    assert make(7, 300.0, 3) == faults
    assert make(8, 300.0, 3) != faults
    # A longer schedule begins with the shorter one.
    short = make(7, 60.0, 3)
    assert short == faults[:len(short)]
    assert short[-1].begin <= 60.0 < faults[len(short)].begin


def test_every_kind_of_fault_occurs(faults: List[Fault]) -> None:
    counts = Counter(fault.kind for fault in faults)
    assert set(counts) == set(KINDS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert {fault.kind for fault in make(7, 60.0, 3)} == set(KINDS)


def test_faults_that_exclude_each_other(faults: List[Fault]) -> None:
    overlaps = 0
    for number, first in enumerate(faults):
        over = first.begin + first.lasts + first.kind.after
        for second in faults[number + 1:]:
            assert second.begin > first.begin
            if second.begin >= over:
                continue
            overlaps += 1
            assert first.kind.of_redis == second.kind.of_redis
            assert first.place != second.place
            assert not first.kind.everywhere | second.kind.everywhere
    assert overlaps > len(faults) / 4
