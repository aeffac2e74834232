"""Requests to a cluster of processes: answers, and the end of every wait."""
import contextlib
import threading
import time
from typing import Any, Callable, Iterator, List

import pytest

from redis_streams_adapter import RedisStreamsManager

from ..support.client import Client
from ..support.json_values import Callback
from ..support.node_process import NodeProcess, RemoteError
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .conftest import Cluster, STEADY, start_managers
from .helpers import BACK_WITHIN, no_open_requests_after, PROMPT
from .test_membership import MISSED_WITHIN, QUICK

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]
MakeRedis = Callable[..., RedisServer]


@pytest.fixture
def namespace_clients(cluster: Cluster, connect: Connect) -> List[Client]:
    """A client on each node, in a namespace in which no other test has
    lasting clients."""
    made = [connect(node, '/chat') for node in cluster]
    wait_for_value(lambda: cluster.a.fetch_sids(namespace='/chat'),
                   sorted(client.sid for client in made))
    return made


@pytest.fixture(autouse=True)
def clean(cluster: Cluster) -> Iterator[None]:
    """However a call ends, nothing of it stays."""
    with no_open_requests_after(cluster.a):
        yield


# -- answers -----------------------------------------------------------------

def test_sockets_and_rooms(cluster: Cluster, unique: Unique,
                           namespace_clients: List[Client]) -> None:
    room, both = unique('room'), unique('both')
    sids = [client.sid for client in namespace_clients]
    cluster.a.invoke('manager', 'sockets_join', [room, both], to=sids[1],
                     namespace='/chat')
    cluster.b.invoke('manager', 'sockets_join', both, to=sids[2],
                     namespace='/chat')
    for node in cluster:
        wait_for_value(
            lambda: node.ask('all_rooms', namespace='/chat'),
            {room: 1, both: 2})
        assert node.fetch_sids(namespace='/chat', to=both) == sorted(sids[1:])
        assert node.fetch_sids(namespace='/chat', to=both,
                               skip_sid=room) == [sids[2]]
        assert node.fetch_sids(namespace='/chat', to=[]) == []
        uids = {each['node'] for each
                in node.fetch_sockets(namespace='/chat')}
        assert uids == {other.identify()[1] for other in cluster}
        assert {uid for uid, *_ in node.invoke('manager', 'nodes')} == uids


def test_acknowledgements(cluster: Cluster, unique: Unique,
                          namespace_clients: List[Client]) -> None:
    event = unique('event')
    for number, client in enumerate(namespace_clients):
        client.answer(event, number, {'raw': b'x'})
    responses = cluster.b.emit_with_ack(event, ('a', b'b'),
                                        namespace='/chat')
    assert sorted(tuple(each) for each in responses) == [
        (number, {'raw': b'x'}) for number in range(3)]
    assert all(client.received(event) == [('a', b'b')]
               for client in namespace_clients)


@pytest.mark.parametrize('target', ['everyone', 'room'])
def test_callback_of_several_clients(cluster: Cluster, unique: Unique,
                                     target: str,
                                     namespace_clients: List[Client]) -> None:
    """It is called once for each client that answers, with all arguments."""
    event, tag, room = unique('event'), unique('callback'), unique('room')
    expected = namespace_clients
    kwargs = {}
    if target == 'room':
        expected = namespace_clients[1:]
        kwargs = {'to': room}
        for node, client in zip(cluster, namespace_clients):
            if client in expected:
                node.enter_room(client.sid, room, namespace='/chat')
    for number, client in enumerate(namespace_clients):
        client.answer(event, number, 'two', b'three')
    cluster.a.emit(event, namespace='/chat', callback=Callback(tag),
                   **kwargs)
    wait_until(lambda: len(cluster.a.recorded(tag)) >= len(expected),
               what='a call for each client')
    # A second call would have happened before the answers to this one.
    assert len(cluster.a.emit_with_ack(event, namespace='/chat')) == 3
    assert sorted(cluster.a.recorded(tag)) == [
        (number, 'two', b'three')
        for number, client in enumerate(namespace_clients)
        if client in expected]


