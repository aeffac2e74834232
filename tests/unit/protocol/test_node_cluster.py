"""Several nodes over one stream, with a simulated clock."""
from typing import Any, Dict, List, Optional

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import invariant, precondition, rule, \
    RuleBasedStateMachine

from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.events import Acknowledged, Act, Missing, \
    NodeJoined, NodeLeft, Send
from redis_streams_adapter.protocol.messages import Broadcast, BroadcastAck, \
    BroadcastClientCount, MessageType, SIGNS_OF_LIFE
from redis_streams_adapter.protocol.node import Node
from redis_streams_adapter.protocol.requests import ClientsRequest
from redis_streams_adapter.protocol.sequences import Sequences

from ..conftest import Log
from ..examples import examples
from redis_streams_adapter.testing.stream import FakeStream

INTERVAL, TIMEOUT = 5.0, 10.0


class Cluster:
    """Nodes, their stream, and their time."""

    def __init__(self) -> None:
        self.stream = FakeStream()
        self.now = 0.0
        self.members: Dict[str, 'Member'] = {}
        self.writers = 0

    def start(self, uid: str, *namespaces: str) -> 'Member':
        member = self.members[uid] = Member(self, uid)
        member.serve(*(namespaces or ('/',)))
        self.settle()
        return member

    def settle(self) -> None:
        """Let all nodes that can read reach the end of the stream."""
        while any(member.read() for member in self.members.values()):
            continue

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass for all nodes, in ticks."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + step)
            self.stream.advance(step)
            for member in list(self.members.values()):
                member.tick()
            self.settle()

    def counts(self, namespace: str = '/') -> Dict[str, int]:
        return {uid: member.node.count(namespace)
                for uid, member in self.members.items()}


class Member:
    """A node's shell: it reads, writes, and does what its node returns."""

    def __init__(self, cluster: Cluster, uid: str) -> None:
        self.cluster = cluster
        self.uid = uid
        # A restarted process has a different one.
        cluster.writers += 1
        self.writer = b'writer-%d' % cluster.writers
        self.node = Node(uid, INTERVAL, TIMEOUT)
        self.sequences = Sequences(self.writer)
        self.events: List[Any] = []
        self.hearing = True
        self.asleep = False
        self._encoder = Encoder(uid)
        self._sequence = 0
        self._link = cluster.stream.link()
        self._link.connect()
        self._cursor = self._link.ends().last_id
        self.sequences.begin(self._cursor)

    def serve(self, *namespaces: str) -> None:
        self._do(self.node.serve(namespaces, self.cluster.now))

    def say(self, message: Any, namespace: str = '/') -> None:
        if message.type not in SIGNS_OF_LIFE:
            self._sequence += 1
        self._link.append([[
            *self._encoder.encode(namespace, message),
            b'wid', self.writer, b'seq', b'%d' % self._sequence]])
        self.node.spoke(namespace, self.cluster.now)

    def read(self) -> bool:
        """Read one page.

        :return: whether it had entries.
        """
        if self.asleep or not self.hearing:
            return False
        page = self._link.read(self._cursor, 10, None)
        for entry in page:
            self._cursor = entry.id
            self._do(self.node.receive(entry, self.cluster.now,
                                       self.sequences))
        return bool(page)

    def tick(self) -> None:
        if not self.asleep:
            self._do(self.node.tick(self.cluster.now, self.hearing))

    def leave(self) -> None:
        self.serve()
        self.die()

    def die(self) -> None:
        self._link.close()
        del self.cluster.members[self.uid]

    def events_of(self, kind: type) -> List[Any]:
        return [event for event in self.events if type(event) is kind]

    def _do(self, events: Any) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, Send):
                self.say(event.message, event.namespace)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def writers_of(cluster: Cluster, kind: MessageType,
               since: int = 0) -> List[bytes]:
    """The writers of messages of a type."""
    return [entry.fields[1] for entry in cluster.stream.entries[since:]
            if entry.fields[5] == b'%d' % kind]


def test_joining_takes_one_round(cluster: Cluster) -> None:
    for count, uid in enumerate('abcd', 1):
        cluster.start(uid)
        assert set(cluster.counts().values()) == {count}
    assert cluster.now == 0.0
    assert writers_of(cluster, MessageType.INITIAL_HEARTBEAT) == [
        b'a', b'b', b'c', b'd']
    # Each existing node has answered each new one.
    assert len(writers_of(cluster, MessageType.HEARTBEAT)) == 0 + 1 + 2 + 3
    for uid, member in cluster.members.items():
        joined = [event.uid for event in member.events_of(NodeJoined)]
        assert sorted(joined) == sorted(set('abcd') - {uid})


def test_leaving_is_known_at_once(cluster: Cluster) -> None:
    for uid in 'abc':
        cluster.start(uid)
    cluster.members['b'].leave()
    cluster.settle()
    assert cluster.counts() == {'a': 2, 'c': 2}
    assert cluster.members['a'].events_of(NodeLeft) == [
        NodeLeft('/', 'b', silent=False)]


