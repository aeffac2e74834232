"""What a node writes of the namespaces that it serves."""
from typing import Any, Dict, List, Set

import pytest

from redis_streams_adapter.protocol.announcements import ANNOUNCED, \
    Announcements, LIST_PAUSE
from redis_streams_adapter.protocol.events import Send
from redis_streams_adapter.protocol.messages import AdapterClose, Heartbeat, \
    InitialHeartbeat
from redis_streams_adapter.protocol.presence import EMPTY, NamespaceSet, \
    Presence

INTERVAL = 5.0
MANY = ['/', *(f'/tenant-{number}' for number in range(5000))]


class Own:
    """The announcements of a node; names with an ``x`` go to stream 1."""

    def __init__(self) -> None:
        self.needing: Dict[str, Set[str]] = {}
        self.it = Announcements(
            INTERVAL, lambda name: int('x' in name), self.needing)

    def serve(self, *namespaces: str, settled: bool = True,
              now: float = 0.0) -> List[Send]:
        return self.it.serve(namespaces, now, {0, 1} if settled else ())


@pytest.fixture
def own() -> Own:
    return Own()


def said(events: List[Send]) -> List[Any]:
    return [(each.namespace, type(each.message),
             each.message.presence)  # type: ignore[union-attr]
            for each in events]


def digest(*names: str) -> str:
    return NamespaceSet().plus(names).digest


def test_namespaces_are_joined_in_one_entry(own: Own) -> None:
    assert said(own.serve('/', '/chat')) == [
        ('/', InitialHeartbeat,
         Presence(digest('/', '/chat'), ('/', '/chat')))]
    assert own.serve('/chat', '/') == []
    assert said(own.serve('/', '/chat', '/news')) == [
        ('/news', InitialHeartbeat,
         Presence(digest('/', '/chat', '/news'), ('/news',)))]


def test_many_namespaces_take_a_few_entries(own: Own) -> None:
    events = own.serve(*MANY)
    assert 1 < len(events) < 10
    assert [name for _, _, presence in said(events)
            for name in presence.joins] == MANY
    assert [presence.more for _, _, presence in said(events)] == [
        *[True] * (len(events) - 1), False]
    assert {each.namespace for each in events} == {'/'}
    left = own.serve('/')
    assert 1 < len(left) < 10
    assert [name for _, _, presence in said(left)
            for name in presence.leaves] == MANY[1:]
    assert type(left[-1].message) is AdapterClose
    # The entry that names the last namespace is written there.
    assert {each.namespace for each in left} == {MANY[-1]}


def test_goodbye_is_one_entry(own: Own) -> None:
    own.serve(*MANY)
    goodbye = [('/', AdapterClose, Presence(EMPTY))]
    assert said(own.it.farewell()) == goodbye
    assert said(own.serve()) == goodbye
    assert own.it.farewell() == [] and not own.it.served


def test_each_stream_has_its_own(own: Own) -> None:
    assert said(own.serve('/', '/x', '/a')) == [
        ('/', InitialHeartbeat, Presence(digest('/', '/a'), ('/', '/a'))),
        ('/x', InitialHeartbeat, Presence(digest('/x'), ('/x',)))]
    assert said(own.it.due(INTERVAL, INTERVAL)) == [
        ('/', Heartbeat, Presence(digest('/', '/a'))),
        ('/x', Heartbeat, Presence(digest('/x')))]
    assert said(own.serve('/', '/a')) == [
        ('/x', AdapterClose, Presence(EMPTY))]
    assert (own.it.carrier(0), own.it.carrier(1)) == ('/', None)


def test_rest_does_not_depend_on_the_number_of_namespaces(own: Own) -> None:
    own.serve(*MANY)
    for now in 5.0, 10.0, 15.0:
        assert own.it.due(INTERVAL, now - 0.1) == []
        assert own.it.next_due(now - 0.5) == 0.5
        assert said(own.it.due(INTERVAL, now)) == [
            ('/', Heartbeat, Presence(digest(*MANY)))]


