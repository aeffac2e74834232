"""Nodes of this version, of the previous one, and of Node.js: whom each of
them counts, and what they write for each other."""
from typing import Any, Dict, List, Optional

import pytest

from redis_streams_adapter.protocol.codec import Encoder, Fields, \
    open_envelope
from redis_streams_adapter.protocol.discovery import ASK_INTERVAL, \
    Knowledge, Span
from redis_streams_adapter.protocol.events import Learned, NodeJoined, \
    NodeLeft, Send, Skipped
from redis_streams_adapter.protocol.messages import AdapterClose, Broadcast, \
    EMITTER_UID, Heartbeat, InitialHeartbeat
from redis_streams_adapter.protocol.node import Node
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.presence import EMPTY, NamespaceSet, \
    Presence, Question
from redis_streams_adapter.protocol.requests import NodesRequest
from redis_streams_adapter.protocol.sequences import Sequences
from redis_streams_adapter.protocol.transport import Entry

INTERVAL, TIMEOUT = 5.0, 10.0
WRITER = b'the-writer-of-this-node'
HELLO = Broadcast(('hello',))
WAITER = object()


def entry(message: Any, uid: str = 'a', namespace: str = '/',
          writer: Optional[bytes] = b'w', sequence: int = 0) -> Fields:
    """An entry; without a writer, as Node.js writes it."""
    found = [*Encoder(uid).encode(namespace, message)]
    if writer is not None:
        found += [b'wid', writer, b'seq', b'%d' % sequence]
    return found


class Reading:
    """A node that serves ``/`` and ``/chat``, and all that it has to know the
    others.

    :param span: the history that it has read.
    """

    def __init__(self, span: Span = Span(TIMEOUT, True)) -> None:
        self.node = Node('me', INTERVAL, TIMEOUT)
        self.knowledge = Knowledge(TIMEOUT)
        self.knowledge.begin((5, 0), span, 0.0)
        self.node.serve(['/', '/chat'], 0.0, {0})
        self.sequences = Sequences(WRITER)
        self.sequences.begin((5, 0))
        self.before = Sequences()

    def take(self, message: Any, *args: Any, now: float = 0.0,
             **kwargs: Any) -> List[Any]:
        return list(self.node.receive(
            Entry(Position(9), entry(message, *args, **kwargs)), now,
            self.sequences, self.knowledge))

    def recall(self, message: Any, *args: Any, at: float = -1.0,
               **kwargs: Any) -> None:
        self.node.recall(Entry(Position(4), entry(message, *args, **kwargs)),
                         at, self.before)

    def knows(self, namespace: str = '/', now: float = 0.0) -> bool:
        return self.node.unknown_for(namespace, self.knowledge, now) == 0

    def counts(self, *namespaces: str) -> List[int]:
        return [self.node.count(each) for each in namespaces]


@pytest.fixture
def reading() -> Reading:
    return Reading()


def joins(*names: str, kind: Any = InitialHeartbeat) -> Any:
    return kind(presence=Presence(
        NamespaceSet().plus(names).digest, names))


def beats(*names: str) -> Heartbeat:
    return Heartbeat(presence=Presence(NamespaceSet().plus(names).digest))


def questions(events: List[Any]) -> List[Question]:
    return [event.message.presence for event in events
            if isinstance(event, Send)
            and isinstance(event.message, Heartbeat)
            and isinstance(event.message.presence, Question)]


# -- this version ------------------------------------------------------------

def test_one_entry_joins_all(reading: Reading) -> None:
    assert reading.take(joins('/', '/chat', '/news')) == [
        NodeJoined('/', 'a', 2), Send('/', Heartbeat())]
    assert reading.counts('/', '/chat', '/news', '/x') == [2, 2, 1, 0]
    assert reading.node.known('/chat')['a'].python
    assert reading.node.others == 1 and reading.knows()


