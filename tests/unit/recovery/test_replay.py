"""The missed events of clients, and the recent history of events."""
from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import given, settings, strategies as st

from redis_streams_adapter.protocol.messages import Broadcast, \
    DisconnectSockets, EVERYONE, FetchSockets, Message, ServerSideEmit, \
    SocketsJoin, SocketsLeave, Target
from redis_streams_adapter.recovery.replay import History, is_complete, \
    is_meant, is_missed, Record, RECORD_OVERHEAD, Replay
from redis_streams_adapter.recovery.session import Origin, Refusal, Session, \
    SUPERSEDES, TOO_MANY_MISSED, UNKNOWN_SESSION
from redis_streams_adapter.protocol.position import Position, START

from ..examples import examples

EVENT = Broadcast(('hello',))


def session(*rooms: Any, upto: Optional[bytes] = START) -> Session:
    return Session('s', 'p', rooms, {}, '/', 'c', upto, obeyed=upto)


def reason_of(caught: Any) -> str:
    return str(caught.value.reason)


@pytest.mark.parametrize('start, first, last, expected', [
    (Position(5), Position(5), Position(9), True),
    (Position(5), Position(4, 7), Position(9), True),
    (Position(5), Position(5, 1), Position(9), False),
    (Position(9), Position(10), Position(11), False),
    # No entry was added after it.
    (Position(9), Position(9), Position(9), True),
    (Position(10), Position(9), Position(9), True),
    # There is no stream.
    (START, None, None, True), (Position(5), None, None, False),
    (START, Position(1), Position(1), False)])
def test_completeness_depends_on_first_and_last_entry(
        start: bytes, first: Any, last: Any, expected: bool) -> None:
    assert is_complete(start, first, last) is expected


# -- missed events -----------------------------------------------------------

@pytest.mark.parametrize('message, expected', [
    (EVENT, True), (Broadcast(('x',), Target(('a',), ('b',))), True),
    (Broadcast(('x',), EVERYONE, 'request'), False),
    (Broadcast(('x',), Target(flags={'volatile': True})), False),
    (Broadcast(('x',), Target(flags={'volatile': False})), True),
    (Broadcast(('x',), Target(flags={'compress': True})), True),
    (SocketsJoin(EVERYONE, ('x',)), True),
    (SocketsLeave(EVERYONE, ('x',)), True),
    (DisconnectSockets(EVERYONE), True),
    (FetchSockets(EVERYONE, 'r'), False), (ServerSideEmit(('x',)), False)],
    ids=repr)
def test_only_some_messages_are_missed(message: Message,
                                       expected: bool) -> None:
    assert is_missed(message) is expected


@pytest.mark.parametrize('rooms, except_rooms, expected', [
    ((), (), True), (('x',), (), True), (('y',), (), False),
    (('y', 'x'), (), True), ((), ('x',), False), ((), ('y',), True),
    (('x',), ('x',), False), (('x',), ('s',), False), (('s',), (), True),
    ((7,), (), True), (('7',), (), False), ((), (7,), False)])
def test_target_includes_client_by_rooms(rooms: Any, except_rooms: Any,
                                         expected: bool) -> None:
    assert is_meant(Target(rooms, except_rooms),
                    {'s', 'x', 7}) is expected


def records(*messages: Message, first: int = 1) -> List[Record]:
    return [Record(Position(number), message)
            for number, message in enumerate(messages, first)]


def to(*rooms: Any, skip: Any = ()) -> Broadcast:
    return Broadcast(('hello',), Target(rooms, tuple(skip)))


def test_replay_returns_events_for_client() -> None:
    replay = Replay(session('x', 7), START, 100)
    # A client is always in its own room.
    messages = [to(), to('x'), to('y'), to('s'), to(7), to('7'),
                to(skip=['x']), to(skip=['y']), to('x', skip=['s']),
                to('y', 'x')]
    replay.feed(records(*messages))
    assert [int(each.id[0]) for each in replay.missed] == [
        1, 2, 4, 5, 8, 10]
    assert replay.at == Position(10)


def test_commands_change_rooms() -> None:
    replay = Replay(session('x'), START, 100)
    replay.feed(records(
        to('y'), SocketsJoin(Target(('x',)), ('y', 'z')), to('y'),
        SocketsLeave(Target(('s',)), ('x',)), to('x'),
        SocketsJoin(Target(('x',)), ('w',)), to('w'),
        SocketsLeave(Target(('z',)), ('z', 'y')), to('y'), to('s')))
    assert [each.id for each in replay.missed] == [Position(3), Position(10)]
    assert replay.rooms == {'s'}


