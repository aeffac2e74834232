"""Requests and answers over PUB/SUB, and the nodes that are asked."""
import math

import pytest

from redis_streams_adapter.protocol.codec import Encoder, Packed
from redis_streams_adapter.protocol.messages import EVERYONE, FetchSockets, \
    FetchSocketsResponse
from redis_streams_adapter.protocol.requests import Asked
from redis_streams_adapter.protocol.transport import Way
from redis_streams_adapter.testing.pubsub import FakePubSub

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..nodes import Call
from .sides import ANSWER, MakeSide, OURS, REQUEST, start_js, THEIRS, \
    TRANSPORTS

#: How long a call waits for one that does not listen, in seconds: long enough
#: for a reply to a busy machine.
BUSY = 1.0


# -- requests and answers ----------------------------------------------------

@pytest.mark.parametrize('cluster', [False, True])
@pytest.mark.parametrize('asker, asked', [
    *(('pubsub', each) for each in TRANSPORTS),
    ('sharded-pubsub', 'sharded-pubsub')])
def test_answer_takes_the_way_of_the_request(server: FakePubSub,
                                             make_side: MakeSide, asker: str,
                                             asked: str,
                                             cluster: bool) -> None:
    """Whatever transport the asked node uses, if it listens."""
    one, other = (make_side('a', asker, cluster),
                  make_side('b', asked, cluster))
    way = Way(asker)
    one.channel.ask('/', REQUEST)()
    wait_for_value(lambda: other.heard.calls,
                   [(Packed('a', '/', REQUEST), way)])
    # It has received its own message.
    assert one.heard.calls == []
    other.channel.answer(
        way, '/', 'a', other.channel.pack('/', ANSWER))
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
    """Neither its requests nor its answers are received, whether valid or not,
    and they are not reported."""
    me = make_side('me', 'pubsub')
    stranger = make_side('stranger', 'pubsub', application=THEIRS)
    stranger.channel.ask('/', REQUEST)()
    stranger.channel.answer(
        Way.PLAIN, '/', 'me', stranger.channel.pack('/', ANSWER))
    stranger.channel.ask('/', FetchSockets(EVERYONE, ''))()
    make_side('friend', 'pubsub').channel.ask('/', REQUEST)()
    wait_for_value(lambda: me.heard.calls,
                   [(Packed('friend', '/', REQUEST), Way.PLAIN)])
    assert me.malformed.calls == []
    assert stranger.heard.calls == []


@pytest.mark.parametrize('raw', [b'', b'\xc0', b'nonsense'])
def test_malformed(server: FakePubSub, make_side: MakeSide,
                   raw: bytes) -> None:
    """It is reported, and the next message is received."""
    me = make_side('me', 'pubsub')
    server.publish('x#/#', raw)
    server.publish('x#/#', Encoder('a').pack('/', REQUEST, OURS))
    wait_for_value(lambda: len(me.heard.calls), 1)
    assert len(me.malformed.calls) == 1


def test_unserialisable_messages(make_side: MakeSide) -> None:
    me = make_side('me', 'pubsub')
    answer = FetchSocketsResponse('r', ({'data': object()},))
    with pytest.raises(TypeError):
        me.channel.ask('/', answer)
    with pytest.raises(TypeError):
        me.channel.pack('/', answer)
    assert 'publisher' not in me.tasks


# -- nodes that are asked ----------------------------------------------------

@pytest.mark.parametrize('cluster', [False, True])
@pytest.mark.parametrize('transport', TRANSPORTS[1:])
def test_listening_nodes(server: FakePubSub, make_side: MakeSide,
                         transport: str, cluster: bool) -> None:
    me = make_side('me', transport, cluster)
    assert me.listening() == Asked(0, [])
    make_side('a', transport if transport != 'pubsub' else 'stream', cluster)
    # It was not heard in the stream yet.
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
    assert me.listening(timeout=BUSY) == Asked(1, ['other'])
    assert me.count() == 2
    make_side('third', 'sharded-pubsub', cluster)
    assert me.listening(timeout=BUSY) == Asked(2, ['other'])
    me.knows('third', 'other')
    assert me.listening(timeout=BUSY) == Asked(2, ['third', 'other'])


