"""Missed events are read from Redis up to the start of the memory."""
import logging
from types import SimpleNamespace
from typing import Any, Callable, List, Optional

import pytest

from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.messages import Broadcast, EVERYONE, \
    Heartbeat, Message, SocketsJoin, Target
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry, Unavailable
from redis_streams_adapter.recovery import backlog as module
from redis_streams_adapter.recovery.backlog import Backlog, LOOK_BACK, \
    LOOK_BACK_ENTRIES, PAGE, PATIENCE, READS
from redis_streams_adapter.recovery.claims import Claim
from redis_streams_adapter.recovery.replay import Replay
from redis_streams_adapter.recovery.session import OFFSET_NOT_FOUND, \
    REDIS_UNAVAILABLE, Refusal, Session
from redis_streams_adapter.stream.session_store import Found

from .parts import FakeEvent, Parts

SESSION = Session('s', 'p', ('s',), {}, '/', obeyed=Position(1))

encoder = Encoder('uid')


@pytest.fixture
def parts(logger: Callable[[], logging.Logger]) -> Parts:
    return Parts(logger)


@pytest.fixture
def backlog(parts: Parts) -> Backlog:
    return Backlog(parts.clients)


def entry(number: int, message: Optional[Message] = None,
          namespace: str = '/', more: Any = ()) -> Entry:
    return Entry(Position(number), [
        *encoder.encode(namespace, message or Broadcast((number,))), *more])


def served(parts: Parts, floor: int) -> None:
    """All entries after this position are in memory."""
    parts.timeline().history.serve(['/'], Position(floor))


def replay_from(start: int) -> Replay:
    return Replay(SESSION, Position(start), 10_000)


def read(parts: Parts, backlog: Backlog, replay: Replay,
         namespace: str = '/') -> List[Position]:
    """Read the backlog.

    :return: the positions of the missed events.
    """
    last = parts.store.entries[-1].id if parts.store.entries else None
    claim = Claim(SESSION, b'', replay.at, Found(b'', True, None, last))
    backlog.read(replay, claim, namespace)
    assert not parts.order.held
    return [record.id for record in replay.missed]


def refusal_of(call: Callable[[], Any]) -> str:
    with pytest.raises(Refusal) as caught:
        call()
    return caught.value.reason


def test_memory_alone_needs_no_read(parts: Parts, backlog: Backlog) -> None:
    served(parts, 5)
    for start in (5, 6):
        assert read(parts, backlog, replay_from(start)) == []
    assert parts.store.pages == []


def test_entries_older_than_memory_are_read(parts: Parts,
                                            backlog: Backlog) -> None:
    served(parts, 5)
    parts.store.entries = [entry(number) for number in range(1, 9)]
    replay = replay_from(2)
    # Only up to the floor: the rest is in memory.
    assert read(parts, backlog, replay) == [
        Position(3), Position(4), Position(5)]
    assert replay.at == Position(5)


def test_read_entries_stay_in_memory_for_next_client(
        parts: Parts, backlog: Backlog) -> None:
    served(parts, 5)
    parts.store.entries = [entry(number) for number in range(1, 9)]
    read(parts, backlog, replay_from(2))
    history = parts.timeline().history
    assert history.floor('/') == Position(2)
    kept = history.after('/', Position(2)) or ()
    assert [each.id for each in kept] == [
        Position(3), Position(4), Position(5)]
    count = len(parts.store.pages)
    read(parts, backlog, replay_from(2))
    assert len(parts.store.pages) == count


@pytest.mark.parametrize('count', [PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 30])
def test_entries_are_read_in_pages(parts: Parts, backlog: Backlog,
                                   count: int) -> None:
    parts.store.entries = [entry(number) for number in range(1, count + 2)]
    served(parts, count + 1)
    replay = replay_from(1)
    assert read(parts, backlog, replay) == [
        Position(number) for number in range(2, count + 2)]
    # One, eight, sixty-four, and then a hundred at once.
    assert parts.store.pages == [
        Position(1 + start) for start in (
            0, 1, 9, *range(73, count, PAGE))]
    assert replay.at == Position(count + 1)


def test_page_beyond_floor_is_cut(parts: Parts, backlog: Backlog) -> None:
    """The rest of the page is taken from memory."""
    parts.store.entries = [entry(number) for number in range(1, 2 * PAGE)]
    served(parts, 3)
    replay = replay_from(1)
    assert read(parts, backlog, replay) == [Position(2), Position(3)]
    assert replay.at == Position(3)


@pytest.mark.parametrize('last', [(), (9,)])
def test_empty_range_reaches_floor(parts: Parts, backlog: Backlog,
                                   last: Any) -> None:
    parts.store.entries = [entry(number) for number in (1, 3, *last)]
    served(parts, 5)
    replay = replay_from(1)
    assert read(parts, backlog, replay) == [Position(3)]
    assert replay.at == Position(5)


