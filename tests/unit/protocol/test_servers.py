"""The servers that say which namespaces they serve."""
from typing import Any, Optional

import pytest

from redis_streams_adapter.protocol.discovery import ASK_INTERVAL
from redis_streams_adapter.protocol.presence import EMPTY, NamespaceSet, \
    Presence, Question
from redis_streams_adapter.protocol.servers import Change, Servers

TWO = NamespaceSet().plus(['/', '/chat'])
THREE = TWO.plus(['/news'])
W, V = b'writer', b'other writer'


@pytest.fixture
def servers() -> Servers:
    return Servers()


def take(servers: Servers, presence: Presence, writer: bytes = W,
         now: float = 0.0, stream: int = 0,
         own: Optional[NamespaceSet] = None) -> Change:
    return servers.take(writer, writer.decode(), presence, stream, '/', now,
                        own)


def names(servers: Servers, writer: bytes = W) -> Any:
    return servers.by_writer[writer].known.names


def test_server_that_joins(servers: Servers) -> None:
    change = take(servers, Presence(TWO.digest, ('/', '/chat')))
    assert change.joined == {'/', '/chat'} and change.news == 2
    assert names(servers) == TWO.names
    assert not servers.doubt('/elsewhere', 0)
    assert [each.uid for each in servers.within('/chat')] == ['writer']
    assert servers.within('/news') == []
    # A sign of life changes nothing.
    assert take(servers, Presence(TWO.digest), now=7.0) == Change('writer')
    assert servers.by_writer[W].seen == 7.0


def test_changes(servers: Servers) -> None:
    take(servers, Presence(TWO.digest, ('/', '/chat')))
    assert take(servers, Presence(THREE.digest, ('/news',))) == Change(
        'writer', frozenset(['/news']), news=1)
    assert take(servers, Presence(THREE.minus(['/']).digest, (), ('/',))) \
        == Change('writer', frozenset(), frozenset(['/']))
    assert names(servers) == {'/chat', '/news'}
    assert take(servers, Presence(EMPTY)).left == {'/chat', '/news'}
    assert servers.by_writer == {}
    # Its second goodbye.
    assert take(servers, Presence(EMPTY)) == Change('writer')


def test_pages(servers: Servers) -> None:
    """They are reported together, and the server is not asked meanwhile."""
    change = take(servers, Presence(THREE.digest, ('/', '/chat'), more=True))
    assert change.more and change.joined == {'/', '/chat'}
    assert servers.doubt('/news', 0) and servers.questions(0.5) == []
    change = take(servers, Presence(THREE.digest, ('/news',)))
    assert (change.joined, change.news, change.told) == ({'/news'}, 3, True)


def test_unknown_set_is_asked_for(servers: Servers) -> None:
    take(servers, Presence(TWO.digest))
    assert servers.doubt('/', 0)
    # In that stream.
    assert not servers.doubt('/', 1)
    question = '/', Question('writer', EMPTY)
    assert servers.questions(0.0) == [question]
    assert servers.question(W, ASK_INTERVAL - 0.1) is None
    assert servers.questions(ASK_INTERVAL) == [question]
    change = take(servers, Presence(TWO.digest, ('/', '/chat'), (), True))
    assert change.told and not servers.doubt('/', 0)
    assert servers.questions(10.0) == []


def test_set_of_another_server_is_known(servers: Servers) -> None:
    take(servers, Presence(TWO.digest, ('/', '/chat')))
    assert take(servers, Presence(TWO.digest), V).joined == TWO.names
    # It is kept once.
    assert names(servers, V) is names(servers)


def test_set_of_this_process_is_known(servers: Servers) -> None:
    assert take(servers, Presence(TWO.digest), own=TWO).joined == TWO.names
    assert take(servers, Presence(THREE.digest), V, own=TWO).joined == set()
    change, = servers.resolve({0: THREE})
    assert change.joined == THREE.names and change.told
    assert servers.resolve({0: THREE}) == []


def test_list_replaces_what_is_known(servers: Servers) -> None:
    """An entry with a change was lost."""
    take(servers, Presence(THREE.digest, ('/', '/chat', '/news')))
    changed = TWO.minus(['/']).plus(['/x'])
    take(servers, Presence(changed.digest))
    assert servers.doubt('/x', 0)
    take(servers, Presence(changed.digest, ('/chat',), (), True, True))
    change = take(servers, Presence(changed.digest, ('/x',)))
    assert names(servers) == {'/chat', '/x'} and change.told
    assert change.left == {'/', '/news'}


def test_list_that_is_known_changes_nothing(servers: Servers) -> None:
    take(servers, Presence(TWO.digest, ('/', '/chat')))
    for page in Presence(TWO.digest, ('/',), (), True, True), \
            Presence(TWO.digest, ('/chat',)):
        assert not take(servers, page).joined
    assert names(servers) == TWO.names


def test_loss(servers: Servers) -> None:
    """Until it names its set again, a server may have changed it."""
    take(servers, Presence(TWO.digest, ('/', '/chat')))
    take(servers, Presence(TWO.digest), V, stream=1)
    servers.lose_sight(0)
    assert servers.doubt('/news', 0) and not servers.doubt('/news', 1)
    # It is known to serve this one.
    assert not servers.doubt('/', 0)
    # One question asks all.
    take(servers, Presence(THREE.digest, ('/', '/chat', '/news')), b'third')
    servers.lose_sight(0)
    assert servers.questions(0.0) == [('/', Question('', ''))]
    assert servers.questions(0.5) == []
    assert take(servers, Presence(TWO.digest)).told
    assert take(servers, Presence('another'), b'third') == Change('third')
    assert servers.doubt('/x', 0)
    # The answer has another digest.
    assert servers.questions(ASK_INTERVAL) == [
        ('/', Question('third', THREE.digest))]


def test_message_in_a_namespace(servers: Servers) -> None:
    """A server writes in no other one."""
    take(servers, Presence(TWO.digest))
    assert servers.appeared(W, '/', 3.0) and not servers.appeared(W, '/', 4.0)
    assert names(servers) == {'/'} and servers.by_writer[W].seen == 4.0
    assert servers.doubt('/chat', 0) and not servers.doubt('/', 0)


def test_silent_server_is_gone_everywhere(servers: Servers) -> None:
    take(servers, Presence(TWO.digest, ('/', '/chat')))
    take(servers, Presence(THREE.digest), V, now=5.0)
    assert servers.tick(10.0, 10.0) == []
    change, = servers.tick(10.5, 10.0)
    assert change == Change('writer', left=TWO.names)
    servers.refresh(100.0)
    assert servers.tick(110.0, 10.0) == []
    # The doubt ends with the server.
    change, = servers.tick(110.5, 10.0)
    assert change.told and not servers.doubt('/', 0)


def test_servers_of_a_stream_are_forgotten(servers: Servers) -> None:
    take(servers, Presence(TWO.digest, ('/', '/chat')))
    take(servers, Presence(THREE.digest), V, stream=1)
    servers.forget(0)
    assert list(servers.by_writer) == [V]
