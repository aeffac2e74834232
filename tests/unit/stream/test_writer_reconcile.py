"""The writer finds stored and vanished entries after a connection broke."""
import logging
from typing import Any, List

import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.stream.outbox import Capacity
from redis_streams_adapter.stream.writer import BREAKS, LARGE, Writer
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.testing.stream import FakeStream, Fault

from ...support.wait import DEADLINE
from ..driving import UntilDone
from .writers import breaks, Make, put, send, stored, unexpected


# -- in doubt ----------------------------------------------------------------

@pytest.mark.parametrize('fault, found', [
    (Fault.BREAK_BEFORE, 0), (Fault.BREAK_AFTER, 3), (Fault.BREAK_LATE, 0)])
def test_in_doubt(writer: Writer, stream: FakeStream, fault: Fault,
                  found: int) -> None:
    put(writer, 1, 2, 3)
    stream.plan('append', fault)
    failures = send(writer)
    assert len(failures) == 1
    assert writer.found_stored == found
    put(writer, 4)
    send(writer)
    # This comes too late: the server has ended its connection.
    stream.arrive()
    assert stored(stream) == [1, 2, 3, 4]
    assert writer.outbox.stored == 4


def test_in_doubt_among_the_entries_of_others(
        writer: Writer, make_writer: Make, stream: FakeStream) -> None:
    """They fill many pages of the search."""
    other = make_writer()
    put(writer, 1)
    send(writer)
    put(other, *range(100, 1600))
    send(other)
    put(writer, 2, 3)
    stream.plan('append', Fault.BREAK_AFTER)
    with pytest.raises(Unavailable):
        writer.work(UntilDone(lambda: False))
    put(other, *range(1600, 3100))
    send(other)
    put(writer, 4)
    send(writer)
    assert [number for number in stored(stream) if number < 100] == [
        1, 2, 3, 4]


@pytest.mark.parametrize('fields', [
    [], [b'x'], [b'wid', b'seq', b'2'], [b'seq', b'2'], [b'seq', b'x'],
    [b'seq', b'-2'], [b'seq', b'999999'], [b'seq', b'9' * 5000]])
@pytest.mark.parametrize('fault', [Fault.BREAK_BEFORE, Fault.BREAK_AFTER])
def test_in_doubt_among_forged_entries(
        writer: Writer, stream: FakeStream, fields: List[bytes],
        fault: Fault) -> None:
    put(writer, 1, 2)
    send(writer)
    put(writer, 3, 4)
    stream.plan('append', fault)
    with pytest.raises(Unavailable):
        writer.work(UntilDone(lambda: False))
    forged = stream.put(b'wid', writer.writer_id, *fields)
    send(writer)
    stream.history = [entry for entry in stream.history
                      if entry.id != forged]
    assert stored(stream) == [1, 2, 3, 4]


def test_several_breaks_in_a_row(writer: Writer, stream: FakeStream) -> None:
    put(writer, 1, 2)
    send(writer)
    put(writer, 3, 4)
    stream.plan('append', Fault.BREAK_AFTER, Fault.BREAK_BEFORE,
                Fault.BREAK_AFTER)
    stream.plan('connect', Fault.NONE, Fault.BREAK_BEFORE,
                Fault.BREAK_BEFORE)
    stream.plan('end_other', Fault.BREAK_BEFORE, Fault.BREAK_AFTER)
    stream.plan('read', Fault.BREAK_BEFORE, Fault.ERROR)
    failures = send(writer)
    assert len(failures) == 7
    put(writer, 5, 6)
    send(writer)
    put(writer, 7)
    send(writer)
    assert not stream.planned
    assert stored(stream) == [1, 2, 3, 4, 5, 6, 7]


def test_in_doubt_before_anything_was_acknowledged(
        writer: Writer, stream: FakeStream) -> None:
    stream.put(b'number', b'0')
    stream.plan('append', Fault.BREAK_AFTER)
    put(writer, 1)
    send(writer)
    assert stored(stream) == [0, 1]


