"""Who listens to what, for which transport, and what is made of it."""
import logging
import math
from typing import Any, Callable, Dict, Iterator, List, Optional, \
    Sequence, Set

import pytest
import redis

from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.protocol.codec import Encoder, Packed
from redis_streams_adapter.protocol.messages import EVERYONE, FetchSockets, \
    FetchSocketsResponse
from redis_streams_adapter.cluster import subscriptions as subscriptions_module
from redis_streams_adapter.protocol.node import Known
from redis_streams_adapter.options import make
from redis_streams_adapter.protocol.requests import Asked
from redis_streams_adapter.protocol.routing import application_channel, \
    marker_channel, member_channel
from redis_streams_adapter.cluster.pubsub import PubSub
from redis_streams_adapter.stream import listener as listener_module
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.transport import Way

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..conftest import Log
from redis_streams_adapter.testing.pubsub import FakePubSub
from ..nodes import Call

OURS, THEIRS = Application('ours', 0), Application('theirs', 0)

TRANSPORTS = ('stream', 'pubsub', 'sharded-pubsub')

REQUEST = FetchSockets(EVERYONE, 'r')
ANSWER = FetchSocketsResponse('r', ())


class Side:
    """A side channel and its tasks."""

    def __init__(self, server: FakePubSub, logger: Any, uid: str,
                 transport: str, cluster: bool,
                 application: Application) -> None:
        self.server = server
        self.heard, self.malformed = Log(), Log()
        self.tasks: Dict[str, Task] = {}
        #: What is known of other nodes from the stream.
        self.known: Dict[str, Known] = {}
        #: Whether it serves the namespaces that it is asked about.
        self.joins = True
        #: The names of the tasks that matter.
        self.matters: List[str] = []
        self._logger = logger
        self.channel = PubSub(
            make({'request_transport': transport, 'channel_prefix': 'x'}),
            server.driver(cluster), ThreadEngine(), logger, Encoder(uid),
            application, self.heard, self.malformed, self._start)

    def _start(self, name: str, work: Any, matters: bool) -> None:
        """As the runtime does."""
        if name not in self.tasks:
            self.tasks[name] = Task(
                name, work, ThreadEngine(), None, self._logger)
            if matters:
                self.matters.append(name)
        self.tasks[name].start()

    def listening(self, namespace: str = '/',
                  timeout: float = DEADLINE) -> Optional[Asked]:
        return self.channel.listening(namespace, lambda: self.known, timeout)

    def count(self, namespace: str = '/') -> Optional[int]:
        return self.channel.count(namespace, lambda: self.known,
                                  lambda: self.joins)

    def knows(self, *uids: str, python: bool = True,
              namespace: str = '/') -> None:
        """They are heard of in the stream."""
        self.known = {uid: Known(namespace, python) for uid in uids}

    def close(self) -> None:
        for task in self.tasks.values():
            task.stop()
        self.channel.interrupt()
        for task in self.tasks.values():
            assert not task.begun or task.join(DEADLINE)


@pytest.fixture
def server() -> FakePubSub:
    return FakePubSub()


@pytest.fixture
def make_side(server: FakePubSub, logger: Callable[[], logging.Logger],
              ) -> Iterator[Callable[..., Side]]:
    made: List[Side] = []

    def make_one(uid: str, transport: str, cluster: bool = False,
                 serve: Optional[List[str]] = None,
                 application: Application = OURS) -> Side:
        side = Side(server, logger, uid, transport, cluster, application)
        made.append(side)
        namespaces = ['/'] if serve is None else serve
        side.channel.serve(namespaces)
        for namespace in namespaces:
            for kind in kinds_of(transport):
                server.wait_listening(f'x#{namespace}#{uid}#', 1, kind)
                server.wait_listening(
                    member_channel('x', namespace, application.name, uid),
                    1, kind)
        return side

    yield make_one
    for side in made:
        side.close()
    assert server.connections == []


MakeSide = Callable[..., Side]


