"""A node's reactions to entries and to time."""
from typing import Any, Iterator, List, Optional, Sequence

import pytest

from redis_streams_adapter.protocol.codec import Encoder, Packed
from redis_streams_adapter.protocol.events import Acknowledged, Act, \
    Completed, Duplicate, Missing, NodeJoined, NodeLeft, ReaderReports, \
    ReadersAsked, Returned, Send, Skipped
from redis_streams_adapter.protocol.messages import AdapterClose, Broadcast, \
    BroadcastAck, BroadcastClientCount, CAUGHT_UP, DisconnectSockets, \
    EMITTER_UID, EVERYONE, FetchSockets, FetchSocketsResponse, Heartbeat, \
    InitialHeartbeat, ServerSideEmit, ServerSideEmitResponse, SocketsJoin, \
    SocketsLeave, Target
from redis_streams_adapter.protocol.announcements import TICK_INTERVAL
from redis_streams_adapter.protocol.node import Node
from redis_streams_adapter.protocol.presence import Presence
from redis_streams_adapter.protocol.pending_requests import CALLBACK_LIFETIME
from redis_streams_adapter.protocol.requests import Asked, ClientsRequest, \
    NOBODY, NodesRequest
from redis_streams_adapter.protocol.sequences import Sequences
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry, Way

from ..conftest import Log

INTERVAL, TIMEOUT = 5.0, 10.0

WRITER = b'the-writer-of-this-node'


@pytest.fixture
def node() -> Node:
    """A node that serves ``/`` since time 0, and has announced it."""
    node = Node('me', INTERVAL, TIMEOUT)
    node.serve(['/'], 0.0)
    return node


@pytest.fixture(autouse=True)
def sequences() -> Iterator[Sequences]:
    """The entries that the tested node has seen, from position 5-0 on."""
    seen.append(Sequences(WRITER))
    seen[-1].begin((5, 0))
    yield seen[-1]
    seen.clear()


seen: List[Sequences] = []


def entry(message: Any, uid: str = 'a', namespace: str = '/',
          writer: Optional[bytes] = None, sequence: int = 0,
          since: Optional[bytes] = None) -> List[bytes]:
    fields = [*Encoder(uid).encode(namespace, message)]
    if writer is not None:
        fields += [b'wid', writer, b'seq', b'%d' % sequence]
    if since is not None:
        fields += [b'since', since]
    return fields


def receive_entry(node: Node, fields: List[bytes],
                  now: float = 0.0) -> List[Any]:
    """Let a node receive an entry with the position 9-0."""
    return list(node.receive(Entry(Position(9), fields), now, seen[0]))


def receive(node: Node, message: Any, now: float = 0.0,
            **others: Any) -> List[Any]:
    return receive_entry(node, entry(message, **others), now)


HELLO = Broadcast(('hello',))


# -- entries -----------------------------------------------------------------

def test_first_entry_of_a_node(node: Node) -> None:
    assert receive(node, HELLO) == [NodeJoined('/', 'a'),
                                    Act('/', 'a', HELLO)]
    assert receive(node, HELLO) == [Act('/', 'a', HELLO)]
    assert node.count('/') == 2


@pytest.mark.parametrize('message', [
    HELLO, Broadcast(('hello',), EVERYONE, 'request'),
    SocketsJoin(Target(('x',)), ('y',)), SocketsLeave(EVERYONE, ('y',)),
    DisconnectSockets(EVERYONE, True), FetchSockets(EVERYONE, 'request'),
    ServerSideEmit(('hello',))])
def test_commands_of_other_nodes(node: Node, message: Any) -> None:
    receive(node, Heartbeat())
    assert receive(node, message) == [Act('/', 'a', message)]


@pytest.mark.parametrize('way', Way)
def test_messages_over_pubsub(node: Node, way: Way) -> None:
    """The answer takes the same way. It is not a heartbeat: Redis counts the
    subscribed nodes."""
    for message in FetchSockets(EVERYONE, 'r'), ServerSideEmit(('hello',)):
        assert list(node.hear(Packed('a', '/', message), way)) == [
            Act('/', 'a', message, way)]
        assert list(node.hear(Packed('a', '/chat', message), way)) == []
    assert node.count('/') == 1