def test_in_doubt_without_the_right_to_end_connections(
        writer: Writer, stream: FakeStream) -> None:
    """A copy may arrive later. Readers recognise it by its number."""
    stream.permissive = False
    put(writer, 1)
    stream.plan('append', Fault.BREAK_LATE)
    send(writer)
    put(writer, 2)
    send(writer)
    stream.arrive()
    assert stored(stream) == [1, 2, 1]
    assert stream.entries[0].fields == stream.entries[2].fields


def test_in_doubt_and_trimmed(writer: Writer, stream: FakeStream) -> None:
    """An entry with an unknown result is sent again, not lost."""
    put(writer, 1)
    stream.plan('append', Fault.BREAK_AFTER)
    with pytest.raises(Unavailable):
        writer.work(UntilDone(lambda: False))
    stream.trim()
    send(writer)
    assert stored(stream) == [1, 1]
    assert stream.history[0].fields == stream.history[1].fields


def test_in_doubt_after_a_refused_entry(writer: Writer,
                                        stream: FakeStream) -> None:
    """The numbers then have a gap."""
    stream.chokes_on = lambda fields: fields[1] == b'2'
    put(writer, 1, 2, 3)
    stream.plan('append', Fault.NONE, Fault.BREAK_AFTER)
    with pytest.raises(Unavailable):
        writer.work(UntilDone(lambda: False))
    with pytest.raises(Unavailable):
        writer.work(UntilDone(lambda: False))
    put(writer, 4, 5)
    send(writer)
    assert stored(stream) == [1, 3, 4, 5]
    assert (writer.outbox.stored, writer.outbox.refused) == (4, 1)


faults = st.lists(st.sampled_from(list(Fault)), max_size=6)


@given(plans=st.lists(st.tuples(
    st.integers(0, 5), faults, faults, faults, faults), max_size=8),
    refused=st.sets(st.integers(0, 40), max_size=3),
    choking=st.sets(st.integers(0, 40), max_size=3))
def test_exactly_once_and_in_order(plans: Any, refused: Any,
                                   choking: Any) -> None:
    """This holds for any sequence of faults."""
    stream = FakeStream()
    writer = Writer(stream.link, ThreadEngine(),
                    lambda: logging.getLogger('tests.unit.quiet'),
                    capacity=Capacity(1000, 1 << 30), patience=DEADLINE,
                    vanished=unexpected)
    # If the reply to a batch with a refused entry is lost, its result cannot
    # be determined.
    stream.refuses = lambda fields: False
    stream.chokes_on = lambda fields: int(fields[1]) in choking | refused
    number = 0
    for count, *planned in plans:
        for operation, some in zip(
                ('append', 'read', 'connect', 'end_other'), planned):
            stream.plan(operation, *some)
        put(writer, *range(number, number + count))
        number += count
        send(writer)
        stream.arrive()
    assert stored(stream) == [
        each for each in range(number) if each not in choking | refused]


logging.getLogger('tests.unit.quiet').setLevel(logging.CRITICAL + 1)


@pytest.mark.parametrize('fault', [Fault.BREAK_BEFORE, Fault.BREAK_AFTER])
@pytest.mark.parametrize('flight', [
    [False], [True, False], [False, True], [False, False]])
def test_heartbeats_in_doubt(writer: Writer, stream: FakeStream, fault: Fault,
                             flight: List[bool]) -> None:
    put(writer, 0)
    send(writer)
    for number, numbered in enumerate(flight, 1):
        writer.append([b'number', b'%d' % number], numbered)
    stream.plan('append', fault)
    send(writer)
    assert stored(stream) == list(range(len(flight) + 1))


# -- vanished entries --------------------------------------------------------

