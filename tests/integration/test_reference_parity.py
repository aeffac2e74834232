"""The published tests of the Node adapter, for a cluster of Python nodes.

The docstring of each test is the title of the equivalent case in
``test/index.ts`` of the repository
``socketio/socket.io-redis-streams-adapter``. Headings and order are the same.
The cases about connection state recovery are from
``test/connection-state-recovery.ts``.
"""
from typing import Any, Callable, Iterator, List

import pytest

from ..conftest import running
from ..support.client import Client
from ..support.node_process import NodeProcess, RemoteError
from ..support.returning_client import ReturningClient
from ..support.redis_server import RedisServer
from ..support.upstream import LOST
from ..support.wait import wait_for_value
from .conftest import Cluster, STEADY, start_managers
from .helpers import no_open_requests_after

Connect = Callable[..., Client]
Unique = Callable[[str], str]

#: Seconds for calls that must fail for lack of an answer.
SHORT = 2.0


@pytest.fixture
def clients(cluster: Cluster, connect: Connect) -> List[Client]:
    """A client on each node, and no others."""
    made = [connect(node) for node in cluster]
    sids = sorted(client.sid for client in made)
    # Clients of the previous test may still be disconnecting.
    for node in cluster:
        for other in set(node.fetch_sids()) - set(sids):
            node.invoke('manager', 'disconnect_sockets', to=other)
    wait_for_value(cluster.a.fetch_sids, sids)
    return made


@pytest.fixture(autouse=True)
def clean(cluster: Cluster) -> Iterator[None]:
    """However a call ends, nothing of it stays."""
    with no_open_requests_after(cluster.a):
        yield


def rooms(cluster: Cluster, clients: List[Client]) -> List[List[str]]:
    """The rooms of each client, according to its own node."""
    return [node.rooms(client.sid)
            for node, client in zip(cluster, clients)]


def check_received(cluster: Cluster, clients: List[Client], event: str,
                   marker: str, expected: List[int]) -> None:
    """Each client has received this many events, and receives no more."""
    cluster.a.emit(marker)
    for client, count in zip(clients, expected):
        client.wait_for(marker)
        assert client.count(event) == count


# -- broadcast ---------------------------------------------------------------

def test_broadcast_to_all(cluster: Cluster, clients: List[Client],
                          unique: Unique) -> None:
    """broadcasts to all clients"""
    event = unique('test')
    cluster.a.emit(event, (1, '2', b'\x03\x04'))
    for client in clients:
        assert client.wait_for(event) == [(1, '2', b'\x03\x04')]


def test_broadcast_in_a_namespace(cluster: Cluster, connect: Connect,
                                  unique: Unique) -> None:
    """broadcasts to all clients in a namespace"""
    event = unique('test')
    inside = [connect(node, '/', '/chat') for node in cluster]
    outside = connect(cluster.b)
    cluster.a.emit(event, namespace='/chat')
    for client in inside:
        client.wait_for(event)
        assert [each.namespace for each in client.events()
                if each.name == event] == ['/chat']
    marker = unique('marker')
    cluster.a.emit(marker)
    outside.wait_for(marker)
    assert outside.count(event) == 0


def test_broadcast_in_a_room(cluster: Cluster, clients: List[Client],
                             unique: Unique) -> None:
    """broadcasts to all clients in a room"""
    event, room = unique('test'), unique('room1')
    cluster.b.enter_room(clients[1].sid, room)
    cluster.a.emit(event, to=room)
    clients[1].wait_for(event)
    check_received(cluster, clients, event, unique('marker'), [0, 1, 0])


def test_broadcast_except(cluster: Cluster, clients: List[Client],
                          unique: Unique) -> None:
    """broadcasts to all clients except in room"""
    event, room = unique('test'), unique('room1')
    cluster.b.enter_room(clients[1].sid, room)
    cluster.a.emit(event, skip_sid=room)
    check_received(cluster, clients, event, unique('marker'), [1, 0, 1])


def test_broadcast_locally(cluster: Cluster, clients: List[Client],
                           unique: Unique) -> None:
    """broadcasts to local clients only"""
    event = unique('test')
    cluster.a.emit(event, ignore_queue=True)
    check_received(cluster, clients, event, unique('marker'), [1, 0, 0])