def test_servers_that_need_it_get_their_own(own: Own) -> None:
    """Those in Node.js, and of older versions."""
    own.needing['/b'] = {'node.js'}
    assert said(own.serve('/', '/a', '/b')) == [
        ('/', InitialHeartbeat,
         Presence(digest('/', '/a', '/b'), ('/', '/a', '/b'))),
        ('/b', InitialHeartbeat, None)]
    assert said(own.it.due(INTERVAL, 5.0)) == [
        ('/', Heartbeat, Presence(digest('/', '/a', '/b'))),
        ('/b', Heartbeat, None)]
    own.it.spoke('/b', 9.0)
    assert [each[0] for each in said(own.it.due(INTERVAL, 10.0))] == ['/']
    assert said(own.it.farewell()) == [
        ('/', AdapterClose, None), ('/b', AdapterClose, Presence(EMPTY))]
    assert said(own.serve('/a')) == [
        ('/', AdapterClose, None),
        ('/b', AdapterClose, Presence(digest('/a'), (), ('/', '/b')))]


def test_server_that_needs_it_later(own: Own) -> None:
    """It may have missed that this node joined."""
    own.serve('/', '/a')
    own.needing['/a'] = own.needing['/'] = {'node.js'}
    assert own.it.needed('/a', 1.0) == [Send('/a', Heartbeat())]
    assert own.it.needed('/a', 1.0) == []
    # There it has counted this node, nor is that one served.
    assert own.it.needed('/', 1.0) == own.it.needed('/none', 1.0) == []
    assert own.it.due(INTERVAL, 4.0) == []
    assert [each[0] for each in said(own.it.due(INTERVAL, 6.0))] == ['/', '/a']


def test_node_that_does_not_know_all_members(own: Own) -> None:
    """Nor does it know where heartbeats are needed."""
    own.needing[MANY[4000]] = {'node.js'}
    events = own.serve(*MANY, settled=False)
    alone = [each.namespace for each in events
             if each.message == InitialHeartbeat()]
    assert alone == [*MANY[:ANNOUNCED - 1], MANY[4000]]
    assert own.it.audible(0) == alone and own.it.audible(1) == []
    goodbyes = own.it.farewell()
    assert len(goodbyes) == ANNOUNCED


def test_change_that_could_not_be_written(own: Own) -> None:
    """The whole list takes its place; it has several pages, perhaps."""
    own.serve('/', '/a', '/b')
    for namespace in '/', '/a', '/x':
        own.it.unsaid(namespace, True)
    listed, other = own.it.due(INTERVAL, 0.0)
    # Servers that need it there may not have counted this node.
    assert said([other]) == [('/a', InitialHeartbeat, None)]
    assert said(own.it.current(listed, 0.0)) == [
        ('/', InitialHeartbeat,
         Presence(digest('/', '/a', '/b'), ('/', '/a', '/b'), (), True))]
    assert own.it.due(INTERVAL, 0.0) == []


def test_arrival_that_could_not_be_written(own: Own) -> None:
    own.serve('/', '/a', settled=False)
    own.it.unsaid('/a')
    own.it.unsaid('/none')
    assert said(own.it.due(INTERVAL, 0.0)) == [('/a', InitialHeartbeat, None)]
    own.it.unsaid('/a')
    own.serve('/')
    assert own.it.due(INTERVAL, 0.0) == []


def test_answer(own: Own) -> None:
    """All that ask read one list; the short answer is enough for those that
    know the set."""
    own.serve('/', '/a')
    assert own.it.answer('/x', '', 0.0) == []
    assert said(own.it.answer('/', digest('/', '/a'), 0.0)) == [
        ('/', Heartbeat, Presence(digest('/', '/a')))]
    assert own.it.answer('/', None, LIST_PAUSE - 0.1) == []
    assert len(own.it.answer('/', None, LIST_PAUSE)) == 1
    answer, = own.it.answer('/', '', 0.0)
    assert said(own.it.current(answer, 0.0)) == [
        ('/', Heartbeat,
         Presence(digest('/', '/a'), ('/', '/a'), (), True))]
    assert own.it.answer('/', '', LIST_PAUSE - 0.1) == []
    assert own.it.answer('/', '', LIST_PAUSE) == [answer]


def test_what_was_decided_earlier_is_written_as_it_is_now(own: Own) -> None:
    own.serve('/', '/a')
    beat, = own.it.due(INTERVAL, 5.0)
    own.serve('/a')
    assert said(own.it.current(beat, 5.0)) == [
        ('/a', Heartbeat, Presence(digest('/a')))]
    assert own.it.current(Send('/', InitialHeartbeat()), 5.0) == []
    own.serve()
    assert own.it.current(beat, 5.0) == []
    bare = Send('/', Heartbeat())
    assert own.it.current(bare, 5.0) == [bare]