def kinds_of(transport: str) -> Sequence[bytes]:
    """The kinds of channels that a node with a transport listens to."""
    return (b'', b's') if transport == 'sharded-pubsub' else (b'',)


def channels_of(namespace: str, uid: str) -> Set[bytes]:
    """Those of a member."""
    return {each.encode() for each in (
        f'x#{namespace}#', f'x#{namespace}#{uid}#',
        marker_channel('x', namespace),
        application_channel('x', namespace, OURS.name),
        member_channel('x', namespace, OURS.name, uid))}


def start_js(server: FakePubSub) -> Any:
    """A server in Node.js, of which no heartbeat is heard."""
    connection = server.driver().make(1.0, 'other')
    connection.connect()
    connection.places.update(((b'', b'x#/#'), (b's', b'x#/#')))
    return connection


# -- what it listens to ------------------------------------------------------

@pytest.mark.parametrize('transport', TRANSPORTS)
def test_on_one_server(server: FakePubSub, make_side: MakeSide,
                       transport: str) -> None:
    """On one connection; to sharded channels only if that is the transport.
    """
    side = make_side('me', transport, serve=['/', '/chat'])
    (connection,) = server.connections
    assert connection.places == {
        (kind, each) for kind in kinds_of(transport)
        for each in channels_of('/', 'me') | channels_of('/chat', 'me')}
    assert side.matters == (['listener'] if transport != 'stream' else [])


@pytest.mark.parametrize('transport, matters', [
    ('stream', []), ('pubsub', ['listener'])])
def test_in_a_cluster(server: FakePubSub, make_side: MakeSide,
                      transport: str, matters: List[str]) -> None:
    """Plain channels are everywhere; the cluster is not asked for others."""
    side = make_side('me', transport, cluster=True, serve=['/', '/chat'])
    (connection,) = server.connections
    assert connection.places == {
        (b'', each)
        for each in channels_of('/', 'me') | channels_of('/chat', 'me')}
    assert side.matters == matters
    assert [*side.tasks] == ['listener']
    assert server.asked == 0


def test_sharded_channels_in_a_cluster(
        server: FakePubSub, make_side: MakeSide) -> None:
    """One connection for each master, however many namespaces there are, and
    one for plain channels."""
    namespaces = [f'/{number}' for number in range(30)]
    side = make_side('me', 'sharded-pubsub', cluster=True, serve=namespaces)
    assert server.on_masters() == ['one', 'three', 'two']
    assert len(server.connections) == 4
    for connection in server.connections:
        if connection.address is None:
            assert {kind for kind, _ in connection.places} == {b''}
        for kind, channel in connection.places:
            assert kind == (b'' if connection.address is None else b's')
    assert sorted(side.matters) == [
        'sharded listener', 'sharded listener 1', 'sharded listener 2',
        'sharded listener 3']
    side.channel.serve(['/chat'])
    for kind in b'', b's':
        server.wait_listening('x#/chat#', kind=kind)
        server.wait_listening('x#/0#', 0, kind)
    # Listeners without channels are idle, and are there for others.
    side.channel.serve(namespaces)
    for namespace in namespaces:
        server.wait_listening(f'x#{namespace}#', kind=b's')
    assert len(side.tasks) == 5
    assert server.on_masters() == ['one', 'three', 'two']


def test_channels_that_come_back(server: FakePubSub,
                                 make_side: MakeSide) -> None:
    """Their connection in a cluster may be one to another master by then."""
    side = make_side('me', 'sharded-pubsub', cluster=True)
    for namespaces in ['/chat'], ['/chat', '/']:
        side.channel.serve(namespaces)
        for namespace in namespaces:
            server.wait_listening(f'x#{namespace}#', kind=b's')
            server.wait_listening(f'x#{namespace}#me#', kind=b's')