def test_irrelevant_entries_are_left_out(parts: Parts,
                                         backlog: Backlog) -> None:
    parts.store.entries = [
        entry(1), entry(2, namespace='/chat'), entry(3, Heartbeat()),
        entry(4, Broadcast(('x',), Target((), (), {'volatile': True}))),
        entry(5, Broadcast(('x',), EVERYONE, 'request')),
        Entry(Position(6), [b'no', b'message']),
        entry(7), entry(8)]
    served(parts, 8)
    assert read(parts, backlog, replay_from(1)) == [Position(7), Position(8)]


def test_commands_are_applied(parts: Parts, backlog: Backlog) -> None:
    parts.store.entries = [
        entry(1), entry(2, Broadcast(('x',), Target(('room',)))),
        entry(3, SocketsJoin(EVERYONE, ('room',))),
        entry(4, Broadcast(('x',), Target(('room',))))]
    served(parts, 4)
    replay = replay_from(1)
    assert read(parts, backlog, replay) == [Position(4)]
    assert replay.rooms == {'s', 'room'}


def written(number: int, writer: bytes, sequence: int) -> Entry:
    """An entry of a Python node."""
    return entry(number, more=[
        b'wid', writer, b'seq', b'%d' % sequence, b'since', b'0-0'])


def test_duplicate_entry_is_replayed_once(parts: Parts,
                                          backlog: Backlog) -> None:
    parts.store.entries = [
        entry(1), written(2, b'a', 1), written(3, b'a', 2),
        written(4, b'a', 1), written(5, b'b', 1), written(6, b'a', 2),
        written(7, b'a', 3)]
    served(parts, 7)
    assert read(parts, backlog, replay_from(1)) == [
        Position(2), Position(3), Position(5), Position(7)]


def test_duplicate_on_next_page_is_noticed(parts: Parts,
                                           backlog: Backlog) -> None:
    more = [b'wid', b'a', b'seq', b'1', b'since', b'0-0']
    parts.store.entries = [
        entry(1), entry(2, more=more),
        *(entry(number) for number in range(3, PAGE + 2)),
        entry(PAGE + 2, more=more)]
    served(parts, PAGE + 2)
    assert Position(PAGE + 2) not in read(parts, backlog, replay_from(1))
    assert len(parts.store.pages) > 1


@pytest.mark.parametrize('start', [3, 4])
def test_duplicate_of_received_event_is_not_replayed(
        parts: Parts, backlog: Backlog, start: int) -> None:
    """It is not replayed, neither to this client nor to the next one."""
    parts.store.entries = [
        entry(1), written(2, b'a', 1), written(3, b'a', 2),
        written(4, b'b', 7), written(5, b'a', 1), written(6, b'a', 2),
        written(7, b'a', 3), entry(8)]
    served(parts, 8)
    missed = [Position(number) for number in (4, 7, 8) if number > start]
    assert read(parts, backlog, replay_from(start)) == missed
    remembered = parts.timeline().history.after('/', Position(start)) or ()
    assert [each.id for each in remembered] == missed


@pytest.mark.parametrize('between', [2, PAGE - 1, PAGE, 3 * PAGE])
def test_distant_duplicate_is_noticed(parts: Parts, backlog: Backlog,
                                      between: int) -> None:
    last = written(between + 4, b'a', 2)
    parts.store.entries = [
        written(1, b'a', 1),
        *(entry(number) for number in range(2, between + 3)),
        written(between + 3, b'a', 1), last]
    served(parts, between + 4)
    assert read(parts, backlog, replay_from(between + 2)) == [last.id]


@pytest.mark.parametrize('interval, count', [
    # A busy stream; one with a hundred entries in a few seconds; a quiet one.
    (1, LOOK_BACK_ENTRIES), (80, LOOK_BACK * 1000 / 80),
    (110, LOOK_BACK * 1000 / 110), (4000, LOOK_BACK * 1000 / 4000)])
def test_search_for_duplicates_is_limited(parts: Parts, backlog: Backlog,
                                          interval: int,
                                          count: float) -> None:
    """A copy follows its original within seconds."""
    begin = 10_000_000
    fields = entry(1).fields
    parts.store.entries = [
        Entry(Position(begin - interval * number), fields)
        for number in range(2 * LOOK_BACK_ENTRIES, -2, -1)]
    end = parts.store.entries[-1].id
    served(parts, end.milliseconds)
    assert read(parts, backlog, replay_from(begin)) == [end]
    looked_back = parts.store.looked_back
    assert looked_back[0] == Position(begin)
    looked_at = (begin - looked_back[-1].milliseconds) / interval
    assert count - PAGE <= looked_at <= count


# -- missing entries ---------------------------------------------------------