def test_unserialisable_values_are_refused(
        cluster: Cluster, unique: Unique,
        namespace_clients: List[Client]) -> None:
    from ..support.json_values import Unserialisable

    event = unique('event')
    for method in ('emit_with_ack', 'server_side_call'):
        with pytest.raises(RemoteError) as info:
            cluster.a.ask(method, event, Unserialisable(),
                          namespace='/chat')
        assert info.value.types[0] == 'TypeError'
    assert all(client.count(event) == 0 for client in namespace_clients)


# -- from any task ------------------------------------------------------------

def test_requests_from_an_event_handler(
        cluster: Cluster, unique: Unique,
        namespace_clients: List[Client]) -> None:
    sids = sorted(client.sid for client in namespace_clients)
    event = unique('event')
    cluster.b.on_server_side(event, value='b')
    cluster.c.on_server_side(event, value='c')
    asking, others = namespace_clients[0], namespace_clients[1:]
    found = asking.call('invoke', 'manager', 'fetch_sockets', ['/chat'], {})
    assert sorted(each['sid'] for each in found) == sids
    for client in others:
        client.answer(event, client.sid)
    assert sorted(asking.call(
        'invoke', 'manager', 'emit_with_ack', [event],
        {'namespace': '/chat', 'skip_sid': asking.sid})) == sorted(
            client.sid for client in others)
    assert sorted(asking.call('invoke', 'manager', 'server_side_call',
                              [event], {})) == ['b', 'c']


def test_requests_from_many_tasks_at_once(
        cluster: Cluster, namespace_clients: List[Client]) -> None:
    sids = sorted(client.sid for client in namespace_clients)
    results = cluster.a.control(
        'call_in_parallel', 'fetch_sockets', ['/chat'], {'timeout': 60}, 500,
        timeout=120)
    assert len(results) == 500
    for found in results:
        assert isinstance(found, list), found
        assert sorted(each['sid'] for each in found) == sids


def test_many_server_side_calls(cluster: Cluster, unique: Unique) -> None:
    event = unique('event')
    for node in (cluster.b, cluster.c):
        node.on_server_side(event, value='yes')
    # It raises if one of them times out.
    taken = cluster.a.control('time_calls', 'server_side_call', [event],
                              {'timeout': 30}, 1000, timeout=120)
    assert len(taken) == 1000
    assert len(cluster.b.recorded(event)) == 1000


@pytest.mark.parametrize('transport', ['websocket', 'polling'])
def test_many_clients_are_disconnected(cluster: Cluster, unique: Unique,
                                       connect: Connect,
                                       transport: str) -> None:
    """No disconnect waits until another client has received its packets.
    """
    clients = [connect(node, transport=transport)
               for node in cluster for _ in range(3)]
    room = unique('room')
    cluster.a.invoke('manager', 'sockets_join', room,
                     to=[client.sid for client in clients])
    cluster.a.invoke('manager', 'disconnect_sockets', room, close=True)
    for client in clients:
        client.wait_disconnected()


# -- the end of every wait ---------------------------------------------------

@contextlib.contextmanager
def asked(node: NodeProcess, event: str) -> Any:
    """A server-side call that waits; returns a function that gives its
    outcome."""
    outcome: List[Any] = []

    def ask() -> None:
        try:
            outcome.append(node.server_side_call(event, timeout=60))
        except RemoteError as exc:
            outcome.append(exc)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    yield outcome
    thread.join(MISSED_WITHIN * 2)
    assert not thread.is_alive(), 'the call does not end'


@pytest.mark.parametrize('end', ['kill', 'leave'])
def test_node_that_goes_before_it_answers(redis_server: RedisServer,
                                          start_nodes: StartNodes,
                                          unique: Unique, end: str) -> None:
    """Other nodes' answers are kept."""
    # A node that leaves is not waited for until its heartbeats are missed.
    options = QUICK if end == 'kill' else STEADY
    nodes = start_nodes(3, redis_server.url, stream_name=unique('stream'),
                        **options)
    start_managers(nodes)
    event = unique('event')
    nodes[1].on_server_side(event, value='kept')
    # It has the request, and does not answer.
    nodes[2].on_server_side(event, 'raise')
    with asked(nodes[0], event) as outcome:
        wait_until(lambda: nodes[2].recorded(event), what='the question')
        started = time.monotonic()
        if end == 'kill':
            nodes[2].kill()
        else:
            nodes[2].close_manager()
        wait_until(lambda: outcome, MISSED_WITHIN, 'the end of the call')
    assert outcome == [['kept']]
    if end == 'kill':
        assert time.monotonic() - started > QUICK['heartbeat_timeout'] / 2
    assert nodes[0].open_calls() == (0, 0)
    assert nodes[0].server_count() == 2


