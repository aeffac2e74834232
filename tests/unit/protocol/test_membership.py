"""The other nodes of the cluster."""
from typing import Any, List, Optional

import pytest

from redis_streams_adapter.protocol.codec import Encoder, open_envelope
from redis_streams_adapter.protocol.discovery import Knowledge
from redis_streams_adapter.protocol.membership import Known, MAX_LISTED, \
    MAX_LISTED_BYTES, Membership
from redis_streams_adapter.protocol.messages import AdapterClose, Broadcast, \
    Heartbeat
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.sequences import Sequences
from redis_streams_adapter.protocol.transport import Entry

TIMEOUT = 10.0
HELLO = Broadcast(('hello',))


@pytest.fixture
def members() -> Membership:
    return Membership(TIMEOUT)


def test_no_members_at_first(members: Membership) -> None:
    assert members.count('/') == 0
    assert members.nodes('/') == {}
    assert members.tick(1e9) == []


def test_node_that_is_heard_is_a_member(members: Membership) -> None:
    assert members.heard('/', 'a', 1.0)
    assert members.heard('/', 'b', 2.0)
    assert not members.heard('/', 'a', 3.0)
    assert members.nodes('/') == {'a': 3.0, 'b': 2.0}
    assert members.count('/') == 2


def test_node_that_leaves_is_gone_at_once(members: Membership) -> None:
    members.heard('/', 'a', 1.0)
    assert members.left('/', 'a')
    assert not members.left('/', 'a')
    assert members.count('/') == 0
    assert members.heard('/', 'a', 2.0)


def test_silent_node_is_dropped_once(members: Membership) -> None:
    members.heard('/', 'a', 1.0)
    members.heard('/', 'b', 5.0)
    assert members.tick(1.0 + TIMEOUT) == []
    assert members.tick(1.5 + TIMEOUT) == [('/', 'a', False)]
    assert members.tick(1.5 + TIMEOUT) == []
    assert members.nodes('/') == {'b': 5.0}


def test_each_message_restarts_the_timeout(members: Membership) -> None:
    for now in range(0, 100, 9):
        members.heard('/', 'a', now)
        assert members.tick(now + TIMEOUT) == []


def test_refresh_restarts_all_timeouts(members: Membership) -> None:
    members.heard('/', 'a', 1.0)
    members.heard('/chat', 'b', 2.0)
    members.refresh(100.0)
    assert members.tick(100.0 + TIMEOUT) == []
    assert sorted(members.tick(100.5 + TIMEOUT)) == [
        ('/', 'a', False), ('/chat', 'b', False)]


def test_namespaces_are_separate(members: Membership) -> None:
    members.heard('/', 'a', 1.0)
    members.heard('/chat', 'a', 5.0)
    members.heard('/chat', 'b', 5.0)
    assert (members.count('/'), members.count('/chat')) == (1, 2)
    assert members.left('/chat', 'a')
    assert members.nodes('/') == {'a': 1.0}
    assert members.tick(1.5 + TIMEOUT) == [('/', 'a', False)]
    assert members.nodes('/chat') == {'b': 5.0}


def test_namespace_lasts_as_long_as_its_members(members: Membership) -> None:
    """Unused names do not accumulate."""
    for number in range(100):
        members.heard(f'/{number}', 'a', 1.0)
        members.heard(f'/{number}', 'b', 1.0)
    assert members.uids == {'a', 'b'}
    for number in range(50):
        members.left(f'/{number}', 'a')
        members.left(f'/{number}', 'b')
    assert len(members._seen) == 50
    members.tick(1.5 + TIMEOUT)
    assert members._seen == {} and members.uids == set()
    assert not members.left('/nowhere', 'a')


def test_returned_members_are_a_copy(members: Membership) -> None:
    members.heard('/', 'a', 1.0)
    found = members.nodes('/')
    members.left('/', 'a')
    assert found == {'a': 1.0}


# -- members shown by the stream ---------------------------------------------