def test_dead_node_is_dropped(cluster: Cluster) -> None:
    for uid in 'abc':
        cluster.start(uid)
    cluster.members['b'].die()
    cluster.pass_time(TIMEOUT)
    assert cluster.counts() == {'a': 3, 'c': 3}
    cluster.pass_time(2.0)
    assert cluster.counts() == {'a': 2, 'c': 2}
    assert cluster.members['c'].events_of(NodeLeft) == [
        NodeLeft('/', 'b', silent=True)]


def test_an_idle_hour(cluster: Cluster) -> None:
    for uid in 'abc':
        cluster.start(uid)
    start = len(cluster.stream.entries)
    cluster.pass_time(3600.0)
    assert cluster.counts() == {'a': 3, 'b': 3, 'c': 3}
    assert not any(member.events_of(NodeLeft)
                   for member in cluster.members.values())
    beats = writers_of(cluster, MessageType.HEARTBEAT, start)
    assert len(beats) == len(cluster.stream.entries) - start
    for uid in (b'a', b'b', b'c'):
        assert 3600 / (INTERVAL + 1) <= beats.count(uid) <= 3600 / 4


def test_writing_node_sends_heartbeats(cluster: Cluster) -> None:
    """They name what it serves, for nodes that join."""
    busy, idle = cluster.start('busy'), cluster.start('idle')
    start = len(cluster.stream.entries)
    for _ in range(100):
        busy.say(Broadcast(('hello',)))
        cluster.pass_time(1.0)
    assert writers_of(cluster, MessageType.HEARTBEAT, start).count(
        b'busy') == writers_of(cluster, MessageType.HEARTBEAT, start).count(
            b'idle') >= 100 / (INTERVAL + 1)
    assert len(idle.events_of(Act)) == 100
    assert cluster.counts() == {'busy': 2, 'idle': 2}


def test_process_that_was_asleep(cluster: Cluster) -> None:
    """It drops no node because of its sleep; the others drop it, and accept it
    again."""
    for uid in 'abc':
        cluster.start(uid)
    cluster.pass_time(1.0)
    sleeper = cluster.members['b']
    sleeper.asleep = True
    cluster.pass_time(60.0)
    assert cluster.counts() == {'a': 2, 'b': 3, 'c': 2}
    sleeper.asleep = False
    cluster.pass_time(INTERVAL + 1)
    assert cluster.counts() == {'a': 3, 'b': 3, 'c': 3}
    assert sleeper.events_of(NodeLeft) == []


def test_node_that_cannot_hear(cluster: Cluster) -> None:
    for uid in 'abc':
        cluster.start(uid)
    deaf = cluster.members['b']
    deaf.hearing = False
    start = len(cluster.stream.entries)
    cluster.pass_time(60.0)
    # Its messages would only arrive when the outage is over.
    assert b'b' not in writers_of(cluster, MessageType.HEARTBEAT, start)
    assert cluster.counts() == {'a': 2, 'b': 3, 'c': 2}
    # Another node dies in the meantime, which is noticed afterwards.
    cluster.members['c'].die()
    deaf.hearing = True
    cluster.pass_time(INTERVAL + 1)
    assert deaf.events_of(NodeLeft) == []
    cluster.pass_time(TIMEOUT)
    assert cluster.counts() == {'a': 2, 'b': 2}
    assert deaf.events_of(NodeLeft) == [NodeLeft('/', 'c', silent=True)]


def test_no_node_hears(cluster: Cluster) -> None:
    """Redis is away."""
    for uid in 'abc':
        cluster.start(uid)
    for member in cluster.members.values():
        member.hearing = False
    cluster.pass_time(120.0)
    for member in cluster.members.values():
        member.hearing = True
    cluster.pass_time(60.0)
    assert cluster.counts() == {'a': 3, 'b': 3, 'c': 3}
    assert not any(member.events_of(NodeLeft)
                   for member in cluster.members.values())


def test_namespaces_are_added_and_removed(cluster: Cluster) -> None:
    a, b = cluster.start('a'), cluster.start('b', '/', '/chat')
    assert cluster.counts('/chat') == {'a': 1, 'b': 1}
    a.serve('/', '/chat')
    cluster.settle()
    assert cluster.counts('/chat') == {'a': 2, 'b': 2}
    b.serve('/')
    cluster.settle()
    assert cluster.counts('/chat') == {'a': 1, 'b': 1}
    assert cluster.counts() == {'a': 2, 'b': 2}
    cluster.pass_time(30.0)
    assert cluster.counts('/chat') == {'a': 1, 'b': 1}


def test_node_returns_with_the_same_uid(cluster: Cluster) -> None:
    cluster.start('a')
    for _ in range(3):
        cluster.start('b')
        assert cluster.counts() == {'a': 2, 'b': 2}
        cluster.members['b'].leave()
        cluster.settle()
        assert cluster.counts() == {'a': 1}


