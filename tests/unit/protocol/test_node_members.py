"""The members that a node learns of: from the history, from lists, in
namespaces that it does not serve."""
from typing import Any, List, Optional

import pytest

from redis_streams_adapter.protocol.codec import decode, Encoder, open_envelope
from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.discovery import Knowledge, Span
from redis_streams_adapter.protocol.events import Act, Completed, Learned, \
    NodeJoined, NodeLeft, ReaderReports, Returned, Send
from redis_streams_adapter.protocol.messages import AdapterClose, Broadcast, \
    BroadcastAck, BroadcastClientCount, CAUGHT_UP, EMITTER_UID, EVERYONE, \
    FetchSockets, FetchSocketsResponse, Heartbeat, InitialHeartbeat, \
    ServerSideEmitResponse
from redis_streams_adapter.protocol.membership import MAX_LISTED, \
    MAX_LISTED_BYTES
from redis_streams_adapter.protocol.node import Node
from redis_streams_adapter.protocol.requests import NodesRequest
from redis_streams_adapter.protocol.sequences import Sequences
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry

INTERVAL, TIMEOUT = 5.0, 10.0

WRITER = b'the-writer-of-this-node'
HELLO = Broadcast(('hello',))
WAITER = object()


class Watched:
    """A node that serves ``/``, and reads one stream from 5-0 on.

    :param span: the history that it has read.
    """

    def __init__(self, span: Span = Span(TIMEOUT, True)) -> None:
        self.node = Node('me', INTERVAL, TIMEOUT)
        self.node.serve(['/'], 0.0)
        self.knowledge = Knowledge(TIMEOUT)
        self.knowledge.begin((5, 0), span, 0.0)
        self.sequences = Sequences(WRITER)
        self.sequences.begin((5, 0))
        self.before = Sequences()

    def receive(self, message: Any, uid: str = 'a', namespace: str = '/',
                now: float = 0.0, **stamp: Any) -> List[Any]:
        return list(self.node.receive(
            Entry(Position(9), fields(message, uid, namespace, **stamp)), now,
            self.sequences, self.knowledge))

    def recall(self, message: Any, uid: str = 'a', namespace: str = '/',
               at: float = -1.0, **stamp: Any) -> None:
        self.node.recall(Entry(Position(4), fields(
            message, uid, namespace, **stamp)), at, self.before)

    def knows(self, namespace: str = '/', now: float = 0.0) -> bool:
        return self.node.unknown_for(namespace, self.knowledge, now) == 0


def fields(message: Any, uid: str, namespace: str,
           writer: Optional[bytes] = None, sequence: int = 0) -> List[bytes]:
    found = [*Encoder(uid).encode(namespace, message)]
    if writer is not None:
        found += [b'wid', writer, b'seq', b'%d' % sequence]
    return found


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def newcomer() -> Watched:
    """A node that has read nothing of the history."""
    return Watched(Span(0.0, False))


# -- the history -------------------------------------------------------------

def test_history(watched: Watched) -> None:
    watched.recall(HELLO, 'a', at=-3.0)
    watched.recall(Heartbeat(), 'b', '/chat', -2.0)
    watched.recall(HELLO, EMITTER_UID)
    watched.recall(HELLO, 'me')
    assert watched.node.nodes('/') == {'a': -3.0}
    assert watched.node.nodes('/chat') == {'b': -2.0}
    # Its age counts.
    assert NodeLeft('/', 'a', True) in watched.node.tick(
        TIMEOUT - 2.5, True)


def test_goodbyes_in_the_history(watched: Watched) -> None:
    watched.recall(Heartbeat(), 'a')
    watched.recall(Heartbeat(), 'a', '/chat')
    watched.recall(AdapterClose(), 'a')
    watched.recall(AdapterClose(), 'stranger')
    assert watched.node.nodes('/') == {}
    assert watched.node.nodes('/chat') == {'a': -1.0}


def test_history_is_not_carried_out(watched: Watched) -> None:
    for message in (InitialHeartbeat(True), FetchSockets(EVERYONE, 'r')):
        watched.recall(message)
    watched.node.recall(Entry(Position(4), [b'uid', b'a']), 0.0,
                        watched.before)
    assert watched.receive(HELLO, writer=b'w', sequence=1) == [
        Act('/', 'a', HELLO)]
    # Nor is it taken for a copy when it arrives again.
    watched.recall(HELLO, writer=b'v', sequence=9)
    assert len(watched.receive(HELLO, writer=b'v', sequence=3)) == 1


def test_copies_in_the_history(watched: Watched) -> None:
    """A copy after a goodbye does not restore the node."""
    watched.recall(HELLO, writer=b'w', sequence=1)
    watched.recall(AdapterClose(), writer=b'w', sequence=1)
    watched.recall(HELLO, writer=b'w', sequence=1)
    assert watched.node.nodes('/') == {}


# -- lists -------------------------------------------------------------------

