"""A stream and its process: what happens to each entry, and what processes
report to each other about their readers."""
import threading
from types import SimpleNamespace
from typing import Any, Dict, List, Optional

import pytest

from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.errors import DecodeError, OutboxFullError
from redis_streams_adapter.losses import DELETED, MISSING, TRIMMED
from redis_streams_adapter.options import Options
from redis_streams_adapter.protocol.codec import decode, Encoder, open_envelope
from redis_streams_adapter.protocol.discovery import Span
from redis_streams_adapter.protocol.events import Act, Completed, \
    Duplicate, Learned, Missing, ReaderReports, ReadersAsked, Returned, \
    Send, Skipped
from redis_streams_adapter.protocol.flow_control import mark_every
from redis_streams_adapter.protocol.messages import Broadcast, CAUGHT_UP, \
    EMITTER_UID, EVERYONE, Heartbeat, InitialHeartbeat, Message
from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.routing import stream_index
from redis_streams_adapter.protocol.transport import Entry
from redis_streams_adapter.runtime import channel as channel_module
from redis_streams_adapter.runtime.channel import Channel, REPORT_WITHIN
from redis_streams_adapter.runtime.tasks import State
from redis_streams_adapter.stream.outbox import Capacity

ENTRY = Entry(Position(7, 1), (b'uid', b'other'))

MAX_LEN = 1000

THERE = Position(5, 1)

#: Two namespaces; with two streams the second one goes elsewhere.
HERE, ELSEWHERE = '/', '/a'
INDEX = stream_index(HERE, 2)


class World:
    """The channel of ``/``, and the parts that it is given, which note what
    is called."""

    def __init__(self) -> None:
        self.calls: List[Any] = []
        #: What the node makes of the next entry.
        self.events: List[Any] = []
        #: What was sent at once.
        self.said: List[Any] = []
        self.readers: Dict[str, List[str]] = {}
        #: How much its writer has heard to be read.
        self.marks: List[Any] = []
        #: The namespaces that this process has joined, to its writer.
        self.joined = [HERE]
        self.core = threading.Lock()
        #: What the short way makes of an entry.
        self.plain: Any = None
        self.state = State()
        self.state.member = True
        self.node: Any = SimpleNamespace(
            uid='me', others=0, namespaces=[ELSEWHERE, HERE],
            receive=self.receive, recall=self.note('recall'),
            forget=self.note('forget'),
            plain_events=SimpleNamespace(receive=self.receive_plain),
            resume=lambda now: self.events,
            announcements=SimpleNamespace(carrier=lambda stream: next(iter(
                self.channel.carried(self.node.namespaces)), None)),
            nodes_to_ask=lambda namespaces: self.readers)
        self.channel = channel = self.make()
        made: Any = channel
        made.writer = SimpleNamespace(
            writer_id=b'me', outbox=SimpleNamespace(closed=False),
            append_urgent=self.said.append, backpressure=self.noting(
                'await_reader', 'reader_lags', 'node_reported', 'seen',
                'asked'))
        made.writer.backpressure.heard = 40
        made.writer.backpressure.passed = self.passed
        made.writer.backpressure.set_window = self.set_window
        made.reader = SimpleNamespace(
            counts=True, connected=True, received=0, lags=False,
            report_position=self.note('report_position'))
        made.sequences = SimpleNamespace(begin=self.note('sequences.begin'))
        made.signature = SimpleNamespace(
            joined=lambda namespace: namespace in self.joined)

    def make(self) -> Channel:
        driver: Any = SimpleNamespace(socket_timeout=5.0)
        delivery = self.noting('began', 'received', 'history_lost')
        delivery.follower = self.noting('came_back', 'moved')
        delivery.follower.position = START
        logger: Any = None
        options = Options(stream_count=2, max_len=MAX_LEN)
        return Channel(
            INDEX, 'socket.io', options, driver, ThreadEngine(), logger,
            Capacity(10, 10_000), self.node, self.core,  # type: ignore
            Encoder('me'), self.state, SimpleNamespace(  # type: ignore
                of_stream=lambda writer_id, arrived: delivery),
            self.note('serve'), self.note('lose_sight'), self.note('lose'),
            self.note('skip'), self.note('no_room'),
            self.note('carry_out'))

    def note(self, name: str) -> Any:
        return lambda *args: self.calls.append((name, *args))

    def set_window(self, window: int, hearing: bool,
                   reach: Optional[int]) -> None:
        self.calls.append(('set_window', window, hearing, reach))

    def passed(self, position: Position, count: int) -> None:
        self.marks.append((position, count))

    def noting(self, *names: str) -> Any:
        return SimpleNamespace(**{name: self.note(name) for name in names})

    def receive(self, *args: Any) -> List[Any]:
        assert self.core.locked()
        return self.events

    def receive_plain(self, *args: Any) -> Any:
        assert self.core.locked()
        return self.plain

    def take_in(self, *events: Any) -> List[Any]:
        """Take in an entry of which the node makes these events.

        :return: what was called before its end.
        """
        self.events = list(events)
        self.channel.take_in(ENTRY)
        assert not self.core.locked()
        *before, last = self.calls
        assert last == ('moved', ENTRY.id)
        assert self.channel.arrived == ENTRY.id
        return before

    def overhear(self, message: Message, uid: str = 'other',
                 writer: bytes = b'other', number: int = 7) -> None:
        self.channel.overhear(Entry(THERE, (
            *Encoder(uid).encode('/', message), b'wid', writer,
            b'seq', b'%d' % number, b'since', b'0')))