def test_acknowledgements(cluster: Cluster, clients: List[Client],
                          unique: Unique) -> None:
    """broadcasts with multiple acknowledgements"""
    event = unique('test')
    for number, client in enumerate(clients):
        client.answer(event, number + 1)
    assert sorted(cluster.a.emit_with_ack(event)) == [1, 2, 3]


def test_binary_acknowledgements(cluster: Cluster, clients: List[Client],
                                 unique: Unique) -> None:
    """broadcasts with multiple acknowledgements (binary content)"""
    event = unique('test')
    for number, client in enumerate(clients):
        client.answer(event, bytes([number + 1]))
    assert sorted(cluster.a.emit_with_ack(event)) == [
        b'\x01', b'\x02', b'\x03']


def test_acknowledgements_without_clients(cluster: Cluster,
                                          clients: List[Client],
                                          unique: Unique) -> None:
    """broadcasts with multiple acknowledgements (no client)"""
    assert cluster.a.emit_with_ack(unique('test'), to=unique('abc')) == []


def test_acknowledgements_timeout(cluster: Cluster, clients: List[Client],
                                  unique: Unique) -> None:
    """broadcasts with multiple acknowledgements (timeout)"""
    event = unique('test')
    for number, client in enumerate(clients[:2]):
        client.answer(event, number + 1)
    clients[2].never_answer(event)
    with pytest.raises(RemoteError) as info:
        cluster.a.emit_with_ack(event, timeout=SHORT)
    assert info.value.types[0] == 'ClusterTimeoutError'
    assert sorted(info.value.responses) == [1, 2]
    assert cluster.c.identify()[1] in info.value.missing


def test_acknowledgement_of_a_local_client(cluster: Cluster,
                                           clients: List[Client],
                                           unique: Unique) -> None:
    """broadcasts with a single acknowledgement (local)"""
    event = unique('test')
    clients[1].answer(event, 2)
    assert cluster.b.emit_with_ack(event, to=clients[1].sid) == [2]
    check_received(cluster, clients, event, unique('marker'), [0, 1, 0])


def test_acknowledgement_of_a_remote_client(
        cluster: Cluster, clients: List[Client], unique: Unique) -> None:
    """broadcasts with a single acknowledgement (remote)"""
    event = unique('test')
    clients[1].answer(event, 2)
    assert cluster.a.ask_socket(clients[1].sid, event, None) == 2
    check_received(cluster, clients, event, unique('marker'), [0, 1, 0])


# -- socketsJoin -------------------------------------------------------------

def test_join_all(cluster: Cluster, clients: List[Client],
                  unique: Unique) -> None:
    """makes all socket instances join the specified room"""
    room = unique('room1')
    cluster.a.invoke('manager', 'sockets_join', room)
    wait_for_value(lambda: rooms(cluster, clients), [[room]] * 3)


def test_join_matching(cluster: Cluster, clients: List[Client],
                       unique: Unique) -> None:
    """makes the matching socket instances join the specified room"""
    first, second, third = unique('a'), unique('b'), unique('c')
    cluster.a.enter_room(clients[0].sid, first)
    cluster.c.enter_room(clients[2].sid, first)
    cluster.a.invoke('manager', 'sockets_join', second, to=first)
    # After the change, so that no client enters later.
    cluster.a.invoke('manager', 'sockets_join', third)
    wait_for_value(lambda: rooms(cluster, clients), [
        [first, second, third], [third], [first, second, third]])


def test_join_given(cluster: Cluster, clients: List[Client],
                    unique: Unique) -> None:
    """makes the given socket instance join the specified room"""
    room, end = unique('room3'), unique('~end')
    cluster.a.invoke('manager', 'sockets_join', room, to=clients[1].sid)
    cluster.a.invoke('manager', 'sockets_join', end)
    wait_for_value(lambda: rooms(cluster, clients),
                   [[end], [room, end], [end]])


# -- socketsLeave ------------------------------------------------------------

def test_leave_all(cluster: Cluster, clients: List[Client],
                   unique: Unique) -> None:
    """makes all socket instances leave the specified room"""
    room, end = unique('room1'), unique('~end')
    cluster.a.enter_room(clients[0].sid, room)
    cluster.c.enter_room(clients[2].sid, room)
    cluster.a.invoke('manager', 'sockets_leave', room)
    cluster.a.invoke('manager', 'sockets_join', end)
    wait_for_value(lambda: rooms(cluster, clients), [[end]] * 3)