def test_answer_over_pubsub(node: Node) -> None:
    """Over either way it is the same answer, and counts once."""
    waiter = object()
    request = NodesRequest('/', waiter)
    node.expect('r', request, 0.0, Asked(2, ['a']))
    one, two = (ServerSideEmitResponse('r', each) for each in (1, 2))
    assert list(node.hear(Packed('a', '/', one), Way.PLAIN)) == []
    assert list(node.hear(Packed('a', '/', two), Way.PLAIN)) == []
    assert receive(node, two, uid='a') == [NodeJoined('/', 'a')]
    assert list(node.hear(Packed('js', '/', two), Way.SHARDED)) == [
        Completed(waiter)]
    assert list(node.hear(Packed('js', '/', two), Way.SHARDED)) == []
    assert request.answers == {'a': 1, 'js': 2}


def test_nodes_that_a_request_waits_for(node: Node) -> None:
    """It waits for the counted nodes, known by name or not; without a count,
    for the known nodes."""
    receive(node, Heartbeat())
    receive(node, Heartbeat(), uid='killed')
    counted, known, none = (NodesRequest('/', each) for each in range(3))
    node.expect('1', counted, 0.0, Asked(2, ['a']))
    node.expect('2', known, 0.0)
    node.expect('3', none, 0.0, NOBODY)
    assert counted.missing == ['a'] and counted.progress == (0, 2)
    assert known.missing == ['a', 'killed']
    assert none.complete and none.missing == []
    receive(node, AdapterClose(), uid='killed')
    assert counted.progress == (0, 2)
    assert known.missing == ['a']
    receive(node, AdapterClose(), uid='a')
    assert counted.progress == (0, 1)
    assert known.complete


def test_heartbeats(node: Node) -> None:
    assert receive(node, Heartbeat()) == [NodeJoined('/', 'a')]
    assert receive(node, Heartbeat()) == []


def test_new_node_is_answered(node: Node) -> None:
    answer = Send('/', Heartbeat())
    assert receive(node, InitialHeartbeat()) == [NodeJoined('/', 'a'), answer]
    # It may have been away for a moment.
    assert receive(node, InitialHeartbeat()) == [answer]


def test_each_other_node_is_asked_once(node: Node) -> None:
    node.serve(['/', '/chat', '/other'], 0.0)
    for namespace, uid in (('/', 'a'), ('/', 'b'), ('/chat', 'b'),
                           ('/chat', 'c')):
        receive(node, Heartbeat(), namespace=namespace, uid=uid)
    assert node.nodes_to_ask(node.namespaces) == {
        '/': ['a', 'b'], '/chat': ['c']}
    assert node.nodes_to_ask(['/chat']) == {'/chat': ['b', 'c']}
    assert node.nodes_to_ask([]) == {}


def test_node_that_leaves(node: Node) -> None:
    receive(node, Heartbeat())
    assert receive(node, AdapterClose()) == [
        NodeLeft('/', 'a', silent=False)]
    assert node.count('/') == 1


def test_unknown_node_that_leaves(node: Node) -> None:
    events = receive(node, AdapterClose())
    assert NodeJoined('/', 'a') not in events
    assert node.count('/') == 1


def test_emitter_is_no_node(node: Node) -> None:
    assert receive(node, HELLO, uid=EMITTER_UID) == [
        Act('/', EMITTER_UID, HELLO)]
    assert receive(node, Heartbeat(), uid=EMITTER_UID) == []
    assert node.count('/') == 1
    assert node.others == 0


def test_another_namespace(node: Node) -> None:
    """Members of it are known; nothing is done for them."""
    assert receive(node, HELLO, namespace='/chat') == [
        NodeJoined('/chat', 'a')]
    assert receive(node, HELLO, namespace='/chat') == []
    assert receive(node, InitialHeartbeat(), namespace='/chat',
                   uid='b') == [NodeJoined('/chat', 'b')]
    assert receive(node, HELLO, namespace='/chat', uid=EMITTER_UID) == []
    # This node itself is not one of them.
    assert (node.count('/chat'), node.count('/')) == (2, 1)
    assert node.others == 2
    assert receive(node, AdapterClose(), namespace='/chat') == [
        NodeLeft('/chat', 'a', silent=False)]
    assert (11.0, NodeLeft('/chat', 'b', True)) in pass_time(
        node, 0.0, TIMEOUT + 1)
    assert node.count('/chat') == node.others == 0