@pytest.fixture
def world() -> World:
    return World()


def test_channels_are_compared_by_identity(world: World) -> None:
    """They are looked for in lists, and two may have equal parts."""
    first, second = world.make(), world.make()
    assert first != second
    assert first in [second, first]
    assert not first.sending and not first.positioned


def test_restart_ignores_former_writer(world: World) -> None:
    """What its clients had from the former runtime does not come again, and
    no former writer counts as another process."""
    first, second, third = (world.make() for _ in range(3))
    first.reader.cursor = Position(7)
    second.succeed(first)
    assert second.reader.skip_to == Position(7)
    assert second.sequences.former == {first.writer.writer_id}
    third.succeed(second)
    assert third.sequences.former == {
        first.writer.writer_id, second.writer.writer_id}


def test_channel_knows_its_namespaces(world: World) -> None:
    assert world.channel.carried([ELSEWHERE, HERE]) == [HERE]
    assert world.channel.carried([ELSEWHERE]) == []


# -- what the reader reads ---------------------------------------------------

def test_message_of_other_process_is_delivered(world: World) -> None:
    act = Act('/', 'other', Broadcast(('hi',), EVERYONE))
    assert world.take_in(act) == [('received', ENTRY, act)]


def test_plain_event_takes_the_short_way(world: World) -> None:
    world.plain = [Act('/', 'other', Broadcast(('hi',)))]
    assert world.take_in(Missing('other', 1)) == [
        ('received', ENTRY, world.plain[0])]


def test_entry_of_this_process_is_recognized(world: World) -> None:
    assert world.take_in(Returned(5, True)) == [
        ('seen', 5), ('came_back', ENTRY, 5, True)]


def test_writer_learns_once_a_page_what_was_read(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And in between if a page takes long."""
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=100.0)
    monkeypatch.setattr(channel_module, 'time', clock)
    delivery: Any = world.channel.delivery
    delivery.follower = None
    world.channel.report_returned()
    for number in (5, 6, 7):
        world.events = [Returned(number, True)]
        world.channel.take_in(ENTRY)
    assert world.calls == []
    for _ in range(2):
        world.channel.report_returned()
        assert world.calls == [('seen', 7)]
    clock.now += 2 * REPORT_WITHIN
    world.events = [Returned(8, True)]
    world.channel.take_in(ENTRY)
    assert world.calls[1:] == [('seen', 8)]


def test_slow_messages_of_others_delay_no_report(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer may wait for room, and its last entry may be read long
    before the page ends."""
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=100.0)
    monkeypatch.setattr(channel_module, 'time', clock)
    delivery: Any = world.channel.delivery
    delivery.follower = None
    world.channel.report_returned()
    world.events = [Returned(5, True)]
    world.channel.take_in(ENTRY)
    assert world.calls == []
    clock.now += 2 * REPORT_WITHIN
    act = Act('/', 'other', Broadcast(('hi',), EVERYONE))
    world.events = [act]
    world.channel.take_in(ENTRY)
    assert world.calls == [('seen', 5), ('received', ENTRY, act)]


