"""Who listens to what, for which transport, and what is made of it."""
import logging
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

from redis_streams_adapter.codec import Encoder, Packed
from redis_streams_adapter.messages import EVERYONE, FetchSockets, \
    FetchSocketsResponse
from redis_streams_adapter.options import make
from redis_streams_adapter.requests import Asked
from redis_streams_adapter.side_channel import SideChannel
from redis_streams_adapter.tasks import Task, ThreadEngine
from redis_streams_adapter.transport import Way

from ..support.wait import DEADLINE, wait_for_value, wait_until
from .conftest import Log
from .fake_pubsub import FakePubSub

TRANSPORTS = ('stream', 'pubsub', 'sharded-pubsub')

REQUEST = FetchSockets(EVERYONE, 'r')
ANSWER = FetchSocketsResponse('r', ())


class Side:
    """A side channel and its tasks."""

    def __init__(self, server: FakePubSub, logger: Any, uid: str,
                 transport: str, cluster: bool) -> None:
        self.heard, self.malformed = Log(), Log()
        self.tasks: Dict[str, Task] = {}
        #: The names of the tasks that matter.
        self.matters: List[str] = []
        self._logger = logger
        self.channel = SideChannel(
            make({'request_transport': transport, 'channel_prefix': 'x'}),
            server.driver(cluster), ThreadEngine(), logger, Encoder(uid),
            self.heard, self.malformed, self._start)

    def _start(self, name: str, work: Any, matters: bool) -> None:
        if name not in self.tasks:
            task = self.tasks[name] = Task(
                name, work, ThreadEngine(), None, self._logger)
            if matters:
                self.matters.append(name)
            task.start()

    def close(self) -> None:
        for task in self.tasks.values():
            task.stop()
        self.channel.interrupt()
        for task in self.tasks.values():
            assert task.join(DEADLINE)


@pytest.fixture
def server() -> FakePubSub:
    return FakePubSub()


@pytest.fixture
def make_side(server: FakePubSub, logger: Callable[[], logging.Logger],
              ) -> Iterator[Callable[..., Side]]:
    made: List[Side] = []

    def make_one(uid: str, transport: str, cluster: bool = False,
                 serve: Optional[List[str]] = None) -> Side:
        side = Side(server, logger, uid, transport, cluster)
        made.append(side)
        namespaces = ['/'] if serve is None else serve
        side.channel.serve(namespaces)
        for namespace in namespaces:
            for kind in b'', b's':
                server.wait_listening(f'x#{namespace}#{uid}#', 1, kind)
                server.wait_listening(f'x#{namespace}#', len(made), kind)
        return side

    yield make_one
    for side in made:
        side.close()
    assert server.connections == []


MakeSide = Callable[..., Side]


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_on_one_server(server: FakePubSub, make_side: MakeSide,
                       transport: str) -> None:
    """Everybody listens both ways, on one connection."""
    side = make_side('me', transport, serve=['/', '/chat'])
    (connection,) = server.connections
    assert {channel for _, channel in connection.places} == {
        b'x#/#', b'x#/#me#', b'x#/chat#', b'x#/chat#me#'}
    assert side.matters == (['listener'] if transport != 'stream' else [])


@pytest.mark.parametrize('transport, matters', [
    ('stream', []), ('pubsub', ['listener']),
    ('sharded-pubsub', ['listener x#/#', 'listener x#/#me#'])])
def test_in_a_cluster(server: FakePubSub, make_side: MakeSide,
                      transport: str, matters: List[str]) -> None:
    """Plain channels are everywhere, sharded ones each somewhere."""
    side = make_side('me', transport, cluster=True)
    wait_for_value(lambda: sorted(
        sorted(each.places) for each in server.connections), [
            [(b'', b'x#/#'), (b'', b'x#/#me#')],
            [(b's', b'x#/#')], [(b's', b'x#/#me#')]])
    assert {each.key for each in server.commands(b'SSUBSCRIBE')} == {
        'x#/#', 'x#/#me#'}
    assert sorted(side.matters) == matters
    side.channel.serve(['/chat'])
    for kind in b'', b's':
        server.wait_listening('x#/chat#', kind=kind)
        server.wait_listening('x#/#', 0, kind)
    wait_for_value(lambda: len(server.connections), 3)


