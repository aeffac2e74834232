"""The channels that a process listens to, and their connections."""
from typing import List

import pytest
import redis

from redis_streams_adapter.cluster import subscriptions as subscriptions_module
from redis_streams_adapter.cluster.subscriptions import Channels
from redis_streams_adapter.protocol.requests import Asked
from redis_streams_adapter.stream import listener as listener_module
from redis_streams_adapter.testing.pubsub import FakePubSub

from ...support.wait import DEADLINE, wait_until
from .sides import channels_of, kinds_of, MakeSide, OURS, THEIRS, TRANSPORTS


def test_names_of_channels() -> None:
    """Only the public and private channels have names known to Node.js."""
    uid = ['']
    channels = Channels('x', OURS, lambda: uid[0])
    # The id of this node is known once it is a member.
    uid[0] = 'me'
    assert channels.public('/chat') == 'x#/chat#'
    assert channels.private('/chat') == 'x#/chat#me#'
    assert channels.private('/chat', 'other') == 'x#/chat#other#'
    counted = channels.counted('/chat')
    assert counted[0] == channels.public('/chat')
    assert counted[-1] == channels.member('/chat', 'me')
    assert len(set(counted)) == 4
    # The names that distinguish applications differ.
    others = Channels('x', THEIRS, lambda: 'me').counted('/chat')
    assert len({*counted, *others}) == 6


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_channels_on_one_server(server: FakePubSub, make_side: MakeSide,
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
def test_channels_in_a_cluster(server: FakePubSub, make_side: MakeSide,
                               transport: str, matters: List[str]) -> None:
    """Plain channels are on every server; the cluster is not asked for
    others."""
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
    """One connection for each master, for any number of namespaces, and one
    for plain channels."""
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
    # Listeners without channels are idle, and ready for others.
    side.channel.serve(namespaces)
    for namespace in namespaces:
        server.wait_listening(f'x#{namespace}#', kind=b's')
    assert len(side.tasks) == 5
    assert server.on_masters() == ['one', 'three', 'two']


def test_channels_that_are_served_again(server: FakePubSub,
                                        make_side: MakeSide) -> None:
    """Their connection in a cluster may be to another master by then."""
    side = make_side('me', 'sharded-pubsub', cluster=True)
    for namespaces in ['/chat'], ['/chat', '/']:
        side.channel.serve(namespaces)
        for namespace in namespaces:
            server.wait_listening(f'x#{namespace}#', kind=b's')
            server.wait_listening(f'x#{namespace}#me#', kind=b's')


def test_no_namespaces_yet(server: FakePubSub, make_side: MakeSide) -> None:
    """A listener that never gets a channel ends like any other."""
    for cluster in False, True:
        side = make_side('me', 'pubsub', cluster, serve=[])
        assert [*side.tasks] == ['listener']
        wait_until(lambda: side.tasks['listener'].tried.is_set())
    assert server.connections == []


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_rights_granted_later(server: FakePubSub, make_side: MakeSide,
                              transport: str) -> None:
    """It retries until it is allowed, even if it need not listen."""
    side = make_side('me', transport, serve=[])
    for name in b'SUBSCRIBE', b'SSUBSCRIBE':
        server.errors[name] = redis.exceptions.NoPermissionError('no')
    side.channel.serve(['/'])
    wait_until(lambda: side.tasks['listener'].restarts >= 2)
    server.errors.clear()
    server.wait_listening(
        'x#/#', kind=b's' if transport == 'sharded-pubsub' else b'')


@pytest.mark.parametrize('cluster', [False, True])
@pytest.mark.parametrize('transport', TRANSPORTS[1:])
def test_guests_are_limited(server: FakePubSub, make_side: MakeSide,
                            monkeypatch: pytest.MonkeyPatch, transport: str,
                            cluster: bool) -> None:
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
    # A namespace that was given up is available again.
    assert me.listening('/0') == Asked(0, [])


def test_listener_is_woken(server: FakePubSub, make_side: MakeSide,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait until the next check of the connection."""
    monkeypatch.setattr(listener_module, 'QUIET', 3 * DEADLINE)
    me = make_side('me', 'pubsub')
    assert me.listening('/chat') == Asked(0, [])
    assert me.heard.calls == []