def test_requests_during_an_outage(make_redis: MakeRedis,
                                   start_nodes: StartNodes, connect: Connect,
                                   unique: Unique) -> None:
    redis = make_redis(append_only=True).start()
    nodes = start_nodes(3, redis.url, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event = unique('event')
    clients[0].answer(event, 'own')
    redis.stop()
    for node in nodes:
        node.wait_health('degraded')
    missing = sorted(node.identify()[1] for node in nodes[1:])
    for method, args, responses in (
            ('fetch_sockets', [], None), ('all_rooms', [], None),
            ('emit_with_ack', [event], ['own']),
            ('server_side_call', [event], [])):
        started = time.monotonic()
        with pytest.raises(RemoteError) as info:
            nodes[0].ask(method, *args, timeout=0.3)
        assert 0.3 <= time.monotonic() - started < 0.3 + PROMPT
        assert info.value.types[0] == 'ClusterTimeoutError'
        assert info.value.missing == missing
        if responses is None:
            responses = [clients[0].sid]
            found = [each['sid'] for each in info.value.responses]
        else:
            found = info.value.responses
        assert found == responses
    assert nodes[0].open_calls() == (0, 0)
    redis.start()
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
    assert nodes[0].fetch_sids(timeout=BACK_WITHIN) == sorted(
        client.sid for client in clients)


# -- what an idle node costs --------------------------------------------------

def test_idle_and_busy_nodes(redis_server: RedisServer,
                             unique: Unique) -> None:
    """An idle node writes one heartbeat for each interval, whatever the
    number of its namespaces, and nothing else; so does an emitting node."""
    stream, interval = unique('stream'), 2.0
    namespaces = ('/', '/one', '/two')
    with contextlib.ExitStack() as stack:
        managers = []
        for _ in range(10):
            manager = RedisStreamsManager(
                redis_server.url, stream_name=stream,
                heartbeat_interval=interval, heartbeat_timeout=60.0)
            for name in namespaces:
                manager.on_server_side(
                    'event', lambda: None, namespace=name)
            managers.append(stack.enter_context(manager))
        for manager in managers:
            for name in namespaces:
                wait_for_value(lambda: manager.server_count(name), 10)
        redis = stack.enter_context(redis_server.client())
        busy = managers[0]
        for manager in managers[:2]:
            # A node that has answered has read all requests of the start.
            assert manager.server_side_call('event', timeout=30) == [None] * 9
        for manager in managers:
            assert manager.flush(10)
        start = redis.xrevrange(stream, count=1)[0][0]
        started = time.monotonic()

        def entries() -> List[Any]:
            return [fields for _, fields
                    in redis.xrange(stream, b'(' + start)]

        def of_idle_nodes(found: List[Any]) -> List[Any]:
            return [fields for fields in found
                    if fields[b'uid'] != busy.uid.encode()]

        def has_heartbeats() -> bool:
            for name in namespaces:
                busy.emit('event', None, namespace=name)
            return len(of_idle_nodes(entries())) > 9 * 2

        wait_until(has_heartbeats, 30.0, 'heartbeats of the idle nodes')
        found, elapsed = entries(), time.monotonic() - started
    idle = of_idle_nodes(found)
    assert {fields[b'type'] for fields in idle} == {b'2'}
    # One for each interval, and the one due at the beginning.
    assert len(idle) <= 9 * (elapsed / interval + 1)
    said = [fields[b'type'] for fields in found
            if fields[b'uid'] == busy.uid.encode()]
    assert set(said) == {b'2', b'3'}
    assert said.count(b'2') <= elapsed / interval + 1