def test_commands_for_others_are_ignored() -> None:
    replay = Replay(session('x'), START, 100)
    replay.feed(records(
        SocketsJoin(Target(('other',)), ('y',)),
        SocketsLeave(Target((), ('s',)), ('x',)),
        DisconnectSockets(Target(('other',))),
        DisconnectSockets(Target((), ('x',)))))
    assert replay.rooms == {'s', 'x'}
    assert replay.missed == []


def test_known_commands_are_not_repeated() -> None:
    """They were carried out while the client was connected. Later changes on
    its node must not be undone."""
    replay = Replay(session('x', upto=Position(2)), START, 100)
    replay.feed(records(
        SocketsLeave(EVERYONE, ('x',)), DisconnectSockets(EVERYONE),
        to('x'), SocketsLeave(EVERYONE, ('x',)), to('x')))
    assert [each.id for each in replay.missed] == [Position(3)]
    assert replay.rooms == {'s'}


def test_commands_applied_before_read_are_not_repeated() -> None:
    """A node carries out its commands for local clients at once. The
    application may do the opposite before the command is read."""
    leave, out = SocketsLeave(EVERYONE, ('x',)), DisconnectSockets(EVERYONE)
    known = session('x', upto=Position(1))._replace(own=Origin(b'w', 5))
    for origin, message, rooms in (
            (Origin(b'w', 4), leave, {'s', 'x'}),
            (Origin(b'w', 5), leave, {'s', 'x'}),
            (Origin(b'w', 5), out, {'s', 'x'}),
            (Origin(b'w', 6), leave, {'s'}),
            (Origin(b'other', 5), leave, {'s'}),
            # Node.js writes no sequence numbers.
            (None, leave, {'s'})):
        replay = Replay(known, START, 100)
        replay.feed([Record(Position(20), message, origin=origin)])
        assert replay.rooms == rooms
    with pytest.raises(Refusal):
        Replay(known, START, 100).feed([
            Record(Position(20), out, origin=Origin(b'w', 6))])


def test_session_of_node_js_applies_no_commands() -> None:
    replay = Replay(session('x', upto=None), START, 100)
    replay.feed(records(SocketsLeave(EVERYONE, ('x',)), to('x'),
                        DisconnectSockets(EVERYONE)))
    assert [each.id for each in replay.missed] == [Position(2)]
    assert replay.rooms == {'s', 'x'}


@pytest.mark.parametrize('target', [
    EVERYONE, Target(('s',)), Target(('x',)), Target((), ('y',))])
def test_missed_disconnect_ends_replay(target: Target) -> None:
    replay = Replay(session('x'), START, 100)
    with pytest.raises(Refusal) as caught:
        replay.feed(records(to(), DisconnectSockets(target), to()))
    assert reason_of(caught) == UNKNOWN_SESSION


def test_takeover_is_no_command() -> None:
    """A takeover ends the connection, and is not a command."""
    assert not is_missed(DisconnectSockets(
        Target(('s',), (), {SUPERSEDES: 'c'}), close=True))


def test_too_many_missed_events_end_replay() -> None:
    replay = Replay(session('x'), START, 3)
    replay.feed(records(to(), to('other'), to(), to()))
    replay.feed(records(to('other'), SocketsJoin(EVERYONE, ('y',)),
                        first=10))
    assert len(replay.missed) == 3
    with pytest.raises(Refusal) as caught:
        replay.feed(records(to('y'), first=20))
    assert reason_of(caught) == TOO_MANY_MISSED


@given(st.lists(st.sampled_from([
    to(), to('x'), to('y'), to(skip=['x']), to('s'),
    SocketsJoin(Target(('s',)), ('y',)), SocketsLeave(EVERYONE, ('x',)),
    SocketsJoin(Target(('y',)), ('x',)),
    SocketsLeave(Target(('x',)), ('y',))]), max_size=20),
    st.lists(st.integers(0, 20)), st.integers(0, 20))
def test_size_of_chunks_does_not_matter(messages: Any, cuts: List[int],
                                        upto: int) -> None:
    whole, pieces = [
        Replay(session('x', upto=Position(upto)), START, 100)
        for _ in range(2)]
    everything = records(*messages)
    whole.feed(everything)
    borders = [0, *sorted(cuts), len(everything)]
    for start, end in zip(borders, borders[1:]):
        pieces.feed(iter(everything[start:end]))
    assert pieces.missed == whole.missed
    assert pieces.rooms == whole.rooms
    assert pieces.at == whole.at


# -- recent events -----------------------------------------------------------