def test_requests_to_the_cluster(cluster: Cluster, log: Log) -> None:
    a, b, c = (cluster.start(uid) for uid in 'abc')
    a.node.expect('r', ClientsRequest('/', callback=log), cluster.now)
    a.say(Broadcast(('hello',), request_id='r'))
    cluster.settle()
    for member in (b, c):
        act, = member.events_of(Act)
        assert act.message.request_id == 'r'
        member.say(BroadcastClientCount('r', 1))
    b.say(BroadcastAck('r', ('b',)))
    c.say(BroadcastAck('r', ('c',)))
    cluster.settle()
    assert [event.args for event in a.events_of(Acknowledged)] == [
        ('b',), ('c',)]
    assert b.events_of(Acknowledged) == []


def test_trimmed_entries_are_reported(cluster: Cluster) -> None:
    a, b = cluster.start('a'), cluster.start('b')
    b.hearing = False
    for _ in range(10):
        a.say(Broadcast(('hello',)))
    cluster.stream.trim(3)
    b.hearing = True
    cluster.settle()
    assert b.events_of(Missing) == [Missing('a', 7)]
    assert len(b.events_of(Act)) == 3


class AnyCluster(RuleBasedStateMachine):
    """Nodes start, leave, die, sleep, and are cut off, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self._count = 0
        #: Since when each node has been awake and hearing.
        self._well: Dict[str, float] = {}

    def _members(self) -> List[str]:
        return sorted(self.cluster.members)

    def _pick(self, index: int) -> Member:
        names = self._members()
        return self.cluster.members[names[index % len(names)]]

    def _set(self, member: Member, asleep: Optional[bool] = None,
             hearing: Optional[bool] = None) -> None:
        if asleep is not None:
            member.asleep = asleep
        if hearing is not None:
            member.hearing = hearing
        self._well.pop(member.uid, None)
        if member.hearing and not member.asleep:
            self._well[member.uid] = self.cluster.now

    @precondition(lambda self: len(self.cluster.members) < 5)
    @rule()
    def start(self) -> None:
        self._count += 1
        uid = f'node-{self._count}'
        self.cluster.start(uid)
        self._well[uid] = self.cluster.now

    @precondition(lambda self: self.cluster.members)
    @rule(index=st.integers(0, 9))
    def leave(self, index: int) -> None:
        member = self._pick(index)
        if member.uid in self._well:
            del self._well[member.uid]
            member.leave()
            self.cluster.settle()

    @precondition(lambda self: self.cluster.members)
    @rule(index=st.integers(0, 9))
    def die(self, index: int) -> None:
        member = self._pick(index)
        self._well.pop(member.uid, None)
        member.die()

    @precondition(lambda self: self.cluster.members)
    @rule(index=st.integers(0, 9), asleep=st.booleans())
    def sleep(self, index: int, asleep: bool) -> None:
        self._set(self._pick(index), asleep=asleep)

    @precondition(lambda self: self.cluster.members)
    @rule(index=st.integers(0, 9), hearing=st.booleans())
    def cut(self, index: int, hearing: bool) -> None:
        self._set(self._pick(index), hearing=hearing)

    @precondition(lambda self: self.cluster.members)
    @rule(index=st.integers(0, 9))
    def speak(self, index: int) -> None:
        member = self._pick(index)
        if member.uid in self._well:
            member.say(Broadcast(('hello',)))
            self.cluster.settle()

    @rule(seconds=st.sampled_from([0.3, 1.0, 4.0, 9.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.cluster.pass_time(seconds)

    @invariant()
    def healthy_nodes_are_known(self) -> None:
        """Two nodes that have both been healthy for long enough to have
        written know each other."""
        long_well = [uid for uid, since in self._well.items()
                     if self.cluster.now - since > INTERVAL + 1]
        for uid in long_well:
            known = self.cluster.members[uid].node._members.nodes('/')
            assert set(long_well) - {uid} <= set(known)

    @invariant()
    def lost_nodes_are_forgotten(self) -> None:
        now = self.cluster.now
        for uid, since in self._well.items():
            if now - since > TIMEOUT + 2:
                for other, seen in self.cluster.members[
                        uid].node._members.nodes('/').items():
                    assert now - seen <= TIMEOUT + 1, other

    def teardown(self) -> None:
        """No more is sent, and every node knows all members."""
        for uid in self._members():
            self._set(self.cluster.members[uid], asleep=False, hearing=True)
        self.cluster.pass_time(2 * TIMEOUT)
        count = len(self.cluster.members)
        assert self.cluster.counts() == dict.fromkeys(
            self.cluster.members, count)


AnyCluster.TestCase.settings = settings(
    max_examples=examples(50), stateful_step_count=25)
TestAnyCluster = AnyCluster.TestCase
TestAnyCluster.__name__ = 'TestAnyCluster'