def test_entries_of_the_node_itself(node: Node, sequences: Sequences) -> None:
    for uid in ('me', EMITTER_UID):
        for message in (HELLO, InitialHeartbeat(), AdapterClose()):
            assert receive(node, message, uid=uid, writer=WRITER,
                           sequence=7) == [Returned(7, message is HELLO)]
    assert node.count('/') == 1


def test_copies(node: Node) -> None:
    receive(node, Heartbeat(), writer=b'w', sequence=1)
    assert receive(node, HELLO, writer=b'w', sequence=2) == [
        Act('/', 'a', HELLO)]
    for sequence in (2, 1):
        assert receive(node, HELLO, writer=b'w', sequence=sequence) == [
            Duplicate()]


def test_copy_is_no_heartbeat(node: Node) -> None:
    receive(node, HELLO, 0.0, writer=b'w', sequence=1)
    receive(node, HELLO, 9.0, writer=b'w', sequence=1)
    node.tick(9.0, True)
    node.tick(10.5, True)
    assert node.count('/') == 1


def test_heartbeats_are_not_numbered(node: Node) -> None:
    """They carry the number of the previous message."""
    receive(node, InitialHeartbeat(), writer=b'w', sequence=0)
    assert receive(node, HELLO, writer=b'w', sequence=1) == [
        Act('/', 'a', HELLO)]
    for message in (Heartbeat(), Heartbeat(), AdapterClose()):
        assert Missing not in map(type, receive(
            node, message, writer=b'w', sequence=1))
    assert receive(node, Heartbeat(), writer=b'w', sequence=4)[0] == \
        Missing('a', 3)
    assert receive(node, HELLO, writer=b'w', sequence=5) == [
        Act('/', 'a', HELLO)]


def test_newer_writer_is_seen_from_its_first_entry(node: Node) -> None:
    events = receive(node, HELLO, writer=b'w', sequence=8, since=b'5-0')
    assert events[0] == Missing('a', 7)
    assert receive(node, HELLO, writer=b'w', sequence=9, since=b'5-0') == [
        Act('/', 'a', HELLO)]
    events = receive(node, HELLO, writer=b'x', sequence=8, since=b'4-7')
    assert Missing not in map(type, events)
    skipped, = receive(node, HELLO, writer=b'y', sequence=8, since=b'soon')
    assert isinstance(skipped, Skipped) and 'since' in str(skipped.error)


def test_copies_of_entries_in_another_namespace(node: Node) -> None:
    """A namespace may be served from a time between the two."""
    receive(node, HELLO, namespace='/chat', writer=b'w', sequence=1)
    node.serve(['/', '/chat'], 0.0)
    assert receive(node, HELLO, namespace='/chat', writer=b'w',
                   sequence=1) == [Duplicate()]


def test_gaps(node: Node) -> None:
    receive(node, Heartbeat(), writer=b'w', sequence=1)
    assert receive(node, HELLO, writer=b'w', sequence=5) == [
        Missing('a', 3), Act('/', 'a', HELLO)]
    assert receive(node, HELLO, writer=b'w', sequence=7,
                   namespace='/chat') == [Missing('a', 1),
                                          NodeJoined('/chat', 'a')]
    assert receive(node, HELLO, writer=b'w', sequence=8) == [
        Act('/', 'a', HELLO)]


def test_malformed_entries(node: Node) -> None:
    event, = receive_entry(node, [b'uid', b'a'])
    assert isinstance(event, Skipped)
    fields = entry(HELLO)
    joined, skipped = receive_entry(node, [*fields[:-1], b'{'])
    # A node that writes is alive, whatever it writes.
    assert joined == NodeJoined('/', 'a')
    assert isinstance(skipped, Skipped)
    assert 'JSON' in str(skipped.error)
    assert receive_entry(node, fields) == [Act('/', 'a', HELLO)]


def test_malformed_data_of_another_namespace(node: Node) -> None:
    """They are not even decoded."""
    fields = entry(HELLO, namespace='/chat')
    assert receive_entry(node, [*fields[:-1], b'{']) == [
        NodeJoined('/chat', 'a')]


def test_readers_that_lag(node: Node) -> None:
    receive(node, Heartbeat())
    position = Position(17, 3)
    assert receive(node, Heartbeat(position)) == [
        ReaderReports('a', position, True)]
    assert receive(node, Heartbeat(CAUGHT_UP, read=position)) == [
        ReaderReports('a', position, False)]
    # As earlier versions report it.
    assert receive(node, Heartbeat(CAUGHT_UP)) == [
        ReaderReports('a', None, False)]
    assert receive(node, Heartbeat()) == []