def test_node_that_knows_all_members_lists_them(watched: Watched) -> None:
    for uid, now in (('a', 1.0), ('b', 2.0)):
        watched.receive(Heartbeat(), uid, now=now)
    watched.receive(Heartbeat(), 'elsewhere', '/chat')
    answer = Heartbeat(members={'a': 2.0, 'b': 1.0, 'new': 0.0},
                       at=Position(9))
    assert watched.receive(InitialHeartbeat(True), 'new', now=3.0) == [
        NodeJoined('/', 'new'), Send('/', answer)]
    # A process that is not a member asks as an emitter.
    assert watched.receive(InitialHeartbeat(True), EMITTER_UID,
                           now=3.0) == [Send('/', answer)]
    # Not asked by a node, nor in a namespace that is served.
    assert watched.receive(InitialHeartbeat(), 'new', now=3.0) == [
        Send('/', Heartbeat())]
    assert watched.receive(InitialHeartbeat(True), EMITTER_UID,
                           '/chat') == []


def test_node_that_does_not_know_all_members_lists_none(
        newcomer: Watched) -> None:
    assert newcomer.receive(InitialHeartbeat(True), EMITTER_UID) == [
        Send('/', Heartbeat())]


@pytest.mark.parametrize('uids', [
    [f'uid-{number}' for number in range(MAX_LISTED + 1)],
    [str(number) * (MAX_LISTED_BYTES // 9) for number in range(10)]])
def test_list_is_limited(watched: Watched, uids: List[str]) -> None:
    for uid in uids:
        watched.receive(Heartbeat(), uid)
    assert watched.receive(InitialHeartbeat(True), EMITTER_UID) == [
        Send('/', Heartbeat())]


def test_list_completes_discovery(newcomer: Watched) -> None:
    assert not newcomer.knows()
    newcomer.receive(Heartbeat(), 'seen', now=1.0)
    newcomer.receive(AdapterClose(), 'left', now=1.0)
    listed = Heartbeat(members={'seen': 5.0, 'left': 1.0, 'other': 4.0,
                                'me': 0.0, EMITTER_UID: 0.0}, at=Position(6))
    assert newcomer.receive(listed, 'a', now=2.0) == [
        NodeJoined('/', 'a'), NodeJoined('/', 'other'), Learned()]
    assert newcomer.node.nodes('/') == {'seen': 1.0, 'a': 2.0, 'other': -2.0}
    assert newcomer.knows() and not newcomer.knows('/chat')
    assert newcomer.receive(listed, 'a', now=2.0) == []


def test_list_of_a_namespace_that_is_not_served(newcomer: Watched) -> None:
    listed = Heartbeat(members={'b': 0.0}, at=Position(6))
    newcomer.receive(listed, 'a', '/chat')
    assert set(newcomer.node.nodes('/chat')) == {'a', 'b'}
    assert newcomer.knows('/chat') and not newcomer.knows()


def test_list_that_is_too_old(newcomer: Watched) -> None:
    listed = Heartbeat(members={'b': 0.0}, at=Position(4, 9))
    assert newcomer.receive(listed) == [NodeJoined('/', 'a')]
    assert not newcomer.knows()


@pytest.mark.parametrize('extra', [
    [b'members', b'{"x":1', b'at', b'6-0'],
    [b'members', b'[1]', b'at', b'6-0'],
    [b'members', b'{"x":"1"}', b'at', b'6-0'],
    [b'members', b'{"x":true}', b'at', b'6-0'],
    [b'members', b'{"x":-1}', b'at', b'6-0'],
    [b'members', b'{"x":NaN}', b'at', b'6-0'],
    [b'members', b'{"x":1e999}', b'at', b'6-0'],
    [b'members', b'{"":1}', b'at', b'6-0'],
    [b'members', b'{"x":1}', b'at', b'now'],
    [b'behind', b'', b'reader', b'\xff'], [b'behind', b'', b'reader', b'']])
def test_malformed_lists(extra: List[bytes]) -> None:
    envelope = open_envelope(
        [b'uid', b'a', b'nsp', b'/', b'type', b'2', *extra])
    with pytest.raises(DecodeError):
        decode(envelope)


@pytest.mark.parametrize('message', [
    InitialHeartbeat(), InitialHeartbeat(True), Heartbeat(),
    Heartbeat(CAUGHT_UP), Heartbeat(Position(7, 1), 'me'),
    Heartbeat(members={}, at=Position(6)),
    Heartbeat(members={'ä "x"': 1.5}, at=Position(6))])
def test_round_trip(message: Any) -> None:
    assert decode(open_envelope(fields(message, 'a', '/'))) == message


def test_older_versions_read_it() -> None:
    """It ignores this package's fields that it does not know; a list without
    its position is none."""
    assert decode(open_envelope([
        b'uid', b'a', b'nsp', b'/', b'type', b'2', b'members', b'{}',
        b'new', b'x'])) == Heartbeat()


# -- questions ---------------------------------------------------------------

def test_question_of_the_node_itself(newcomer: Watched) -> None:
    for uid in ('me', EMITTER_UID):
        assert newcomer.receive(
            InitialHeartbeat(True), uid, '/chat', writer=WRITER) == [
                Returned(0, False), Learned()]
    assert newcomer.node.count('/chat') == 0


# -- namespaces that are not served ------------------------------------------

@pytest.mark.parametrize('answer, response', [
    (FetchSocketsResponse('r', ()), ()),
    (ServerSideEmitResponse('r', 'x'), 'x')])
def test_answers_from_another_namespace(watched: Watched, answer: Any,
                                        response: Any) -> None:
    watched.receive(Heartbeat(), 'a', '/chat')
    request = NodesRequest('/chat', WAITER)
    watched.node.expect('r', request, 0.0)
    assert watched.receive(answer, 'a', '/chat') == [Completed(WAITER)]
    assert request.answers == {'a': response}
    # The request is over: they are not even decoded.
    assert watched.receive(BroadcastAck('r', ()), 'a', '/chat') == []
    assert watched.receive(BroadcastClientCount('r', 1), 'a', '/chat') == []


def test_node_that_joins_another_namespace_during_a_request(
        watched: Watched) -> None:
    request = NodesRequest('/chat', WAITER)
    watched.node.expect('r', request, 0.0, writer=WRITER)
    watched.receive(HELLO, 'a', '/chat')
    watched.node.written('r', WRITER, 1)
    assert watched.receive(FetchSockets(EVERYONE, 'r'), EMITTER_UID, '/chat',
                           writer=WRITER, sequence=1) == [Returned(1, True)]
    watched.receive(HELLO, 'late', '/chat')
    assert request.missing == ['a']
    assert watched.receive(AdapterClose(), 'a', '/chat') == [
        NodeLeft('/chat', 'a', False), Completed(WAITER)]


# -- time --------------------------------------------------------------------

def test_heartbeat_is_due_at_once_after_sleep(watched: Watched) -> None:
    """In every namespace in which it is needed: the others may have dropped
    it."""
    watched.node.serve(['/', '/chat', '/news'], 0.0)
    watched.receive(Heartbeat(), 'a', '/chat', 99.0)
    watched.node.tick(0.0, True)
    for namespace in ('/', '/chat'):
        watched.node.spoke(namespace, 99.0)
    assert watched.node.tick(100.0, True) == [
        Send('/', Heartbeat()), Send('/chat', Heartbeat())]


def test_members_are_unknown_after_sleep(newcomer: Watched) -> None:
    newcomer.node.tick(0.0, True, [newcomer.knowledge])
    # Nor before a node has noticed.
    assert not newcomer.knows(now=100.0)
    newcomer.node.tick(100.0, True, [newcomer.knowledge])
    assert not newcomer.knows(now=100.0)
    for now in range(101, 111):
        newcomer.node.tick(now, True, [newcomer.knowledge])
    assert newcomer.knows(now=110.0)


def test_members_are_unknown_after_an_outage(newcomer: Watched) -> None:
    for now in range(20):
        newcomer.node.tick(now, False, [newcomer.knowledge])
    assert not newcomer.knows(now=19.0)


def test_heartbeats_due_after_an_outage(watched: Watched) -> None:
    assert watched.node.resume(INTERVAL - 1) == []
    assert watched.node.resume(INTERVAL) == [Send('/', Heartbeat())]


def test_announcement_that_could_not_be_written(watched: Watched) -> None:
    """No other heartbeat replaces it."""
    watched.node.announcements.unsaid('/')
    watched.node.announcements.unsaid('/nowhere')
    assert watched.node.tick(0.0, True) == [Send('/', InitialHeartbeat())]
    assert watched.node.tick(1.0, True) == []
    watched.node.announcements.unsaid('/')
    watched.node.serve([], 1.0)
    assert watched.node.tick(2.0, True) == []


# -- readers that lag --------------------------------------------------------

def test_reader_of_a_node_that_writes_as_an_emitter(
        watched: Watched) -> None:
    assert watched.receive(Heartbeat(Position(3, 1), 'b'), EMITTER_UID,
                           '/chat') == [
        ReaderReports('b', Position(3, 1), True)]
    assert watched.receive(
        Heartbeat(CAUGHT_UP, 'b', read=Position(3, 2)), EMITTER_UID) == [
        ReaderReports('b', Position(3, 2), False)]
    # The local writer knows it from the local reader.
    assert watched.receive(Heartbeat(Position(3, 1), 'me'), EMITTER_UID) == []
    assert watched.receive(
        Heartbeat(CAUGHT_UP, 'me', read=Position(3, 1)), EMITTER_UID) == []


def test_report_of_a_reader_keeps_a_python_node(watched: Watched) -> None:
    """It is written out of order, without the writer's fields. Over PUB/SUB, a
    Python node that does not listen yet is waited for."""
    watched.receive(Heartbeat(), writer=b'w')
    watched.receive(Heartbeat(CAUGHT_UP))
    assert watched.node.known('/')['a'].python
    watched.receive(Heartbeat(Position(8)), 'b')
    assert watched.node.known('/')['b'].python
    watched.receive(Heartbeat(), 'of node.js')
    assert not watched.node.known('/')['of node.js'].python