@pytest.mark.parametrize('cluster', [False, True])
@pytest.mark.parametrize('asker', TRANSPORTS[1:])
@pytest.mark.parametrize('asked', TRANSPORTS)
def test_answer_goes_the_way_of_the_question(
        server: FakePubSub, make_side: MakeSide, asker: str, asked: str,
        cluster: bool) -> None:
    """Whichever way the one who is asked asks himself."""
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


@pytest.mark.parametrize('transport', TRANSPORTS[1:])
def test_who_listens(server: FakePubSub, make_side: MakeSide,
                     transport: str) -> None:
    me = make_side('me', transport)
    listening = me.channel.listening
    assert listening('/', [], DEADLINE) == Asked(0, [])
    # Killed a while ago, and not taken for gone yet.
    assert listening('/', ['dead'], DEADLINE) == Asked(0, [])
    make_side('a', 'stream')
    assert listening('/', ['dead', 'a'], DEADLINE) == Asked(1, ['a'])
    # One in Node.js, of whom no heartbeat is heard.
    connection = server.driver().make(1.0, 'other')
    connection.connect()
    connection.places.update(((b'', b'x#/#'), (b's', b'x#/#')))
    assert listening('/', ['a'], DEADLINE) == Asked(2, ['a'])
    assert listening('/', [], DEADLINE) == Asked(2, [])
    assert listening('/chat', ['a'], DEADLINE) == Asked(0, [])
    connection.disconnect()
    assert listening('/', ['a'], DEADLINE) == Asked(1, ['a'])


def test_who_listens_while_we_do_not(server: FakePubSub,
                                     make_side: MakeSide) -> None:
    """For a moment, with one of our channels or with both."""
    me = make_side('me', 'pubsub')
    make_side('a', 'pubsub')
    ours = [each for each in server.connections
            if (b'', b'x#/#me#') in each.places]
    ours[0].places.discard((b'', b'x#/#'))
    assert me.channel.listening('/', ['a'], DEADLINE) == Asked(1, ['a'])
    ours[0].places.clear()
    assert me.channel.listening('/', ['a'], DEADLINE) == Asked(1, ['a'])


def test_nobody_tells_who_listens(server: FakePubSub,
                                  make_side: MakeSide) -> None:
    me = make_side('me', 'pubsub')
    server.frozen = True
    assert me.channel.listening('/', [], 0.05) is None


@pytest.mark.parametrize('raw', [b'', b'\xc0', b'nonsense'])
def test_malformed(server: FakePubSub, make_side: MakeSide,
                   raw: bytes) -> None:
    """It is told, and what is behind it is heard."""
    me = make_side('me', 'pubsub')
    server.publish('x#/#', raw)
    server.publish('x#/#', Encoder('a').pack('/', REQUEST))
    wait_for_value(lambda: len(me.heard.calls), 1)
    assert len(me.malformed.calls) == 1


def test_what_cannot_be_sent(make_side: MakeSide) -> None:
    me = make_side('me', 'pubsub')
    answer = FetchSocketsResponse('r', ({'data': object()},))
    with pytest.raises(TypeError):
        me.channel.ask('/', answer)
    with pytest.raises(TypeError):
        me.channel.answer(Way.PLAIN, '/', 'a', answer)
    assert 'courier' not in me.tasks


def test_nothing_is_served_yet(server: FakePubSub,
                               make_side: MakeSide) -> None:
    """A listener that never gets a channel ends like any other."""
    for cluster in False, True:
        side = make_side('me', 'pubsub', cluster, serve=[])
        assert [*side.tasks] == ['listener']
        wait_until(lambda: side.tasks['listener'].tried.is_set())
    assert server.connections == []