@pytest.mark.parametrize('size', [1, 4])
@pytest.mark.parametrize('kept', range(0, 8, 4))
@pytest.mark.parametrize('quicker', [False, True])
def test_failover_that_lost_acknowledged_entries(make_writer: Make,
                                                 stream: FakeStream, log: Any,
                                                 size: int, kept: int,
                                                 quicker: bool) -> None:
    writer = make_writer(vanished=log)
    stream.put(b'the', b'first')
    for start in range(0, 8, size):
        put(writer, *range(start, start + size))
        send(writer)
    breaks(writer, stream)
    stream.set_back(stream.entries[kept].id)
    if quicker:
        stream.advance(60)
        stream.put(b'of', b'another')
    send(writer)
    assert log.calls == [8 - kept]
    put(writer, 1000)
    breaks(writer, stream)
    send(writer)
    assert log.calls == [8 - kept]
    assert [entry.fields[1] for entry in stream.entries
            if entry.fields[0] == b'number'] == [
        b'%d' % number for number in (*range(kept), 999, 1000, 999)]


def test_vanished_heartbeats_are_no_loss(writer: Writer,
                                         stream: FakeStream) -> None:
    put(writer, 1)
    send(writer)
    writer.append([b'number', b'2'], numbered=False)
    send(writer)
    breaks(writer, stream)
    stream.set_back(stream.entries[0].id)
    send(writer)
    assert stored(stream) == [1, 2, 999]


@pytest.mark.parametrize('how', ['trim', 'delete', 'begin again'])
def test_entries_of_a_deleted_stream_have_not_vanished(writer: Writer,
                                                       stream: FakeStream,
                                                       how: str) -> None:
    """The readers report the deletion and the entries that they miss."""
    put(writer, *range(4))
    send(writer)
    breaks(writer, stream)
    if how == 'trim':
        stream.trim()
    else:
        stream.delete()
    if how == 'begin again':
        stream.advance(60)
        stream.put(b'of', b'1000')
    send(writer)
    breaks(writer, stream)
    send(writer)
    assert [number for number in stored(stream) if number < 1000] == [
        0, 1, 2, 3, 999, 999]


def test_writer_found_in_doubt_did_not_begin_with_a_later_stream(
        writer: Writer, stream: FakeStream) -> None:
    """Readers of that stream would miss the entries of the deleted one."""
    put(writer, 1, 2)
    stream.plan('append', Fault.BREAK_AFTER)
    send(writer)
    breaks(writer, stream)
    stream.delete()
    send(writer)
    put(writer, 3)
    send(writer)
    assert stored(stream) == [1, 2, 999, 3]
    assert {entry.fields[-1] for entry in stream.history} == {b'0-0'}


def test_failover_after_much_was_trimmed(make_writer: Make, stream: FakeStream,
                                         log: Any) -> None:
    writer = make_writer(vanished=log)
    for number in range(20):
        put(writer, number)
        send(writer)
    stream.trim(keep=5)
    breaks(writer, stream)
    stream.set_back(stream.entries[1].id)
    send(writer)
    assert log.calls == [3]


# -- replicas ----------------------------------------------------------------

def test_unreplicated_entries_are_not_acknowledged(make_writer: Make,
                                                   stream: FakeStream) -> None:
    writer = make_writer(replicated=True)
    pending, *_ = put(writer, 1, 2)
    stream.plan('append', Fault.LAG, Fault.LAG)
    for _ in range(2):
        with pytest.raises(Unavailable, match='replicas'):
            writer.work(UntilDone(lambda: False))
        assert len(writer.outbox) == 2 and not pending.settled
    send(writer)
    assert pending.settled
    # The entries were found, and not sent again. The others are the probes of
    # the writer.
    assert [entry.fields[1] for entry in stream.history] == [
        b'1', b'2', b'emitter', b'emitter']


def test_large_entry_is_not_refused_for_lagging_replicas(
        make_writer: Make, stream: FakeStream) -> None:
    writer = make_writer(replicated=True)
    pending, = put(writer, 1, filling=LARGE)
    stream.plan('append', *[Fault.LAG] * (BREAKS + 2))
    send(writer)
    assert pending.settled and pending.refused is None