def test_one_sign_of_life_keeps_it_everywhere(reading: Reading) -> None:
    """Any entry is one, in any namespace that it serves."""
    reading.take(joins('/', '/news'))
    reading.take(HELLO, namespace='/news', now=8.0, sequence=1)
    assert NodeLeft not in map(type, reading.node.tick(15.0, True))
    assert reading.node.nodes('/') == {'a': 8.0}
    events = reading.node.tick(19.0, True)
    # One event, so one line in the log.
    assert [each for each in events if isinstance(each, NodeLeft)] == [
        NodeLeft('/', 'a', True, 1)]
    assert reading.counts('/', '/news') == [1, 0]
    assert not reading.node.is_known('a')


def test_plain_event_is_a_sign_of_life(reading: Reading) -> None:
    """On the short way, too; in another namespace it is no plain event."""
    reading.take(joins('/'))
    for namespace, taken in ('/', True), ('/chat', False):
        fields = [*Encoder('a').encode(namespace, HELLO), b'wid', b'w',
                  b'seq', b'1', b'since', b'4-0']
        events = reading.node.plain_events.receive(
            Entry(Position(9), fields), 3.0, reading.sequences)
        assert (events is not None) is taken
    assert reading.node.nodes('/') == {'a': 3.0}


def test_goodbye(reading: Reading) -> None:
    reading.take(joins('/', '/chat'))
    # This one is for nodes of another kind.
    assert reading.take(AdapterClose()) == []
    assert reading.take(AdapterClose(presence=Presence(EMPTY))) == [
        NodeLeft('/', 'a', False, 1)]
    assert reading.counts('/', '/chat') == [1, 1]


def test_namespace_is_left(reading: Reading) -> None:
    reading.take(joins('/', '/chat'))
    rest = NamespaceSet().plus(['/']).digest
    assert reading.take(AdapterClose(presence=Presence(
        rest, (), ('/chat',))), namespace='/chat') == [
        NodeLeft('/chat', 'a', False)]
    assert reading.counts('/', '/chat') == [2, 1]
    # Flow control goes on to wait for it.
    assert reading.node.is_known('a')


def test_history(reading: Reading) -> None:
    reading.recall(joins('/', '/chat'), at=-3.0)
    reading.recall(joins('/', '/news'), 'b', writer=b'v')
    reading.recall(AdapterClose(presence=Presence(EMPTY)), 'b', writer=b'v')
    assert reading.node.nodes('/chat') == {'a': -3.0}
    assert reading.counts('/', '/news') == [2, 0]


def test_own_set_completes_history(reading: Reading) -> None:
    """Most servers have the same namespaces: nobody is asked."""
    reading.recall(beats('/', '/chat'))
    assert not reading.knows()
    joined, learned = reading.node.questions(0.0)
    assert isinstance(joined, NodeJoined) and learned == Learned()
    assert (joined.uid, joined.others) == ('a', 1)
    assert reading.knows() and reading.counts('/', '/chat') == [2, 2]


def test_unknown_set_is_asked_for_until_it_is_told(reading: Reading) -> None:
    """No answer is silently partial meanwhile."""
    events = reading.take(beats('/', '/news'))
    assert questions(events) == [Question('a', EMPTY)]
    assert not reading.knows() and not reading.knows('/news')
    assert questions(reading.node.tick(ASK_INTERVAL / 2, True)) == []
    assert questions(reading.node.tick(ASK_INTERVAL, True)) == [
        Question('a', EMPTY)]
    listed = joins('/', '/news', kind=Heartbeat)
    events = reading.take(listed)
    assert events == [NodeJoined('/', 'a', 1), Learned()]
    assert reading.knows() and reading.counts('/', '/news') == [2, 1]


def test_doubt_ends_with_silence(reading: Reading) -> None:
    """A server that died cannot answer: bounded by the timeout."""
    reading.recall(beats('/', '/news'), at=-4.0)
    assert not reading.knows()
    for now in range(1, 6):
        assert Learned() not in reading.node.tick(float(now), True)
        assert not reading.knows(now=now)
    assert Learned() in reading.node.tick(6.5, True)
    assert reading.knows(now=6.5)