def test_readers_that_lag_in_another_namespace(node: Node) -> None:
    """One stream carries all namespaces."""
    receive(node, Heartbeat(), namespace='/chat')
    assert receive(node, Heartbeat(Position(17, 3)), namespace='/chat') == [
        ReaderReports('a', Position(17, 3), True)]
    assert receive(node, Heartbeat(CAUGHT_UP, read=Position(17, 4)),
                   namespace='/chat') == [
        ReaderReports('a', Position(17, 4), False)]
    for fields in ([b'behind', b'x'], [b'behind', b'', b'read', b'x'],
                   [b'behind', b'', b'read', b''],
                   [b'type', b'3', b'behind', b'1-1']):
        events = receive_entry(
            node, [*entry(Heartbeat(), namespace='/chat'), *fields])
        assert not any(isinstance(event, ReaderReports) for event in events)


def test_question_for_the_positions_of_readers(node: Node) -> None:
    """Every reader answers, whatever its namespaces. Who asks is no member.
    """
    for namespace in '/', '/chat':
        assert receive(node, Heartbeat(asks=True), uid=EMITTER_UID,
                       namespace=namespace) == [ReadersAsked()]
    # Other messages ask for nothing.
    assert ReadersAsked() not in receive_entry(
        node, [*entry(HELLO), b'asks', b'1'])


# -- acknowledgements --------------------------------------------------------

def test_acknowledgements(node: Node, log: Log) -> None:
    receive(node, Heartbeat())
    node.expect('r', ClientsRequest('/', callback=log), 0.0)
    assert receive(node, BroadcastClientCount('r', 2)) == []
    assert receive(node, BroadcastAck('r', (1, 'two'))) == [
        Acknowledged(log, (1, 'two'))]
    assert receive(node, BroadcastAck('r', ())) == [Acknowledged(log, ())]
    assert receive(node, BroadcastAck('r', ())) == []
    # The shell makes the calls, not the node.
    assert log.calls == []


def test_unexpected_answers(node: Node, log: Log) -> None:
    receive(node, Heartbeat())
    assert receive(node, BroadcastClientCount('x', 1)) == []
    assert receive(node, BroadcastAck('x', (1,))) == []
    node.expect('r', ClientsRequest('/', callback=log), 0.0)
    node.withdraw('r')
    assert receive(node, BroadcastAck('r', (1,))) == []


@pytest.mark.parametrize('says_goodbye', [True, False])
def test_lost_node_is_not_waited_for(node: Node, log: Log,
                                     says_goodbye: bool) -> None:
    for uid in ('a', 'b'):
        receive(node, Heartbeat(), uid=uid)
    node.expect('r', ClientsRequest('/', callback=log), 0.0)
    receive(node, BroadcastClientCount('r', 0), uid='a')
    if says_goodbye:
        receive(node, AdapterClose(), uid='b')
    else:
        receive(node, Heartbeat(), TIMEOUT, uid='a')
        pass_time(node, 0.0, TIMEOUT + 1)
    assert receive(node, BroadcastAck('r', ()), uid='a') == []


def test_waiting_for_answers_ends(node: Node, log: Log) -> None:
    receive(node, Heartbeat())
    node.expect('r', ClientsRequest('/', callback=log), 0.0)
    node.tick(CALLBACK_LIFETIME + 1, False)
    assert receive(node, BroadcastAck('r', ())) == []


WAITER = object()


@pytest.mark.parametrize('answer, response', [
    (FetchSocketsResponse('r', ()), ()),
    (ServerSideEmitResponse('r', 'x'), 'x')])
def test_nodes_answer(node: Node, answer: Any, response: Any) -> None:
    for uid in ('a', 'b'):
        receive(node, Heartbeat(), uid=uid)
    request = NodesRequest('/', WAITER)
    node.expect('r', request, 0.0)
    assert receive(node, answer, uid='a') == []
    assert receive(node, answer, uid='b') == [Completed(WAITER)]
    assert request.answers == {'a': response, 'b': response}