def entry_id(number: int) -> bytes:
    # Text and numbers have different orders.
    return Position(number // 3, number % 3)


def ids(found: Any) -> Any:
    return None if found is None else [record.id for record in found]


def test_served_namespaces_are_recorded() -> None:
    history = History()
    history.add('/', Record(entry_id(1), EVENT))
    assert history.after('/', START) is None
    assert history.floor('/') is None
    history.serve(['/', '/chat'], entry_id(2))
    for number, namespace in enumerate(
            ['/', '/chat', '/other', '/', '/'], 3):
        history.add(namespace, Record(entry_id(number), EVENT))
    assert history.floor('/') == entry_id(2)
    assert ids(history.after('/', entry_id(2))) == [
        entry_id(3), entry_id(6), entry_id(7)]
    assert ids(history.after('/chat', entry_id(4))) == []
    assert ids(history.after('/', entry_id(5))) == [entry_id(6), entry_id(7)]
    assert history.after('/', entry_id(1)) is None
    assert history.after('/other', entry_id(9)) is None
    assert history.has('/', entry_id(3))
    assert not history.has('/', entry_id(4))
    assert not history.has('/', START)
    assert not history.has('/other', entry_id(5))


def test_namespace_served_again_has_gap() -> None:
    history = History()
    history.serve(['/', '/chat'], START)
    history.add('/', Record(Position(1), EVENT))
    history.add('/chat', Record(Position(2), EVENT))
    history.serve(['/'], Position(2))
    assert history.after('/chat', Position(2)) is None
    assert ids(history.after('/', START)) == [Position(1)]
    history.serve(['/chat', '/'], Position(5))
    assert history.floor('/chat') == Position(5)
    assert not history.has('/chat', Position(2))
    assert ids(history.after('/', START)) == [Position(1)]


def test_new_stream_clears_records() -> None:
    history = History()
    history.serve(['/', '/chat'], START)
    history.add('/', Record(Position(9), EVENT))
    history.is_lost = True
    history.restart(Position(2, 1), Position(9))
    assert (history.is_lost, history.restarts) == (False, 1)
    assert history.former == Position(9)
    history.add('/', Record(Position(3), EVENT))
    assert history.after('/', Position(1)) is None
    assert ids(history.after('/', Position(2))) == [Position(3)]
    assert ids(history.after('/chat', Position(2))) == []
    assert not history.has('/', Position(9))
    history.restart(Position(4), Position(3))
    assert (history.restarts, history.former) == (2, Position(9))


def test_large_entry_replaces_smaller_ones() -> None:
    """All smaller entries are removed, whatever their number."""
    size = 100 * (RECORD_OVERHEAD + 10)
    history = History(size=size)
    history.serve(['/'], START)
    for number in range(1, 100):
        history.add('/', Record(entry_id(number), EVENT, 10))
    for number in range(100, 110):
        history.add('/', Record(entry_id(number), EVENT, size // 2))
        floor = history.floor('/')
        assert floor is not None
        found = history.after('/', floor)
        assert found is not None
        assert sum(record.size for record in found) <= size


def test_entry_above_limit_is_not_kept() -> None:
    history = History(size=1000)
    history.serve(['/', '/chat'], START)
    history.add('/', Record(Position(1), EVENT, 5000))
    history.add('/', Record(Position(2), EVENT, 10))
    assert ids(history.after('/', Position(1))) == [Position(2)]
    assert history.after('/', START) is None


def test_older_entries_are_added() -> None:
    history = History(entries=5)
    history.serve(['/', '/chat'], Position(10))
    for number in 11, 12:
        history.add('/', Record(Position(number), EVENT))
    older = records(EVENT, EVENT, first=8)
    # By then the floor has moved, or the namespace is not served.
    history.prepend('/', Position(7), older, Position(9))
    history.prepend('/other', Position(7), older, Position(10))
    assert history.floor('/') == Position(10)
    history.prepend('/', Position(7), older, Position(10))
    assert history.floor('/') == Position(7)
    assert ids(history.after('/', Position(7))) == [
        Position(8), Position(9), Position(11), Position(12)]
    assert history.has('/', Position(8))
    assert history.floor('/chat') == Position(10)
    # One more fits.
    history.prepend('/', Position(1), records(EVENT, EVENT, first=5),
                    Position(7))
    assert history.floor('/') == Position(5)
    assert ids(history.after('/', Position(5))) == [
        Position(6), Position(8), Position(9), Position(11), Position(12)]
    # A range without entries can still be recorded.
    history.prepend('/', Position(4), [], Position(5))
    assert history.after('/', Position(4)) == history.after('/', Position(5))
    history.add('/', Record(Position(13), EVENT))
    history.add('/', Record(Position(14), EVENT))
    assert history.floor('/') == Position(8)


def test_clients_share_the_records() -> None:
    """So the packets of an event are made once, whether it was read from the
    stream for the first client that returned, or just received."""
    history = History()
    history.serve(['/'], Position(10))
    history.add_event('/', Position(11), (), (), b'["hello"]')
    older = records(EVENT, first=9)
    history.prepend('/', Position(8), older, Position(10))
    first, second = (history.after('/', Position(8)) or () for _ in range(2))
    assert len(first) == 2 and first[0] is older[0]
    assert all(each is other for each, other in zip(first, second))


def test_older_entries_above_limit_are_not_kept() -> None:
    history = History(size=2 * RECORD_OVERHEAD)
    history.serve(['/'], Position(10))
    older = [Record(Position(9), EVENT, RECORD_OVERHEAD + 1)]
    history.prepend('/', Position(7), older, Position(10))
    assert history.floor('/') == Position(9)
    assert history.after('/', Position(9)) == []
    history.prepend('/', Position(7), [Record(Position(9), EVENT, 5)],
                    Position(9))
    assert history.floor('/') == Position(7)


class Model:
    """The simplest implementation of a history."""

    def __init__(self) -> None:
        self.floors: Dict[str, bytes] = {}
        self.all: Dict[str, List[bytes]] = {}
        self.lengths: Dict[bytes, int] = {}

    def serve(self, namespaces: Any, position: bytes) -> None:
        self.floors = {each: self.floors.get(each, position)
                       for each in namespaces}
        self.all = {each: self.all.get(each, []) for each in namespaces}

    def restart(self, position: bytes) -> None:
        self.floors = dict.fromkeys(self.floors, position)
        self.all = {each: [] for each in self.all}

    def add(self, namespace: str, position: bytes, length: int) -> None:
        self.lengths[position] = length
        if namespace in self.all:
            self.all[namespace].append(position)

    def older(self, namespace: str, position: bytes,
              floor: bytes) -> List[Record]:
        """Add the stream's entries between two positions."""
        return [Record(each, EVENT, self.lengths[each])
                for each in self.all[namespace]
                if position < each <= floor]


NAMESPACES = ('/', '/chat', '/other')

STEPS = st.lists(st.one_of(
    st.tuples(st.just('serve'), st.sets(st.sampled_from(NAMESPACES))),
    st.tuples(st.just('restart'), st.none()),
    *[st.tuples(st.just('prepend'), st.tuples(
        st.sampled_from(NAMESPACES), st.integers(0, 30)))] * 3,
    *[st.tuples(st.just('add'), st.tuples(
        st.sampled_from(NAMESPACES), st.integers(0, 3000)))] * 6),
    max_size=60)


@settings(max_examples=examples(300))
@given(STEPS, st.integers(1, 12), st.integers(1, 8_000))
def test_all_entries_after_floor_are_kept(steps: List[Tuple[str, Any]],
                                          entries: int, size: int) -> None:
    history, model = History(entries, size), Model()
    history.serve(NAMESPACES[:1], START)
    model.serve(NAMESPACES[:1], START)
    for number, (name, value) in enumerate(steps, 1):
        position = entry_id(number)
        if name == 'add':
            namespace, length = value
            history.add(namespace, Record(position, EVENT, length))
            model.add(namespace, position, length)
        elif name == 'prepend':
            namespace, back = value
            floor, at = history.floor(namespace), entry_id(
                max(0, number - back))
            if floor is not None and model.floors[namespace] <= at < floor:
                history.prepend(namespace, at, model.older(
                    namespace, at, floor), floor)
        elif name == 'serve':
            history.serve(value, position)
            model.serve(value, position)
        else:
            history.restart(position, position)
            model.restart(position.before())
        kept: List[Record] = []
        for namespace in NAMESPACES:
            floor = history.floor(namespace)
            assert (floor is None) == (namespace not in model.floors)
            if floor is None:
                assert history.after(namespace, position) is None
                continue
            # It never moves below the floor that the namespace had at first.
            assert floor >= model.floors[namespace]
            for other in range(number + 1):
                at = entry_id(other)
                found = history.after(namespace, at)
                if at < floor:
                    assert found is None
                else:
                    assert ids(found) == [
                        each for each in model.all[namespace]
                        if each > at]
                    assert history.has(namespace, at) == (
                        at in model.all[namespace]) or at == floor
            kept.extend(history.after(namespace, floor) or ())
        assert len(kept) <= entries
        assert sum(record.size for record in kept) <= size


def test_few_entries_are_forgotten_at_once() -> None:
    history = History(entries=800)
    history.serve(['/'], START)
    for number in range(1, 5000):
        history.add('/', Record(entry_id(number), EVENT))
    floor = history.floor('/')
    assert floor is not None
    assert len(history.after('/', floor) or ()) >= 700