def test_leave_matching(cluster: Cluster, clients: List[Client],
                        unique: Unique) -> None:
    """makes the matching socket instances leave the specified room"""
    first, second, end = unique('a'), unique('b'), unique('~end')
    for node, client, entered in zip(
            cluster, clients, ([first, second], [first, second], [second])):
        for room in entered:
            node.enter_room(client.sid, room)
    cluster.a.invoke('manager', 'sockets_leave', second, to=first)
    cluster.a.invoke('manager', 'sockets_join', end)
    wait_for_value(lambda: rooms(cluster, clients),
                   [[first, end], [first, end], [second, end]])


def test_leave_given(cluster: Cluster, clients: List[Client],
                     unique: Unique) -> None:
    """makes the given socket instance leave the specified room"""
    room, end = unique('room3'), unique('~end')
    for node, client in zip(cluster, clients):
        node.enter_room(client.sid, room)
    cluster.a.invoke('manager', 'sockets_leave', room, to=clients[1].sid)
    cluster.a.invoke('manager', 'sockets_join', end)
    wait_for_value(lambda: rooms(cluster, clients),
                   [[room, end], [end], [room, end]])


# -- disconnectSockets -------------------------------------------------------

def test_disconnect_all(cluster: Cluster, clients: List[Client]) -> None:
    """makes all socket instances disconnect"""
    cluster.a.invoke('manager', 'disconnect_sockets')
    for client in clients:
        assert client.wait_disconnected() == 'server disconnect'


def test_packet_before_disconnect(cluster: Cluster, clients: List[Client],
                                  unique: Unique) -> None:
    """sends a packet before all socket instances disconnect"""
    event = unique('bye')
    cluster.a.script(
        ('server', 'emit', [event], {}),
        ('manager', 'disconnect_sockets', [], {'close': True}))
    for client in clients:
        client.wait_disconnected()
        # The end of the connection overtakes events handled in order.
        assert client.wait_for(event) == [()]


# -- fetchSockets ------------------------------------------------------------

def test_fetch_all(cluster: Cluster, clients: List[Client]) -> None:
    """returns all socket instances"""
    assert cluster.a.fetch_sids() == sorted(
        client.sid for client in clients)


def test_fetch_one(cluster: Cluster, clients: List[Client]) -> None:
    """returns a single socket instance"""
    sid = clients[1].sid
    cluster.b.invoke('server', 'save_session', sid, {'name': 'test'})
    (found,) = cluster.a.fetch_sockets(to=sid)
    (own,) = cluster.b.fetch_sockets(to=sid, local=True)
    assert found['handshake'] == own['handshake']
    assert found['handshake']['query']['transport'] == 'websocket'
    assert found['data'] == {'name': 'test'}
    assert found['rooms'] == [sid]


def test_fetch_locally(cluster: Cluster, clients: List[Client]) -> None:
    """returns only local socket instances"""
    assert cluster.a.fetch_sids(local=True) == [clients[0].sid]


# -- serverSideEmit ----------------------------------------------------------

def test_server_side_emit(cluster: Cluster, unique: Unique) -> None:
    """sends an event to other server instances"""
    event, end = unique('hello'), unique('end')
    for node in cluster:
        node.on_server_side(event)
        node.on_server_side(end)
    cluster.a.invoke('manager', 'server_side_emit', event, 'world', 1, '2')
    for node in (cluster.b, cluster.c):
        wait_for_value(lambda: node.recorded(event), [('world', 1, '2')])
    # Before this answer it would have come back.
    cluster.b.server_side_call(end)
    assert cluster.a.recorded(event) == []
    assert cluster.a.recorded(end) == [()]


def test_server_side_call(cluster: Cluster, unique: Unique) -> None:
    """sends an event and receives a response from the other server instances
    """
    event = unique('hello')
    for node, value in zip(cluster, ('mine', 2, '3')):
        node.on_server_side(event, value=value)
    assert sorted(cluster.a.server_side_call(event), key=str) == [2, '3']
    assert cluster.a.recorded(event) == []


def test_server_side_timeout(cluster: Cluster, unique: Unique) -> None:
    """sends an event but timeout if one server does not respond"""
    event = unique('hello')
    cluster.b.on_server_side(event, value=2)
    # One without a handler responds, other than in Node.js.
    cluster.c.on_server_side(event, 'raise')
    with pytest.raises(RemoteError) as info:
        cluster.a.server_side_call(event, timeout=SHORT)
    assert info.value.text == ('timeout reached: only 1 responses received '
                               'out of 2')
    assert info.value.responses == [2]
    assert info.value.missing == [cluster.c.identify()[1]]