def test_writer_learns_how_much_was_read(world: World) -> None:
    """Of the entries of all writers, once in a while."""
    delivery: Any = world.channel.delivery
    delivery.follower = None
    world.channel.report_returned()
    # Nothing was read yet.
    assert world.marks == []
    reader = world.channel.reader
    step = mark_every(MAX_LEN)
    for reader.received in range(1, 3 * step):
        world.channel.take_in(
            Entry(Position(7, reader.received), ENTRY.fields))
        world.channel.report_returned()
    assert world.marks == [(Position(7, count), count)
                           for count in (1, 1 + step, 1 + 2 * step)]


def test_returning_reader_reports_what_was_read_before(world: World) -> None:
    """An exception may have ended its page."""
    delivery: Any = world.channel.delivery
    delivery.follower = None
    world.channel.report_returned()
    world.events = [Returned(5, True)]
    world.channel.take_in(ENTRY)
    world.events = []
    world.channel.resume()
    assert ('seen', 5) in world.calls


def test_delivery_may_ignore_local_entries(world: World) -> None:
    delivery: Any = world.channel.delivery
    delivery.follower = None
    act = Act('/', 'other', Broadcast(('hi',), EVERYONE))
    world.events = [Returned(5, True), act]
    world.channel.take_in(ENTRY)
    assert world.calls == [('seen', 5), ('received', ENTRY, act)]


def test_missing_messages_are_reported(world: World) -> None:
    (name, loss), = world.take_in(Missing('other', 3))
    assert name == 'lose'
    assert (loss.kind, loss.stream, loss.count, loss.uid) == (
        MISSING, 'socket.io', 3, 'other')


def test_missing_entries_of_uncounted_stream_hide_members(
        world: World) -> None:
    world.channel.reader.counts = False
    assert world.take_in(Missing('other', 3))[1:] == [
        ('lose_sight', world.channel, False)]


def test_duplicate_is_only_counted(world: World) -> None:
    assert world.take_in(Duplicate()) == []
    assert world.channel.duplicates == 1


def test_malformed_entry_is_skipped(world: World) -> None:
    error = DecodeError('nonsense')
    assert world.take_in(Skipped(error)) == [('skip', error, 'entry 7-1')]


def test_writer_learns_of_lagging_reader(world: World) -> None:
    for report in (('other', Position(3, 0), True),
                   ('other', Position(3, 0), False), ('other', None, False)):
        world.calls.clear()
        assert world.take_in(ReaderReports(*report)) == [
            ('node_reported', *report)]


@pytest.mark.parametrize('lags', [False, True])
def test_question_is_answered_with_the_position(
        world: World, lags: bool) -> None:
    """At once, ahead of the outbox, and as an emitter."""
    world.channel.reader.received = 12
    world.channel.reader.lags = lags  # type: ignore[misc]
    # With this entry.
    assert world.take_in(ReadersAsked()) == [('asked', ENTRY.id, 13)]
    report = open_envelope(world.said.pop())
    assert report.uid == EMITTER_UID
    message = decode(report)
    assert isinstance(message, Heartbeat) and message.reader == 'me'
    assert (message.behind or None, message.read) == (
        (ENTRY.id, None) if lags else (None, ENTRY.id))


def test_closed_process_answers_no_question(world: World) -> None:
    """Its answer might follow its goodbye, and nobody waits for it."""
    world.state.closed = True
    assert world.take_in(ReadersAsked()) == [('asked', ENTRY.id, 1)]
    assert world.said == []