def test_nothing_is_served_yet(server: FakePubSub,
                               make_side: MakeSide) -> None:
    """A listener that never gets a channel ends like any other."""
    for cluster in False, True:
        side = make_side('me', 'pubsub', cluster, serve=[])
        assert [*side.tasks] == ['listener']
        wait_until(lambda: side.tasks['listener'].tried.is_set())
    assert server.connections == []


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_rights_that_come_later(server: FakePubSub, make_side: MakeSide,
                                transport: str) -> None:
    """It tries again until it may, also where it can do without."""
    side = make_side('me', transport, serve=[])
    for name in b'SUBSCRIBE', b'SSUBSCRIBE':
        server.errors[name] = redis.exceptions.NoPermissionError('no')
    side.channel.serve(['/'])
    wait_until(lambda: side.tasks['listener'].restarts >= 2)
    server.errors.clear()
    server.wait_listening(
        'x#/#', kind=b's' if transport == 'sharded-pubsub' else b'')


# -- questions and answers ---------------------------------------------------

@pytest.mark.parametrize('cluster', [False, True])
@pytest.mark.parametrize('asker, asked', [
    *(('pubsub', each) for each in TRANSPORTS),
    ('sharded-pubsub', 'sharded-pubsub')])
def test_answer_goes_the_way_of_the_question(
        server: FakePubSub, make_side: MakeSide, asker: str, asked: str,
        cluster: bool) -> None:
    """Whatever the transport of the node that is asked, if it listens."""
    one, other = (make_side('a', asker, cluster),
                  make_side('b', asked, cluster))
    way = Way(asker)
    one.channel.ask('/', REQUEST)()
    wait_for_value(lambda: other.heard.calls,
                   [(Packed('a', '/', REQUEST), way)])
    # Its own message has come back to it.
    assert one.heard.calls == []
    other.channel.answer(way, '/', 'a', ANSWER)()
    wait_for_value(lambda: one.heard.calls,
                   [(Packed('b', '/', ANSWER), way)])
    assert len(other.heard.calls) == 1
    command = b'PUBLISH' if way is Way.PLAIN else b'SPUBLISH'
    assert [each.command[:2] for each in server.commands(
        b'PUBLISH', b'SPUBLISH')] == [(command, b'x#/#'),
                                      (command, b'x#/#a#')]
    assert one.channel.dropped == other.channel.dropped == 0


def test_another_application(server: FakePubSub,
                             make_side: MakeSide) -> None:
    """Neither questions nor answers of it, whether they are valid or not;
    nobody complains of them."""
    me = make_side('me', 'pubsub')
    stranger = make_side('stranger', 'pubsub', application=THEIRS)
    stranger.channel.ask('/', REQUEST)()
    stranger.channel.answer(Way.PLAIN, '/', 'me', ANSWER)()
    stranger.channel.ask('/', FetchSockets(EVERYONE, ''))()
    make_side('friend', 'pubsub').channel.ask('/', REQUEST)()
    wait_for_value(lambda: me.heard.calls,
                   [(Packed('friend', '/', REQUEST), Way.PLAIN)])
    assert me.malformed.calls == []
    assert stranger.heard.calls == []


@pytest.mark.parametrize('raw', [b'', b'\xc0', b'nonsense'])
def test_malformed(server: FakePubSub, make_side: MakeSide,
                   raw: bytes) -> None:
    """It is told, and what is behind it is heard."""
    me = make_side('me', 'pubsub')
    server.publish('x#/#', raw)
    server.publish('x#/#', Encoder('a').pack('/', REQUEST, OURS))
    wait_for_value(lambda: len(me.heard.calls), 1)
    assert len(me.malformed.calls) == 1


def test_what_cannot_be_sent(make_side: MakeSide) -> None:
    me = make_side('me', 'pubsub')
    answer = FetchSocketsResponse('r', ({'data': object()},))
    with pytest.raises(TypeError):
        me.channel.ask('/', answer)
    with pytest.raises(TypeError):
        me.channel.answer(Way.PLAIN, '/', 'a', answer)
    assert 'publisher' not in me.tasks


# -- who is asked ------------------------------------------------------------