def fields(message: Any, uid: str,
           writer: Optional[bytes] = None) -> List[bytes]:
    found = [*Encoder(uid).encode('/', message)]
    return found if writer is None else [
        *found, b'wid', writer, b'seq', b'1']


def hear(members: Membership, message: Any, uid: str, now: float = 1.0,
         writer: Optional[bytes] = None) -> bool:
    return members.hear(open_envelope(fields(message, uid, writer)), now)


def test_node_is_heard() -> None:
    members = Membership(TIMEOUT, ['me', 'emitter'])
    assert not hear(members, HELLO, 'me')
    assert not hear(members, HELLO, 'emitter')
    assert hear(members, HELLO, 'a')
    assert not hear(members, HELLO, 'a', 2.0)
    assert members.nodes('/') == {'a': 2.0}


def test_only_python_nodes_stamp_their_entries(members: Membership) -> None:
    hear(members, HELLO, 'python', writer=b'w')
    hear(members, Heartbeat(), 'node.js')
    hear(members, HELLO, 'node.js 0.3')
    assert members.known('/') == {
        'python': Known('/', True), 'node.js': Known('/', False),
        'node.js 0.3': Known('/', False)}
    assert set(members.tick(1.5 + TIMEOUT)) == {
        ('/', 'python', True), ('/', 'node.js', True),
        ('/', 'node.js 0.3', False)}


def test_node_that_left_is_forgotten(members: Membership) -> None:
    hear(members, Heartbeat(), 'a', writer=b'w')
    assert members.left('/', 'a')
    members.heard('/', 'a', 1.0)
    assert members.known('/') == {'a': Known('/', False)}


def test_history(members: Membership) -> None:
    seen = Sequences()
    for message, uid in ((HELLO, 'a'), (HELLO, 'b'), (AdapterClose(), 'a')):
        members.recall(Entry(Position(4), fields(message, uid)), -1.0, seen)
    members.recall(Entry(Position(4), [b'malformed', b'']), -1.0, seen)
    assert members.nodes('/') == {'b': -1.0}


# -- lists -------------------------------------------------------------------

def test_nodes_of_a_stream_are_forgotten() -> None:
    members = Membership(10.0, stream_of=lambda name: int(name == '/b'))
    for namespace in ('/', '/a', '/b'):
        members.heard(namespace, 'x', 1.0)
    members.forget(0)
    assert [members.count(each) for each in ('/', '/a', '/b')] == [0, 0, 1]


def test_list_is_learned() -> None:
    members, knowledge = Membership(TIMEOUT, ['me']), Knowledge(TIMEOUT)
    members.heard('/', 'seen', 1.0)
    knowledge.left('/', 'left')
    listed = {'seen': 0.0, 'left': 1.0, 'new': 3.0, 'me': 0.0}
    assert members.learn('/', listed, knowledge, 2.0) == ['new']
    assert members.nodes('/') == {'seen': 1.0, 'new': -1.0}


def test_ages(members: Membership) -> None:
    members.heard('/', 'a', 1.0)
    members.heard('/', 'b', 2.56)
    assert members.ages('/', 2.5) == {'a': 1.5, 'b': 0.0}
    assert members.ages('/chat', 2.5) == {}


@pytest.mark.parametrize('uids', [
    [f'uid-{number}' for number in range(MAX_LISTED + 1)],
    [str(number) * (MAX_LISTED_BYTES // 9) for number in range(10)]])
def test_too_many_members_are_not_listed(members: Membership,
                                         uids: List[str]) -> None:
    for uid in uids:
        members.heard('/', uid, 1.0)
    assert members.ages('/', 1.0) is None


def test_each_node_is_asked_in_one_namespace(members: Membership) -> None:
    for namespace, uid in (('/', 'a'), ('/chat', 'a'), ('/chat', 'b')):
        members.heard(namespace, uid, 1.0)
    assert members.nodes_to_ask(['/', '/chat', '/none']) == {
        '/': ['a'], '/chat': ['b']}