@pytest.mark.parametrize('closed', [False, True])
@pytest.mark.parametrize('event', [Send('/', Heartbeat()), Learned()])
def test_position_is_reported_when_a_node_joins_unless_closed(
        world: World, event: Any, closed: bool) -> None:
    """Another one, or this one."""
    world.state.closed = closed
    assert world.take_in(event) == [
        ('carry_out', event), *([] if closed else [('report_position',)])]


def test_other_messages_are_executed(world: World) -> None:
    completed = Completed(threading.Event())  # type: ignore[arg-type]
    assert world.take_in(completed) == [('carry_out', completed)]


def test_position_is_told_once(world: World) -> None:
    world.channel.delivery.follower.position = ENTRY.id
    world.channel.take_in(ENTRY)
    assert world.calls == []


def test_failing_entry_counts_as_read(world: World) -> None:
    def fail(*args: Any) -> None:
        raise ZeroDivisionError

    world.channel.delivery.received = fail
    world.events = [Act('/', 'other', Broadcast(('hi',), EVERYONE))]
    with pytest.raises(ZeroDivisionError):
        world.channel.take_in(ENTRY)
    assert world.calls[-1] == ('moved', ENTRY.id)


def test_event_whose_text_is_malformed_is_skipped(world: World) -> None:
    """It is read only when a client gets it."""
    error = DecodeError('nonsense')

    def fail(*args: Any) -> None:
        raise error

    delivery: Any = world.channel.delivery
    delivery.received = fail
    assert world.take_in(Act('/', 'other', Broadcast(('hi',), EVERYONE))) == [
        ('skip', error, 'entry 7-1')]


def test_there_is_no_room_for_an_answer(world: World) -> None:
    """A line in the log says so, not a traceback for each request."""
    def answer(*args: Any) -> None:
        raise OutboxFullError('the outbox is full')

    delivery: Any = world.channel.delivery
    delivery.received = answer
    reader: Any = world.channel.reader
    reader.failed = 0
    call = world.take_in(Act('/', 'other', Broadcast(('hi',), EVERYONE)))
    assert [(name, what, str(error)) for name, what, error in call] == [
        ('no_room', 'entry 7-1', 'the outbox is full')]
    assert reader.failed == 1


def test_followed_stream_serves_namespaces(world: World) -> None:
    world.channel.began(Position(5, 0), 99)
    assert world.calls == [
        ('sequences.begin', Position(5, 0), 99), ('began', Position(5, 0)),
        ('serve',)]
    assert world.channel.positioned


@pytest.mark.parametrize('kind, calls', [
    (TRIMMED, [('lose_sight', False)]),
    (DELETED, [('history_lost',), ('lose_sight', True)])])
def test_lost_history_is_reported(world: World, kind: str,
                                  calls: List[Any]) -> None:
    world.channel.lost_history(kind, 4)
    losses = [call[1] for call in world.calls if call[0] == 'lose']
    assert [(loss.kind, loss.count) for loss in losses] == [(kind, 4)]
    assert [(each[0], *each[2:]) for each in world.calls
            if each[0] != 'lose'] == calls


def test_history_before_first_position_is_recalled(world: World) -> None:
    world.channel.recall(ENTRY, 0.0)
    assert world.calls == [
        ('recall', ENTRY, 0.0, world.channel._before)]
    span = Span(60.0, True)
    world.channel.recalled(ENTRY.id, span)
    history = world.channel.history
    assert history is not None and history[:2] == (ENTRY.id, span)


@pytest.mark.parametrize('span, calls', [
    (Span(0.0, False), [('forget', INDEX)]), (Span(0.0, True), []),
    (Span(3.0, False), [])])
def test_history_that_was_read_in_part_is_forgotten(
        world: World, span: Span, calls: List[Any]) -> None:
    """Its rest may hold goodbyes."""
    world.channel.recalled(ENTRY.id, span)
    assert world.calls == calls


def test_returning_reader_executes_its_events(world: World) -> None:
    world.events = ['an event']
    world.channel.resume()
    assert [each[0] for each in world.calls] == [
        'set_window', 'await_reader', 'carry_out']
    assert world.calls[-1] == ('carry_out', 'an event')


# -- the pace of readers -----------------------------------------------------