@pytest.mark.parametrize('cluster', [False, True])
@pytest.mark.parametrize('transport', TRANSPORTS[1:])
def test_who_listens(server: FakePubSub, make_side: MakeSide,
                     transport: str, cluster: bool) -> None:
    me = make_side('me', transport, cluster)
    assert me.listening() == Asked(0, [])
    make_side('a', transport if transport != 'pubsub' else 'stream', cluster)
    # It was not heard of in the stream yet.
    assert me.listening() == Asked(1, [])
    me.knows('a')
    assert me.listening() == Asked(1, ['a'])
    js = start_js(server)
    assert me.listening() == Asked(2, ['a'])
    assert me.count() == 3
    js.disconnect()
    assert me.listening() == Asked(1, ['a'])
    assert me.count() == 2


@pytest.mark.parametrize('cluster', [False, True])
@pytest.mark.parametrize('transport', TRANSPORTS[:2])
def test_node_that_does_not_listen_to_sharded_channels(
        make_side: MakeSide, transport: str, cluster: bool) -> None:
    """It is missing: an answer without its clients would look complete."""
    me = make_side('me', 'sharded-pubsub', cluster)
    make_side('other', transport, cluster)
    me.knows('other')
    assert me.listening(timeout=0.4) == Asked(1, ['other'])
    assert me.count() == 2
    make_side('third', 'sharded-pubsub', cluster)
    assert me.listening(timeout=0.4) == Asked(2, ['other'])
    me.knows('third', 'other')
    assert me.listening(timeout=0.4) == Asked(2, ['third', 'other'])


def test_others_on_the_same_channels(server: FakePubSub,
                                     make_side: MakeSide) -> None:
    """Another application, and an older version of our own."""
    me = make_side('me', 'pubsub')
    make_side('stranger', 'pubsub', application=THEIRS)
    assert me.listening() == Asked(0, [])
    assert me.count() == 1
    old = start_js(server)
    old.places.add((b'', b'x#/#old#'))
    me.knows('old')
    assert me.listening() == Asked(1, [])
    # One in Node.js is known by its channel.
    me.knows('old', python=False)
    assert me.listening() == Asked(1, ['old'])
    old.disconnect()


def test_one_in_node_js_that_is_asked_over_the_stream(
        server: FakePubSub, make_side: MakeSide) -> None:
    """It never listens."""
    me = make_side('me', 'pubsub')
    me.knows('js', python=False)
    assert me.listening() == Asked(0, [])
    assert me.count() == 1


def test_node_that_comes_back(server: FakePubSub,
                              make_side: MakeSide) -> None:
    """It is known, and its connection is being made anew: it is waited for
    before anything is asked."""
    me = make_side('me', 'pubsub')
    me.knows('a')
    asking = Call(me.listening)
    wait_until(lambda: len(server.commands(b'PUBSUB')) >= 2)
    assert asking.waits
    make_side('a', 'pubsub')
    assert asking.result() == Asked(1, ['a'])


@pytest.mark.parametrize('namespace', ['/', '/chat'])
def test_node_that_does_not_come_back(
        make_side: MakeSide, namespace: str) -> None:
    """It is waited for in vain for as long as it is known; also in a
    namespace of which nothing is known."""
    me = make_side('me', 'pubsub')
    me.joins = namespace == '/'
    make_side('b', 'pubsub', serve=[namespace])
    me.knows('a')
    assert me.listening(namespace, 0.4) == Asked(2, ['a'])
    assert me.count(namespace) == 2 + me.joins
    me.known.clear()
    assert me.listening(namespace, 0.4) == Asked(1, [])
    assert me.count(namespace) == 1 + me.joins


def test_nobody_waits_for_a_node_where_nobody_waits_for_answers(
        server: FakePubSub, make_side: MakeSide) -> None:
    me = make_side('me', 'pubsub')
    me.knows('a')
    before = len(server.commands(b'PUBSUB'))
    assert me.listening(timeout=math.inf) == Asked(1, ['a'])
    assert len(server.commands(b'PUBSUB')) == before + 1


# -- who asks ----------------------------------------------------------------