def test_loss_of_the_last_awaited_node(node: Node) -> None:
    for uid in ('a', 'b'):
        receive(node, Heartbeat(), uid=uid)
    nodes, clients = NodesRequest('/', WAITER), ClientsRequest('/', WAITER)
    node.expect('1', nodes, 0.0)
    node.expect('2', clients, 0.0)
    receive(node, ServerSideEmitResponse('1', 'x'), uid='a')
    receive(node, BroadcastClientCount('2', 0), uid='a')
    receive(node, BroadcastClientCount('2', 3), uid='b')
    receive(node, BroadcastAck('2', (1,)), uid='b')
    assert receive(node, AdapterClose(), uid='b') == [
        NodeLeft('/', 'b', False), Completed(WAITER), Completed(WAITER)]
    assert nodes.answers == {'a': 'x'}
    assert clients.responses == [1]


@pytest.mark.parametrize('said, writer, gone', [
    (HELLO, None, False), (Heartbeat(), None, True), (HELLO, b'w', True)])
def test_silence_of_nodes_without_heartbeats(node: Node, said: Any,
                                             writer: Optional[bytes],
                                             gone: bool) -> None:
    """Node.js 0.3 has none: nodes asked over PUB/SUB are alive as long as they
    are subscribed. Python nodes have heartbeats, whatever they write."""
    receive(node, said, uid='a', writer=writer, sequence=1)
    request = ClientsRequest('/', WAITER)
    node.expect('r', request, 0.0, Asked(1))
    receive(node, BroadcastClientCount('r', 1), uid='a')
    events = [event for _, event in pass_time(
        node, 0.0, TIMEOUT + TICK_INTERVAL)]
    assert NodeLeft('/', 'a', True) in events
    assert (Completed(WAITER) in events) == gone
    assert request.complete == gone


def test_local_clients_answer(node: Node) -> None:
    request = ClientsRequest('/', WAITER)
    request.count_own(node.uid, 1)
    node.expect('r', request, 0.0)
    assert list(node.respond(node.uid, BroadcastAck('r', (1,)))) == [
        Completed(WAITER)]
    assert request.responses == [1]


# -- time --------------------------------------------------------------------

def pass_time(node: Node, start: float, end: float,
              hearing: bool = True) -> List[Any]:
    """Tick as often as is due.

    :return: the events, each with its time.
    """
    events = []
    now = start
    while now <= end:
        events += [(now, event) for event in node.tick(now, hearing)]
        now += TICK_INTERVAL
    return events


def lost(events: List[Any]) -> List[Any]:
    """Those of the events that are no heartbeats."""
    return [each for each in events if not isinstance(each[1], Send)]


def test_heartbeat_is_due_after_silence(node: Node) -> None:
    events = pass_time(node, 0.0, 4.5)
    assert events == []
    (_, event), = pass_time(node, 5.0, 5.0)
    assert event == Send('/', Heartbeat())
    assert isinstance(event.message.presence, Presence)
    # It names what is served, so no other message will do.
    node.spoke('/', 9.0)
    assert pass_time(node, 6.0, 9.0) == []
    assert len(pass_time(node, 10.0, 10.0)) == 1


def test_heartbeats_are_due_in_each_namespace(node: Node) -> None:
    """In which servers need them."""
    node.serve(['/', '/chat', '/news'], 0.0)
    receive(node, Heartbeat(), namespace='/news')
    receive(node, Heartbeat(), namespace='/elsewhere')
    assert node.tick(5.0, True) == [
        Send('/', Heartbeat()), Send('/news', Heartbeat())]


def test_silent_node_is_dropped(node: Node) -> None:
    receive(node, Heartbeat(), 0.5)
    assert lost(pass_time(node, 0.0, 10.0)) == []
    assert lost(pass_time(node, 11.0, 11.0)) == [
        (11.0, NodeLeft('/', 'a', silent=True))]
    assert node.count('/') == 1
    assert receive(node, Heartbeat(), 12.0) == [NodeJoined('/', 'a')]


def test_no_node_is_dropped_while_nothing_is_heard(node: Node) -> None:
    receive(node, Heartbeat(), 0.0)
    assert pass_time(node, 0.0, 100.0, hearing=False) == []
    assert node.count('/') == 2
    # Afterwards each node has the whole timeout again.
    assert lost(pass_time(node, 101.0, 110.0)) == []
    assert lost(pass_time(node, 111.0, 111.0)) == [
        (111.0, NodeLeft('/', 'a', silent=True))]


#: Valid intervals and timeouts.
TIMES = [(5.0, 10.0), (0.5, 1.5), (0.5, 0.6), (1.0, 2.0), (1.9, 2.0),
         (9.0, 10.0), (20.0, 60.0), (0.05, 0.1)]


