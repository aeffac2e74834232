"""Plain events take a short way, to the same result."""
from typing import Any, List, Sequence, Tuple

import pytest
from hypothesis import given, HealthCheck, settings, strategies as st

from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.events import Act, Duplicate, Event, \
    Missing, Returned, Skipped
from redis_streams_adapter.protocol.messages import Broadcast, EMITTER_UID, \
    EVERYONE, Heartbeat, Message, SocketsJoin, Target
from redis_streams_adapter.protocol.node import Node
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.requests import NodesRequest
from redis_streams_adapter.protocol.sequences import Sequences
from redis_streams_adapter.protocol.transport import Entry

from ..examples import examples
from .test_event_text import written

OWN, OTHER, EMITTER = b'own', b'other', b'emitter'

HELLO = Broadcast(('hello', 1), Target(('room',)))

#: The namespaces that are served.
SERVED = ['/', '/chat']


class Both:
    """A node as it is, and one that takes the long way for all entries. Both
    know the node ``a``, and the numbers of all writers."""

    def __init__(self) -> None:
        self.nodes = []
        for takes_short_way in (True, False):
            node, sequences = Node('me', 5.0, 10.0), Sequences(OWN)
            node.serve(SERVED, 0.0)
            sequences.begin(Position(5))
            self.nodes.append((node, sequences, takes_short_way))
        for uid, writer in (('a', OTHER), (EMITTER_UID, EMITTER)):
            self.receive(fields(HELLO, uid, '/', writer, 1))
        self.receive(fields(HELLO, 'me', '/', OWN, 1))

    def receive(self, entry: Sequence[bytes],
                now: float = 0.0) -> List[Event]:
        """Let both receive an entry; return what comes of it."""
        outcomes = []
        for node, sequences, takes_short_way in self.nodes:
            taken = Entry(Position(9), entry), now, sequences
            plain = node.plain_events.receive(*taken) \
                if takes_short_way else None
            events = list(node.receive(*taken) if plain is None else plain)
            outcomes.append((events, self.state(node, sequences)))
        (quick, one), (slow, other) = outcomes
        assert list(map(told, quick)) == list(map(told, slow))
        assert one == other
        return quick

    @staticmethod
    def state(node: Node, sequences: Sequences) -> Any:
        return (sequences.young, node._members.seen, node._members._beating,
                node._requests.read_back)


def told(event: Event) -> Any:
    """An event, so that two can be compared."""
    if isinstance(event, Skipped):
        return str(event.error)
    if not isinstance(event, Act) or not isinstance(event.message, Broadcast):
        return event
    message = event.message
    try:
        content: Any = repr(message.args), message.attachments
    except DecodeError:
        content = DecodeError
    return (event.namespace, event.uid, event.way, message.target,
            message.request_id, content)


def fields(message: Message, uid: str, namespace: str, writer: bytes,
           number: int) -> List[bytes]:
    return [*Encoder(uid).encode(namespace, message), b'wid', writer,
            b'seq', b'%d' % number, b'since', b'4-0']


@pytest.fixture
def both() -> Both:
    return Both()


@pytest.mark.parametrize('uid, writer', [
    ('a', OTHER), (EMITTER_UID, EMITTER)])
@pytest.mark.parametrize('message', [
    HELLO, Broadcast(('hello', b'bytes')), Broadcast(('hello',), EVERYONE)])
def test_plain_event(both: Both, uid: str, writer: bytes,
                     message: Broadcast) -> None:
    node, sequences, _ = both.nodes[0]
    for number in range(2, 12):
        entry = Entry(Position(9), fields(message, uid, '/', writer, number))
        events = node.plain_events.receive(entry, 3.0, sequences)
        assert events == (Act('/', uid, message),)
        assert sequences.young[writer] == number
    assert node.nodes('/') == {'a': 3.0 if uid == 'a' else 0.0}


@pytest.mark.parametrize('writer', [OTHER, OWN])
def test_number_that_no_writer_reaches(both: Both, writer: bytes) -> None:
    """The entry before it was forged."""
    both.receive(fields(HELLO, EMITTER_UID, '/', writer, 10**19 - 1))
    event, = both.receive(fields(HELLO, EMITTER_UID, '/', writer, 10**19))
    assert isinstance(event, Skipped)


def test_entry_of_the_node_itself(both: Both) -> None:
    node, sequences, _ = both.nodes[0]
    entry = Entry(Position(9), fields(HELLO, 'me', '/', OWN, 2))
    assert node.plain_events.receive(entry, 0.0, sequences) == (
        Returned(2, True),)
    assert both.receive(fields(HELLO, EMITTER_UID, '/', OWN, 3)) == [
        Returned(3, True)]