def test_others_on_the_same_channels(server: FakePubSub,
                                     make_side: MakeSide) -> None:
    """Another application, and an older version of the package."""
    me = make_side('me', 'pubsub')
    make_side('stranger', 'pubsub', application=THEIRS)
    assert me.listening() == Asked(0, [])
    assert me.count() == 1
    old = start_js(server)
    old.places.add((b'', b'x#/#old#'))
    me.knows('old')
    assert me.listening() == Asked(1, [])
    # A Node.js server is recognised by its channel.
    me.knows('old', python=False)
    assert me.listening() == Asked(1, ['old'])
    old.disconnect()


def test_node_js_server_that_is_asked_over_the_stream(
        server: FakePubSub, make_side: MakeSide) -> None:
    """It never listens."""
    me = make_side('me', 'pubsub')
    me.knows('js', python=False)
    assert me.listening() == Asked(0, [])
    assert me.count() == 1


def test_node_that_reconnects(server: FakePubSub, make_side: MakeSide) -> None:
    """The known node is just reconnecting: the request waits for it before
    anything is sent."""
    me = make_side('me', 'pubsub')
    me.knows('a')
    asking = Call(me.listening)
    wait_until(lambda: len(server.commands(b'PUBSUB')) >= 2)
    assert asking.waits
    make_side('a', 'pubsub')
    assert asking.result() == Asked(1, ['a'])


@pytest.mark.parametrize('namespace', ['/', '/chat'])
def test_node_that_does_not_reconnect(make_side: MakeSide,
                                      namespace: str) -> None:
    """The request waits in vain for as long as the node is known, also in a
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


def test_no_wait_for_nodes_without_a_wait_for_answers(
        server: FakePubSub, make_side: MakeSide) -> None:
    me = make_side('me', 'pubsub')
    me.knows('a')
    before = len(server.commands(b'PUBSUB'))
    assert me.listening(timeout=math.inf) == Asked(1, ['a'])
    assert len(server.commands(b'PUBSUB')) == before + 1


# -- nodes that send requests -------------------------------------------------

@pytest.mark.parametrize('transport', TRANSPORTS[1:])
def test_no_request_before_answers_can_be_received(server: FakePubSub,
                                                   make_side: MakeSide,
                                                   transport: str) -> None:
    me = make_side('me', transport, serve=[])
    # Returns once it listens.
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
    """It receives answers, and is neither counted nor asked."""
    guest = make_side('guest', transport, cluster)
    guest.joins = False
    member = make_side('member', transport, cluster, serve=['/chat'])
    assert guest.listening('/chat') == Asked(1, [])
    assert guest.count('/chat') == member.count('/chat') == 1
    assert member.listening('/chat') == Asked(0, [])
    # Even if the guest is known as a member of another namespace.
    member.knows('guest')
    assert member.listening('/chat') == Asked(0, [])
    guest.knows('member', namespace='/chat')
    assert guest.listening('/chat') == Asked(1, ['member'])
    member.channel.answer(Way(transport), '/chat', 'guest',
                          member.channel.pack('/chat', ANSWER))
    wait_for_value(lambda: len(guest.heard.calls), 1)
    # Now it serves the namespace.
    guest.channel.serve(['/', '/chat'])
    guest.joins = True
    wait_for_value(lambda: member.count('/chat'), 2)
    assert guest.count('/chat') == 2


def test_dead_connection_is_replaced(server: FakePubSub,
                                     make_side: MakeSide) -> None:
    """Redis does not know of it, so it is replaced."""
    me = make_side('me', 'pubsub')
    make_side('a', 'pubsub')
    dead, = [each for each in server.connections
             if (b'', b'x#/#me#') in each.places]
    dead.places.clear()
    assert me.listening() == Asked(1, [])
    assert dead not in server.connections


def test_unknown_number_of_listeners(server: FakePubSub,
                                     make_side: MakeSide) -> None:
    me = make_side('me', 'pubsub')
    server.frozen = True
    assert me.listening(timeout=0.05) is None


def test_close_during_a_wait(server: FakePubSub, make_side: MakeSide) -> None:
    me = make_side('me', 'pubsub')
    server.frozen = True
    asking = Call(me.listening, '/chat', 3 * DEADLINE)
    wait_until(lambda: me.channel._subscriptions._waiting)
    for task in me.tasks.values():
        task.stop()
    me.channel.interrupt()
    assert asking.result() is None