def test_server_side_leave(redis_server: RedisServer, unique: Unique,
                           start_nodes: Callable[..., List[NodeProcess]]
                           ) -> None:
    """succeeds even if an instance leaves the cluster"""
    options: Any = {'stream_name': unique('stream'), **STEADY}
    nodes = start_nodes(3, redis_server.url, **options)
    start_managers(nodes)
    event = unique('hello')
    nodes[1].on_server_side(event, value=2)
    nodes[2].on_server_side(event, 'leave')
    assert nodes[0].server_side_call(event) == [2]
    assert nodes[2].recorded(event) == [()]


# -- connection state recovery -----------------------------------------------

@pytest.fixture(scope='module')
def recovering(mode: str, redis_server: RedisServer) -> Iterator[Cluster]:
    """Three nodes with connection state recovery."""
    options = {'stream_name': 'parity-of-recovery', **STEADY,
               'connection_state_recovery': {'max_disconnection_duration': 5}}
    with running([NodeProcess(mode, redis_server.url, options)
                  for _ in range(3)]) as nodes:
        start_managers(nodes)
        yield Cluster(*nodes)


@pytest.fixture
def returning(recovering: Cluster) -> Iterator[ReturningClient]:
    """A client of the first node, and known there."""
    client = ReturningClient(recovering.a.url)
    client.call('echo')
    yield client
    client.close()


def offsets(client: ReturningClient, *events: str) -> List[Any]:
    """The last arguments of all events of these names, in order."""
    return [event.args[-1] for event in client.events()
            if event.name in events]


#: The node to which a client returns. In the published cases it is the same.
HOMES = pytest.mark.parametrize('home', ['a', 'b'])


@HOMES
def test_restore_session(recovering: Cluster, returning: ReturningClient,
                         unique: Unique, home: str) -> None:
    """should restore the session"""
    init = unique('init')
    assert not returning.recovered['/']
    sid = returning.sid
    recovering.a.emit(init)
    returning.wait_for(init)
    returning.drop()
    returning.connect(getattr(recovering, home).url)
    assert returning.recovered['/']
    assert returning.sid == sid


@HOMES
def test_restore_missed_packets(
        recovering: Cluster, returning: ReturningClient, unique: Unique,
        home: str) -> None:
    """should restore any missed packets"""
    init, event, end = unique('init'), unique('myEvent'), unique('end')
    room, other = unique('room1'), unique('room2')
    node, sid = recovering.a, returning.sid
    node.enter_room(sid, room)
    recovering.b.emit(init)
    returning.wait_for(init)
    returning.drop()
    wait_for_value(lambda: node.disconnects_of(sid),
                   [('/', LOST)], what='the disconnect handler')
    node.emit(event, 1, to=sid)
    node.emit(event, 2)
    node.emit(event, 3, to=room)
    # These are not for this client.
    node.emit(event, 4, to=other)
    node.emit(event, 5, skip_sid=room)
    node.emit(event, 6, namespace='/chat')
    returning.connect(getattr(recovering, home).url)
    assert returning.recovered['/']
    # After all missed events.
    node.emit(end)
    returning.wait_for(end)
    assert [number for number, *_ in returning.received(event)] == [1, 2, 3]
    assert len(set(offsets(returning, init, event))) == 4


def check_new(recovering: Cluster, client: ReturningClient, sid: str,
              unique: Unique) -> None:
    """It is connected as a new client."""
    end = unique('end')
    assert not client.recovered['/']
    assert client.sid != sid
    recovering.b.emit(end, to=[sid, client.sid])
    assert len(client.wait_for(end)) == 1


def test_unknown_session(recovering: Cluster, returning: ReturningClient,
                         unique: Unique) -> None:
    """should fail to restore an unknown session (invalid session ID)"""
    sid = returning.sid
    returning.pids['/'] = 'abc'
    returning.offsets['/'] = '507f191e810c19729de860ea'
    returning.drop()
    returning.connect(recovering.a.url)
    check_new(recovering, returning, sid, unique)


def test_invalid_offset(recovering: Cluster, returning: ReturningClient,
                        unique: Unique) -> None:
    """should fail to restore an unknown session (invalid offset)"""
    sid = returning.sid
    returning.offsets['/'] = 'abc'
    returning.drop()
    returning.connect(recovering.a.url)
    check_new(recovering, returning, sid, unique)