@pytest.mark.parametrize('transport', TRANSPORTS[1:])
def test_nothing_is_asked_before_answers_are_heard(
        server: FakePubSub, make_side: MakeSide, transport: str) -> None:
    me = make_side('me', transport, serve=[])
    # Returns when it listens.
    make_side('other', transport)
    with server.changed:
        me.channel.serve(['/'])
        asking = Call(me.listening)
        assert asking.waits
        assert server.listening('x#/#me#') == 0
    assert asking.result() == Asked(1, [])
    assert server.listening(
        'x#/#me#', b's' if transport == 'sharded-pubsub' else b'') == 1


@pytest.mark.parametrize('cluster', [False, True])
@pytest.mark.parametrize('transport', TRANSPORTS[1:])
def test_guest(server: FakePubSub, make_side: MakeSide, transport: str,
               cluster: bool) -> None:
    """It hears answers, and is neither counted nor asked."""
    guest = make_side('guest', transport, cluster)
    guest.joins = False
    member = make_side('member', transport, cluster, serve=['/chat'])
    assert guest.listening('/chat') == Asked(1, [])
    assert guest.count('/chat') == member.count('/chat') == 1
    assert member.listening('/chat') == Asked(0, [])
    # Also where it is known elsewhere.
    member.knows('guest')
    assert member.listening('/chat') == Asked(0, [])
    guest.knows('member', namespace='/chat')
    assert guest.listening('/chat') == Asked(1, ['member'])
    member.channel.answer(Way(transport), '/chat', 'guest', ANSWER)()
    wait_for_value(lambda: len(guest.heard.calls), 1)
    # Now it serves the namespace.
    guest.channel.serve(['/', '/chat'])
    guest.joins = True
    wait_for_value(lambda: member.count('/chat'), 2)
    assert guest.count('/chat') == 2


@pytest.mark.parametrize('cluster', [False, True])
@pytest.mark.parametrize('transport', TRANSPORTS[1:])
def test_guests_are_bounded(server: FakePubSub, make_side: MakeSide,
                            monkeypatch: pytest.MonkeyPatch,
                            transport: str, cluster: bool) -> None:
    """In namespaces, connections and tasks."""
    monkeypatch.setattr(subscriptions_module, 'MAX_GUESTS', 2)
    me = make_side('me', transport, cluster)
    for number in range(6):
        assert me.listening(f'/{number}') == Asked(0, [])
    kind = b's' if transport == 'sharded-pubsub' else b''
    for number in range(6):
        server.wait_listening(f'x#/{number}#me#', int(number >= 4), kind)
    # One for each master and one that divides the channels between them; the
    # publisher's, and that of plain channels.
    assert len(me.tasks) <= 6
    wait_until(lambda: len(server.connections) <= 5)
    # What was given up is had again.
    assert me.listening('/0') == Asked(0, [])


def test_listener_is_woken(server: FakePubSub, make_side: MakeSide,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait until the connection is to be checked."""
    monkeypatch.setattr(listener_module, 'QUIET', 3 * DEADLINE)
    me = make_side('me', 'pubsub')
    assert me.listening('/chat') == Asked(0, [])
    assert me.heard.calls == []


def test_connection_that_is_dead_unnoticed(
        server: FakePubSub, make_side: MakeSide) -> None:
    """Redis does not know of it, so it is replaced."""
    me = make_side('me', 'pubsub')
    make_side('a', 'pubsub')
    dead, = [each for each in server.connections
             if (b'', b'x#/#me#') in each.places]
    dead.places.clear()
    assert me.listening() == Asked(1, [])
    assert dead not in server.connections


def test_nobody_tells_who_listens(server: FakePubSub,
                                  make_side: MakeSide) -> None:
    me = make_side('me', 'pubsub')
    server.frozen = True
    assert me.listening(timeout=0.05) is None


def test_closed_while_it_waits(server: FakePubSub,
                               make_side: MakeSide) -> None:
    me = make_side('me', 'pubsub')
    server.frozen = True
    asking = Call(me.listening, '/chat', 3 * DEADLINE)
    wait_until(lambda: me.channel._subscriptions._waiting)
    for task in me.tasks.values():
        task.stop()
    me.channel.interrupt()
    assert asking.result() is None
