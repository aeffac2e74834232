"""What a reader's entries bring about, for each event that a node makes of
one."""
import threading
from types import SimpleNamespace
from typing import Any, List

import pytest

from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.losses import DELETED, MISSING, TRIMMED
from redis_streams_adapter.protocol.messages import Broadcast, EVERYONE, \
    Heartbeat
from redis_streams_adapter.protocol.events import Act, Completed, \
    Duplicate, Missing, ReaderLags, Returned, Send, Skipped
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry
from redis_streams_adapter.runtime.entries import Entries

ENTRY = Entry(Position(7, 1), (b'uid', b'other'))


class World:
    """The parts that entries are given, which note what is called."""

    def __init__(self) -> None:
        self.calls: List[Any] = []
        #: What the node makes of the next entry.
        self.events: List[Any] = []
        self.core = threading.Lock()
        self.closed = False
        self.status = SimpleNamespace(duplicates=0)
        self.channel: Any = SimpleNamespace(
            key='socket.io', sequences=SimpleNamespace(
                begin=self.note('sequences.begin')),
            knowledge='knowledge', positioned=False, history=None,
            delivery=self.noting('began', 'received', 'history_lost'),
            reader=SimpleNamespace(counts=True, tell=self.note('tell')),
            writer=SimpleNamespace(
                backpressure=self.noting('seen', 'reader_lags')))
        self.channel.delivery.follower = self.noting(
            'arriving', 'came_back', 'moved')
        self.entries = Entries(
            SimpleNamespace(  # type: ignore[arg-type]
                receive=self.receive, recall=self.note('recall'),
                resume=lambda now: self.events),
            self.core, self.noting('resume'),
            self.noting('serve', 'lose_sight'),
            self.status, self.note('lose'),  # type: ignore[arg-type]
            lambda: self.closed, self.note('follow'), self.note('skip'))

    def note(self, name: str) -> Any:
        return lambda *args: self.calls.append((name, *args))

    def noting(self, *names: str) -> Any:
        return SimpleNamespace(**{name: self.note(name) for name in names})

    def receive(self, *args: Any) -> List[Any]:
        assert self.core.locked()
        return self.events

    def take_in(self, *events: Any) -> List[Any]:
        """Take in an entry of which the node makes these events.

        :return: what was called between its arrival and its end.
        """
        self.events = list(events)
        self.entries.take_in(self.channel, ENTRY)
        assert not self.core.locked()
        first, *between, last = self.calls
        assert (first, last) == (('arriving', ENTRY.id), ('moved', ENTRY.id))
        return between


@pytest.fixture
def world() -> World:
    return World()


def test_a_message_of_another_process_is_delivered(world: World) -> None:
    act = Act('/', 'other', Broadcast(('hi',), EVERYONE))
    assert world.take_in(act) == [('received', ENTRY, act)]


def test_an_entry_of_this_process_has_come_back(world: World) -> None:
    assert world.take_in(Returned(5, True)) == [
        ('seen', 5), ('came_back', ENTRY, 5, True)]


def test_nothing_may_follow_the_stream(world: World) -> None:
    world.channel.delivery.follower = None
    act = Act('/', 'other', Broadcast(('hi',), EVERYONE))
    world.events = [Returned(5, True), act]
    world.entries.take_in(world.channel, ENTRY)
    assert world.calls == [('seen', 5), ('received', ENTRY, act)]


def test_missing_messages_are_a_loss(world: World) -> None:
    (name, loss), = world.take_in(Missing('other', 3))
    assert name == 'lose'
    assert (loss.kind, loss.stream, loss.count, loss.uid) == (
        MISSING, 'socket.io', 3, 'other')


def test_a_reader_that_cannot_count_may_have_missed_members(
        world: World) -> None:
    world.channel.reader.counts = False
    assert world.take_in(Missing('other', 3))[1:] == [
        ('lose_sight', world.channel, False)]


def test_a_copy_is_counted_and_nothing_else(world: World) -> None:
    assert world.take_in(Duplicate()) == []
    assert world.status.duplicates == 1


def test_what_is_no_message_is_skipped(world: World) -> None:
    error = DecodeError('nonsense')
    assert world.take_in(Skipped(error)) == [('skip', error, 'entry 7-1')]


def test_the_writer_hears_of_a_reader_that_lags(world: World) -> None:
    assert world.take_in(ReaderLags('other', Position(3, 0))) == [
        ('reader_lags', 'other', Position(3, 0))]


@pytest.mark.parametrize('closed', [False, True])
def test_an_answer_is_reported_to_the_reader_unless_closed(
        world: World, closed: bool) -> None:
    world.closed = closed
    send = Send('/', Heartbeat())
    assert world.take_in(send) == [
        ('follow', send), *([] if closed else [('tell',)])]


def test_all_else_is_followed(world: World) -> None:
    completed = Completed(threading.Event())  # type: ignore[arg-type]
    assert world.take_in(completed) == [('follow', completed)]


def test_an_entry_that_fails_was_taken_in_all_the_same(world: World) -> None:
    def fail(*args: Any) -> None:
        raise ZeroDivisionError

    world.channel.delivery.received = fail
    world.events = [Act('/', 'other', Broadcast(('hi',), EVERYONE))]
    with pytest.raises(ZeroDivisionError):
        world.entries.take_in(world.channel, ENTRY)
    assert world.calls[-1] == ('moved', ENTRY.id)


def test_the_stream_is_followed(world: World) -> None:
    world.entries.began(world.channel, Position(5, 0), 99)
    assert world.calls == [
        ('sequences.begin', Position(5, 0), 99), ('began', Position(5, 0)),
        ('serve',)]
    assert world.channel.positioned


@pytest.mark.parametrize('kind, calls', [
    (TRIMMED, [('lose_sight', False)]),
    (DELETED, [('history_lost',), ('lose_sight', True)])])
def test_lost_history(world: World, kind: str, calls: List[Any]) -> None:
    world.entries.lost_history(world.channel, kind, 4)
    losses = [call[1] for call in world.calls if call[0] == 'lose']
    assert [(loss.kind, loss.count) for loss in losses] == [(kind, 4)]
    assert [(each[0], *each[2:]) for each in world.calls
            if each[0] != 'lose'] == calls


def test_the_history_before_the_first_position(world: World) -> None:
    world.entries.recall(ENTRY, 0.0, 'before')  # type: ignore[arg-type]
    assert world.calls == [('recall', ENTRY, 0.0, 'before')]
    world.entries.recalled(world.channel, ENTRY.id,
                           'span')  # type: ignore[arg-type]
    assert world.channel.history[:2] == (ENTRY.id, 'span')


def test_a_reader_that_gets_through_again(world: World) -> None:
    world.events = ['an event']
    world.entries.resume(world.channel)
    assert world.calls == [('resume', world.channel),
                           ('follow', 'an event')]