def test_loss_of_entries(reading: Reading) -> None:
    """A server may have joined a namespace unseen."""
    reading.take(joins('/'))
    assert reading.knows('/chat')
    reading.node.lose_sight(WRITER)
    assert not reading.knows('/chat')
    reading.take(beats('/'))
    assert reading.knows('/chat')


def test_question_to_this_node(reading: Reading) -> None:
    for uid, expected in ('me', 1), ('other', 0), ('', 1):
        events = reading.take(Heartbeat(presence=Question(uid, EMPTY)),
                              EMITTER_UID)
        assert len(events) == expected
    # In a namespace that is not served, too.
    reading.node.serve(['/'], 0.0)
    assert len(reading.take(Heartbeat(presence=Question(
        'me', NamespaceSet().plus(['/']).digest)), EMITTER_UID,
        '/elsewhere', now=1.0)) == 1


def test_request_waits_for_a_server_that_joins(reading: Reading) -> None:
    request = NodesRequest('/news', WAITER)
    reading.node.expect('r', request, 0.0, writer=WRITER)
    reading.node.written('r', WRITER, 1)
    reading.take(joins('/', '/news'))
    assert request.missing == ['a']
    events = reading.take(AdapterClose(presence=Presence(EMPTY)))
    assert request.missing == [] and NodeLeft('/', 'a', False, 1) in events


def test_emitter_serves_nothing(reading: Reading) -> None:
    for uid in (EMITTER_UID, 'me'):
        reading.take(joins('/'), uid)
    assert reading.counts('/') == [1]


def test_malformed_presence_is_skipped(reading: Reading) -> None:
    fields = [*entry(Heartbeat()), b'presence', b'\xff']
    event, = reading.node.receive(Entry(Position(9), fields), 0.0,
                                  reading.sequences)
    assert isinstance(event, Skipped)
    reading.node.recall(Entry(Position(4), fields), 0.0, reading.before)
    assert reading.counts('/') == [1]


def test_message_before_the_first_sign_of_life(reading: Reading) -> None:
    """A reader began between the two."""
    assert reading.take(HELLO, namespace='/news', sequence=1) == [
        NodeJoined('/news', 'a')]
    assert reading.counts('/', '/news') == [1, 1]
    reading.take(beats('/', '/news'), sequence=1)
    assert reading.counts('/', '/news') == [1, 1] and not reading.knows('/')
    assert reading.take(joins('/', '/news', kind=Heartbeat), sequence=1) == [
        NodeJoined('/', 'a'), Learned()]


def test_report_of_a_reader_is_a_sign_of_life(reading: Reading) -> None:
    """It is written out of order, and without a writer."""
    reading.take(joins('/', '/chat'))
    reading.take(Heartbeat((), read=Position(3)), writer=None, now=7.0)
    assert reading.node.nodes('/chat') == {'a': 7.0}
    assert not reading.node._members.needing


# -- the previous version, and Node.js ---------------------------------------

@pytest.mark.parametrize('writer', [b'w', None])
def test_heartbeats_where_they_are_needed(reading: Reading,
                                          writer: Any) -> None:
    """This node has announced itself in one namespace. A server of the other
    kind in another one counts it at once."""
    assert reading.take(Heartbeat(), namespace='/chat', writer=writer) == [
        NodeJoined('/chat', 'a'), Send('/chat', Heartbeat())]
    assert reading.take(Heartbeat(), namespace='/chat', writer=writer) == []
    assert reading.counts('/', '/chat') == [1, 2]
    assert [each.namespace for each in reading.node.tick(5.0, True)
            if isinstance(each, Send)] == ['/', '/chat']
    assert reading.take(AdapterClose(), namespace='/chat', writer=writer) == [
        NodeLeft('/chat', 'a', False)]
    assert [each.namespace for each in reading.node.tick(10.0, True)
            if isinstance(each, Send)] == ['/']