def test_writers_share_what_a_stream_keeps(world: World) -> None:
    flow = world.make().writer.backpressure.flow
    # As long as the number of other nodes is unknown.
    assert (flow.window, flow.reach) == (MAX_LEN // 16, MAX_LEN * 3 // 8)
    # A node that is alone waits for no other reader.
    for others, share, reach in (0, 375, None), (1, 187, 375), \
            (9, 37, 375), (5000, 1, 40_008):
        world.node.others = others
        world.channel.set_window()
        assert world.calls.pop() == ('set_window', share, True, reach)


@pytest.mark.parametrize('cursor', [THERE, None])
def test_lagging_reader_of_member_is_announced(
        world: World, cursor: Any) -> None:
    """In a namespace of that stream."""
    world.channel.lagging(cursor)
    envelope = open_envelope(world.said[0])
    assert envelope.namespace == '/'
    message = decode(envelope)
    assert isinstance(message, Heartbeat) and message.reader is None
    assert (message.behind or None) == cursor
    # Its own writer waits, too.
    assert world.calls == ([] if cursor is None else [
        ('reader_lags', THERE)])


def test_reader_that_no_longer_lags_gives_its_position(world: World) -> None:
    world.take_in()
    world.channel.lagging(None)
    message = decode(open_envelope(world.said[0]))
    assert isinstance(message, Heartbeat) and message.read == ENTRY.id


def test_lagging_reader_of_emitter_gives_its_name(world: World) -> None:
    """It writes as an emitter, and others need to know which reader it is."""
    world.node.namespaces = []
    world.channel.lagging(THERE)
    message = decode(open_envelope(world.said[0]))
    assert isinstance(message, Heartbeat) and message.reader == 'me'


def test_writer_reads_about_lagging_readers(world: World) -> None:
    world.overhear(Heartbeat(THERE))
    world.overhear(Heartbeat(THERE, 'a-reader'), uid='emitter')
    world.overhear(Heartbeat(CAUGHT_UP, 'a-reader', read=THERE), 'emitter')
    # As earlier versions report it.
    world.overhear(Heartbeat(CAUGHT_UP))
    assert world.calls == [
        ('node_reported', 'other', THERE, True),
        ('node_reported', 'a-reader', THERE, True),
        ('node_reported', 'a-reader', THERE, False),
        ('node_reported', 'other', None, False)]
    world.calls.clear()
    world.overhear(Heartbeat(asks=True), 'emitter')
    assert world.calls == [('asked', THERE, 40)]
    world.calls.clear()
    # No reader answers on behalf of a process that has none.
    assert world.said == []
    # A plain heartbeat says nothing about a reader.
    world.overhear(Heartbeat())
    world.overhear(Broadcast(('hello',)))
    assert world.calls == []
    world.overhear(Broadcast(('hello',)), 'me', b'me', 9)
    assert world.calls == [('seen', 9)]


def test_writer_ignores_malformed_entries(world: World) -> None:
    """Readers log and count them."""
    plain = Encoder('other').encode('/', Heartbeat())
    for fields in ((b'nonsense', b''), (), (*plain, b'behind', b'x'),
                   (*plain, b'behind', b'', b'read', b'x'),
                   (*plain, b'read', b'')):
        world.channel.overhear(Entry(THERE, fields))
    assert world.calls == []


def test_readers_are_known_after_outage(world: World) -> None:
    world.readers = {'/': ['a', 'b'], '/chat': ['b']}
    awaited, questions = world.channel.absent()
    assert awaited == [None, 'a', 'b', 'b']
    # Asked only in namespaces of which this process is a member.
    question, = questions
    envelope = open_envelope(question)
    assert envelope.namespace == '/'
    assert isinstance(decode(envelope), InitialHeartbeat)


def test_unknown_readers_after_outage_end_wait_by_time(world: World) -> None:
    """There may be other readers: the wait ends by time."""
    awaited, _ = world.channel.absent()
    assert awaited == [None, '']
    world.channel.writer.outbox.closed = True
    assert world.channel.absent() == ([''], ())
    world.channel.writer.outbox.closed = False
    world.state.member = False
    assert world.channel.absent() == ([''], ())