def test_request_that_waits_for_entries_of_the_node_itself(
        both: Both) -> None:
    for node, *_ in both.nodes:
        node.expect('r', NodesRequest('/', None), 0.0, writer=OWN)
        node.written('r', OWN, 2)
    both.receive(fields(HELLO, 'me', '/', OWN, 2))
    assert not any(node._requests.open_ended for node, *_ in both.nodes)


def test_namespace_that_is_not_served(both: Both) -> None:
    both.receive(fields(HELLO, 'a', '/other', OTHER, 2))
    assert both.receive(fields(HELLO, 'a', '/other', OTHER, 3), 7.0) == []
    assert both.nodes[0][0].nodes('/other') == {'a': 7.0}


@pytest.mark.parametrize('entry, kinds', [
    (fields(HELLO, 'a', '/', OTHER, 1), [Duplicate]),
    (fields(HELLO, 'a', '/', OTHER, 4), [Missing, Act]),
    (fields(HELLO, 'me', '/', OWN, 7), [Returned]),
    (fields(SocketsJoin(EVERYONE, ('x',)), 'a', '/', OTHER, 2), [Act]),
    (fields(Heartbeat(), 'a', '/', OTHER, 1), []),
    ([b'', *fields(HELLO, 'a', '/', OTHER, 2)[1:]], [Skipped]),
    (fields(HELLO, 'a', '/', OTHER, 2)[:-1], [Act]),
    ([], [Skipped])])
def test_anything_else_takes_the_long_way(
        both: Both, entry: Sequence[bytes], kinds: List[Any]) -> None:
    node, sequences, _ = both.nodes[0]
    before = repr(both.state(node, sequences))
    assert node.plain_events.receive(
        Entry(Position(9), entry), 0.0, sequences) is None
    assert repr(both.state(node, sequences)) == before
    assert list(map(type, both.receive(entry))) == kinds


def test_malformed_data_is_skipped_and_numbered(both: Both) -> None:
    entry = fields(HELLO, 'a', '/', OTHER, 2)
    entry[7] = b'nonsense'
    assert list(map(type, both.receive(entry))) == [Skipped]
    entry[11] = b'3'
    entry[7] = fields(HELLO, 'a', '/', OTHER, 3)[7]
    assert list(map(type, both.receive(entry))) == [Act]


NUMBERS = st.sampled_from([
    b'1', b'2', b'3', b'03', b'+3', b' 3', b'3_0', b'5', b'', b'x', b'9' * 20])


@st.composite
def entries(draw: Any) -> Tuple[List[bytes], float]:
    """An entry, perhaps damaged, and when it comes."""
    entry = [
        b'uid', draw(st.sampled_from([b'a', b'a', b'b', b'emitter', b'me',
                                      b'', b'\xff'])),
        b'nsp', draw(st.sampled_from([b'/', b'/', b'/chat', b'/other', b'',
                                      b'\xff'])),
        b'type', draw(st.sampled_from([b'3', b'3', b'3', b'2', b'4', b'13',
                                       b'03', b'x'])),
        b'data', draw(written() | st.just(fields(
            HELLO, 'a', '/', OTHER, 2)[7])),
        b'wid', draw(st.sampled_from([OWN, OTHER, OTHER, EMITTER, b'new',
                                      b''])),
        b'seq', draw(st.sampled_from([b'%d' % n for n in range(1, 9)])
                     | NUMBERS),
        b'since', draw(st.sampled_from([b'4-0', b'5-0', b'', b'x']))]
    change = draw(st.integers(0, 12))
    if change == 0:
        del entry[draw(st.integers(0, len(entry) - 1))]
    elif change == 1:
        entry[2:2] = draw(st.sampled_from([
            [b'more', b'x'], [b'uid', b'b'], [b'x']]))
    elif change == 2:
        place = 2 * draw(st.integers(0, 6))
        entry = entry[place:] + entry[:place]
    return entry, draw(st.sampled_from([0.0, 1.0, 2.0]))


@settings(max_examples=examples(300), deadline=None,
          suppress_health_check=list(HealthCheck))
@given(st.lists(entries(), max_size=12))
def test_both_ways_lead_to_the_same(
        received: List[Tuple[List[bytes], float]]) -> None:
    both = Both()
    for entry, now in received:
        both.receive(entry, now)