def test_any_entry_is_a_heartbeat_that_is_needed(reading: Reading) -> None:
    reading.take(Heartbeat(), namespace='/chat', now=0.0)
    reading.node.spoke('/chat', 4.0)
    assert [each.namespace for each in reading.node.tick(5.0, True)
            if isinstance(each, Send)] == ['/']
    assert [each.namespace for each in reading.node.tick(9.0, True)
            if isinstance(each, Send)] == ['/chat']


@pytest.mark.parametrize('writer', [b'w', None])
def test_newcomer_that_needs_heartbeats(reading: Reading,
                                        writer: Any) -> None:
    assert reading.take(InitialHeartbeat(), namespace='/chat',
                        writer=writer) == [
        NodeJoined('/chat', 'a'), Send('/chat', Heartbeat())]


def test_server_without_heartbeats_needs_none(reading: Reading) -> None:
    """Version 0.3 of the adapter for Node.js."""
    assert reading.take(HELLO, 'node.js', '/chat', writer=None)[0] == \
        NodeJoined('/chat', 'node.js')
    assert [each.namespace for each in reading.node.tick(5.0, True)
            if isinstance(each, Send)] == ['/']


def test_server_is_updated(reading: Reading) -> None:
    """The new process has another uid; both count for a moment."""
    reading.take(Heartbeat(), 'old')
    reading.take(joins('/', '/chat'), 'new', writer=b'v')
    assert reading.counts('/', '/chat') == [3, 2]
    reading.take(AdapterClose(), 'old')
    assert reading.counts('/', '/chat') == [2, 2]
    assert not reading.node._members.needing


def test_list_of_the_previous_version() -> None:
    """It counts the new servers by their uids."""
    reading = Reading(Span(0.0, False))
    reading.take(joins('/'), 'new', writer=b'v')
    assert not reading.knows()
    listed = Heartbeat(members={'new': 1.0, 'old': 2.0}, at=Position(6))
    events = reading.take(listed, 'lister', writer=b'u')
    assert NodeJoined('/', 'old') in events and Learned() in events
    assert reading.counts('/') == [4] and reading.knows()


# -- a whole cluster ---------------------------------------------------------

class PreviousVersion:
    """How the previous version counts, and Node.js: each uid, by namespace, in
    which it has written and not said goodbye."""

    def __init__(self) -> None:
        self.members: Dict[str, set] = {}

    def read(self, fields: Fields) -> None:
        uid, namespace, kind, *_ = open_envelope(fields)
        if uid == EMITTER_UID:
            return
        members = self.members.setdefault(namespace, set())
        (members.discard if kind == AdapterClose.type
         else members.add)(uid)


def test_previous_version_counts_this_one() -> None:
    """In each namespace in which it is, from the first to the last entry."""
    node, previous = Node('me', INTERVAL, TIMEOUT), PreviousVersion()
    sequences = Sequences(WRITER)

    def write(events: Any) -> None:
        for event in events:
            if isinstance(event, Send):
                previous.read(entry(event.message, 'me', event.namespace))

    for namespace in '/', '/b':
        node.receive(Entry(Position(5), entry(
            Heartbeat(), 'old', namespace)), 0.0, sequences)
    write(node.serve(['/a', '/b', '/'], 0.0, {0}))
    assert 'me' in previous.members['/'] and 'me' in previous.members['/b']
    # It comes to another namespace later.
    write(node.receive(Entry(Position(6), entry(
        InitialHeartbeat(), 'old', '/a')), 0.0, sequences))
    assert 'me' in previous.members['/a']
    write(node.serve(['/'], 0.0, {0}))
    assert [name for name, uids in sorted(previous.members.items())
            if 'me' in uids] == ['/']
    write(node.announcements.farewell())
    assert not any(previous.members.values())