def test_trimmed_entries_end_recovery(parts: Parts, backlog: Backlog) -> None:
    served(parts, 5)
    parts.store.entries = [entry(number) for number in range(3, 9)]
    assert refusal_of(
        lambda: read(parts, backlog, replay_from(2))) == OFFSET_NOT_FOUND
    assert parts.timeline().history.floor('/') == Position(5)


def test_trim_between_pages_ends_recovery(parts: Parts,
                                          backlog: Backlog) -> None:
    served(parts, 2 * PAGE)
    store = parts.store
    store.entries = [entry(number) for number in range(1, 2 * PAGE + 1)]

    def trim() -> None:
        del store.entries[:20]

    store.before.extend([lambda: None, trim])
    assert refusal_of(
        lambda: read(parts, backlog, replay_from(1))) == OFFSET_NOT_FOUND


def test_unrecorded_namespace_is_not_replayed(
        parts: Parts, backlog: Backlog) -> None:
    assert refusal_of(
        lambda: read(parts, backlog, replay_from(2))) == REDIS_UNAVAILABLE
    assert parts.store.pages == []


def test_memory_trimmed_faster_than_read_ends_recovery(
        parts: Parts, backlog: Backlog) -> None:
    """Each read finds more entries that have to be read."""
    floors = iter(range(6, 1000))
    parts.store.entries = [entry(number) for number in range(1, 50)]
    history = parts.timeline().history

    def forget() -> None:
        history.serve([], Position(1))
        served(parts, next(floors))

    served(parts, 5)
    parts.store.before.extend([forget] * 100)
    assert refusal_of(
        lambda: read(parts, backlog, replay_from(2))) == REDIS_UNAVAILABLE
    assert len(parts.store.pages) >= READS


def test_forgotten_memory_is_read_again(parts: Parts,
                                        backlog: Backlog) -> None:
    parts.store.entries = [entry(number) for number in range(1, 9)]
    history = parts.timeline().history

    def forget() -> None:
        history.serve([], Position(1))
        served(parts, 7)

    served(parts, 5)
    parts.store.before.append(forget)
    assert read(parts, backlog, replay_from(2)) == [
        Position(number) for number in range(3, 8)]
    assert parts.store.pages[0] == Position(2)
    assert Position(5) in parts.store.pages


# -- several clients ---------------------------------------------------------

def while_one_reads(parts: Parts, backlog: Backlog,
                    what: Callable[[FakeEvent], Any]) -> None:
    """Call a function while a client reads the entries after 2-0.

    :param what: called with the event that is set at the end of the read.
    """
    done: List[Any] = []

    def do_it() -> None:
        event = parts.events[0]
        what(event)
        assert not event.is_set()
        done.append(event)

    served(parts, 5)
    parts.store.entries = [
        *(entry(number) for number in range(1, 6)),
        *(entry(number, namespace='/chat') for number in range(6, 9))]
    parts.store.before.append(do_it)
    assert read(parts, backlog, replay_from(2)) == [
        Position(3), Position(4), Position(5)]
    event, = done
    assert event.is_set()


def test_client_waits_for_read_of_other_client(
        parts: Parts, backlog: Backlog,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'time', SimpleNamespace(
        monotonic=lambda: 1000.0))
    events: List[FakeEvent] = []

    def another(event: FakeEvent) -> None:
        events.append(event)
        event.on_wait = lambda: parts.timeline().history.prepend(
            '/', Position(2), (), Position(5)) or event.set()
        read(parts, backlog, replay_from(2))
        event.clear()

    while_one_reads(parts, backlog, another)
    assert events[0].waits == [PATIENCE]
    assert parts.store.pages[0] == Position(2)


def test_client_reads_by_itself_after_long_wait(
        parts: Parts, backlog: Backlog) -> None:
    def another(event: FakeEvent) -> None:
        assert read(parts, backlog, replay_from(3)) == [
            Position(4), Position(5)]
        assert len(event.waits) == 1

    while_one_reads(parts, backlog, another)
    assert parts.store.pages[:2] == [Position(2), Position(3)]


def test_clients_of_other_namespaces_do_not_wait(
        parts: Parts, backlog: Backlog) -> None:
    def another(event: FakeEvent) -> None:
        parts.timeline('/chat').history.serve(['/chat'], Position(8))
        assert read(parts, backlog, replay_from(6), '/chat') == [
            Position(7), Position(8)]
        assert event.waits == []

    while_one_reads(parts, backlog, another)


def test_no_client_waits_for_failed_read(parts: Parts,
                                         backlog: Backlog) -> None:
    def fail() -> None:
        raise Unavailable('Redis is away')

    served(parts, 5)
    parts.store.entries = [entry(number) for number in range(1, 6)]
    parts.store.before.append(fail)
    with pytest.raises(Unavailable):
        read(parts, backlog, replay_from(2))
    # Waiting clients go on, and no other client starts to wait.
    assert all(event.is_set() for event in parts.events)
    assert read(parts, backlog, replay_from(4)) == [Position(5)]
    assert not any(event.waits for event in parts.events)
