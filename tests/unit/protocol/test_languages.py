"""Which nodes run this package."""
from typing import Any

from redis_streams_adapter.protocol.codec import Encoder, open_envelope
from redis_streams_adapter.protocol.languages import Languages
from redis_streams_adapter.protocol.membership import Membership
from redis_streams_adapter.protocol.messages import Broadcast, Heartbeat
from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.protocol.presence import NamespaceSet, \
    Presence, process_field


class World:
    """The members as one process knows them."""

    def __init__(self) -> None:
        self.members = Membership(10.0)
        self.languages = Languages(self.members)

    def hear(self, uid: str, message: Any, namespace: str = '/',
             writer: bytes = b'', now: float = 0.0,
             process: bytes = b'') -> None:
        encoder = Encoder(uid)
        encoder.process = process
        fields = encoder.encode(namespace, message)
        if writer:
            fields += b'wid', writer, b'seq', b'1', b'since', bytes(START)
        envelope = open_envelope(fields)
        if self.members.present(envelope, now) is None:
            self.members.hear(envelope, now)

    def server(self, uid: str, *namespaces: str, now: float = 0.0,
               process: bytes = b'') -> None:
        """A server of this version appears."""
        whole = NamespaceSet().plus(namespaces)
        self.hear(uid, Heartbeat(presence=Presence(
            whole.digest, namespaces)), namespaces[0], uid.encode(), now,
            process)

    def language(self, uid: str) -> Any:
        return self.languages.all()[uid][0]


def test_languages() -> None:
    world = World()
    world.server('new', '/')
    world.hear('old', Heartbeat(), writer=b'w')
    world.hear('js2', Heartbeat())
    world.hear('js3', Broadcast(('hi',)))
    world.members.heard('/', 'listed', 0.0)
    assert world.language('new') == world.language('old') == 'python'
    assert world.language('js2') == world.language('js3') == 'javascript'
    assert world.language('listed') is None
    assert set(world.languages.asked('/', True)) == {'new', 'old', 'listed'}
    assert len(list(world.languages.asked('/', False))) == 5


def test_report_of_a_reader_is_not_of_node_js() -> None:
    """A server in Python writes it without the id of its writer."""
    world = World()
    world.hear('old', Heartbeat(behind=START))
    assert world.language('old') == 'python'


def test_listed_node_shows_its_language() -> None:
    world = World()
    world.members.heard('/', 'js', 0.0)
    world.hear('js', Broadcast(('hi',)))
    assert world.language('js') == 'javascript'
    world.members.left('/', 'js')
    world.members.heard('/', 'js', 0.0)
    assert world.language('js') is None


def test_last_seen_in_any_namespace() -> None:
    world = World()
    world.hear('js', Heartbeat(), now=1.0)
    world.hear('js', Heartbeat(), '/chat', now=3.0)
    world.hear('js', Heartbeat(), '/tea', now=2.0)
    assert world.languages.all() == {'js': ('javascript', 3.0)}


def test_server_in_node_js_counts_in_the_main_namespace_only() -> None:
    """It has another uid in each."""
    world = World()
    world.hear('js1', Heartbeat())
    world.hear('js2', Heartbeat(), '/chat')
    world.hear('old', Heartbeat(), '/chat', b'w')
    assert set(world.languages.all()) == {'js1', 'old'}


def test_one_group_if_all_serve_the_main_namespace() -> None:
    world = World()
    world.server('a', '/chat', '/')
    world.server('b', '/')
    world.hear('old', Heartbeat(), '/chat', b'w')
    world.hear('old', Heartbeat(), '/', b'w')
    world.hear('js', Heartbeat(), '/js')
    assert world.languages.groups() == ['/']


def test_groups_reach_every_server() -> None:
    world = World()
    world.server('a', '/a', '/x')
    world.server('b', '/b')
    world.server('c', '/c', '/b')
    world.hear('old', Heartbeat(), '/old', b'w')
    groups = world.languages.groups()
    assert '/' not in groups
    reached = {uid for each in groups
               for uid in world.languages.asked(each, True)}
    assert reached == {'a', 'b', 'c', 'old'}


def test_infos() -> None:
    world = World()
    world.server('new', '/', process=process_field('vm', 7))
    world.server('mute', '/', process=b'')
    world.hear('js', Heartbeat())
    world.members.heard('/', 'listed', 0.0)
    assert {each.uid: each[1:] for each in world.languages.infos('/', 2.0)} \
        == {'new': (2.0, 'vm', 7, 'python'), 'js': (2.0, None, None,
                                                    'javascript'),
            'mute': (2.0, None, None, 'python'),
            'listed': (2.0, None, None, None)}
    assert world.languages.infos('/chat', 2.0) == []


def test_no_other_node() -> None:
    assert World().languages.groups() == []
    assert World().languages.all() == {}