@pytest.mark.parametrize('interval, timeout', TIMES)
def test_no_node_is_dropped_after_sleep(interval: float,
                                        timeout: float) -> None:
    node = Node('me', interval, timeout)
    node.serve(['/'], 0.0)
    receive(node, Heartbeat(), 0.0)
    node.tick(0.0, True)
    events = node.tick(100.0, True)
    assert NodeLeft('/', 'a', silent=True) not in events
    assert node.count('/') == 2
    # But it soon hears that this node is alive.
    assert Send('/', Heartbeat()) in [*events, *node.tick(
        100.0 + node.next_tick(100.0), True)]


@pytest.mark.parametrize('interval, timeout', TIMES)
@pytest.mark.parametrize('moment', [0.0, 0.01, 0.5, 0.99])
def test_idle_nodes_do_not_drop_each_other(interval: float, timeout: float,
                                           moment: float) -> None:
    """One of them last wrote at any time between two ticks."""
    node = Node('me', interval, timeout)
    node.serve(['/'], 0.0)
    now = node.next_tick(0.0)
    spoke = moment * now
    node.spoke('/', spoke)
    while Send('/', Heartbeat()) not in node.tick(now, True):
        now = later(node, now)
        assert now - spoke < timeout


@pytest.mark.parametrize('interval, timeout', TIMES)
def test_dead_nodes_are_dropped(interval: float, timeout: float) -> None:
    node = Node('me', interval, timeout)
    node.serve(['/'], 0.0)
    receive(node, Heartbeat(), 0.0)
    now, before = 0.0, 0.0
    while NodeLeft('/', 'a', silent=True) not in node.tick(now, True):
        before, now = now, later(node, now)
        assert now - before <= TICK_INTERVAL * 1.1
    assert before <= timeout < now


def later(node: Node, now: float) -> float:
    """The time of the next tick: always a little late, as in practice."""
    return now + node.next_tick(now) * 1.01


def test_ticks(node: Node) -> None:
    assert Node('x', INTERVAL, TIMEOUT).next_tick(0.0) == \
        TICK_INTERVAL
    assert node.next_tick(0.0) == TICK_INTERVAL
    # Earlier if a heartbeat is due earlier.
    assert node.next_tick(4.5) == 0.5
    # An overdue heartbeat that cannot be sent is not retried for ever.
    for now in (5.0, 6.0, 100.0):
        assert node.next_tick(now) == TICK_INTERVAL


# -- namespaces --------------------------------------------------------------

def test_serving() -> None:
    node = Node('me', INTERVAL, TIMEOUT)
    assert node.namespaces == []
    assert node.serve(['/', '/chat', '/'], 0.0) == [
        Send('/', InitialHeartbeat()), Send('/chat', InitialHeartbeat())]
    assert node.serves('/') and node.serves('/chat')
    assert not node.serves('/news')
    assert node.serve(['/chat', '/'], 1.0) == []
    assert node.serve(['/chat', '/news'], 2.0) == [
        Send('/', AdapterClose()), Send('/news', InitialHeartbeat())]
    assert node.namespaces == ['/chat', '/news']
    assert node.serve([], 3.0) == [
        Send('/chat', AdapterClose()), Send('/news', AdapterClose())]


def test_namespace_that_is_no_longer_served(node: Node) -> None:
    receive(node, Heartbeat())
    node.serve([], 0.0)
    assert node.count('/') == 1
    assert receive(node, HELLO) == []
    # Nor is a heartbeat due in it, whatever was written there.
    node.spoke('/', 0.0)
    assert pass_time(node, 0.0, 20.0) == [(11.0, NodeLeft('/', 'a', True))]


def test_counts(node: Node) -> None:
    node.serve(['/', '/chat'], 0.0)
    for uid, namespace in (('a', '/'), ('b', '/'), ('b', '/chat')):
        receive(node, Heartbeat(), uid=uid, namespace=namespace)
    assert (node.count('/'), node.count('/chat')) == (3, 2)
    assert node.others == 2


def test_events_are_returned_once(node: Node) -> None:
    """A returned list does not change any more."""
    events: Sequence[Any] = receive(node, Heartbeat())
    receive(node, Heartbeat(), uid='b')
    assert list(events) == [NodeJoined('/', 'a')]
