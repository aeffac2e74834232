"""Requests to all servers over each transport, and in clusters with several
transports."""
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Set

import pytest

from redis_streams_adapter import NodeStats
from redis_streams_adapter.version import VERSION

from ..conftest import running, skip_incapable
from ..support.client import Client, close_all
from ..support.json_values import Callback
from ..support.node_process import NodeProcess, RemoteError
from ..support.redis_binaries import sharding_binary
from ..support.redis_server import RedisServer
from ..support.wait import DEADLINE, wait_for_value
from .conftest import STEADY

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]

STREAM, PUBSUB, SHARDED = 'stream', 'pubsub', 'sharded-pubsub'

#: The transports of the servers of a cluster; each server sends requests.
CLUSTERS = [(STREAM, STREAM), (PUBSUB, PUBSUB, PUBSUB), (SHARDED, SHARDED),
            (STREAM, PUBSUB)]

NAMESPACES = ('/', '/chat')


def sharding_redis_binary() -> str:
    """The path of a redis-server with sharded channels."""
    binary = sharding_binary()
    if binary is None:
        skip_incapable('no sharded channels')
    return binary.path


class Party(NamedTuple):
    """Servers that know each other, with a client on each."""

    nodes: List[NodeProcess]
    clients: List[Client]


@pytest.fixture(scope='module')
def redis7() -> Iterator[RedisServer]:
    with RedisServer(binary=sharding_redis_binary()) as server:
        yield server.start()


@pytest.fixture(scope='module', params=CLUSTERS, ids='+'.join)
def party(request: Any, mode: str, redis7: RedisServer) -> Iterator[Party]:
    name = '+'.join(request.param)
    options: Dict[str, Any] = {
        'stream_name': name, 'channel_prefix': name, **STEADY}
    with running([
            NodeProcess(mode, redis7.url, {
                **options, 'request_transport': each})
            for each in request.param]) as nodes:
        for node in nodes:
            node.start_manager()
        for node in nodes:
            for namespace in NAMESPACES:
                node.wait_server_count(len(nodes), namespace)
        clients = [Client(node.url, *NAMESPACES) for node in nodes]
        for client in clients:
            for namespace in NAMESPACES:
                client.call('echo', namespace=namespace)
        yield Party(nodes, clients)
        close_all(clients)


def sids(found: Any) -> List[str]:
    return sorted(each['sid'] for each in found)


@pytest.mark.parametrize('namespace', NAMESPACES)
def test_fetch_sockets(party: Party, namespace: str) -> None:
    expected = sorted(client.sids[namespace] for client in party.clients)
    for node in party.nodes:
        assert sids(node.fetch_sockets(namespace)) == expected
        one = expected[0]
        assert sids(node.fetch_sockets(namespace, to=one)) == [one]


def test_server_of_a_socket(party: Party) -> None:
    uids = {client.sid: node.uid()
            for node, client in zip(party.nodes, party.clients)}
    for node in party.nodes:
        assert {each['sid']: each['node']
                for each in node.fetch_sockets()} == uids


def test_all_rooms(party: Party, unique: Unique) -> None:
    room, other = unique('room'), unique('room')
    for node, client in zip(party.nodes, party.clients):
        node.enter_room(client.sid, room)
    party.nodes[0].enter_room(party.clients[0].sid, other)
    for node in party.nodes:
        rooms = node.invoke('manager', 'all_rooms')
        assert rooms[room] == len(party.nodes)
        assert rooms[other] == 1
        assert not {client.sid for client in party.clients} & {*rooms}


def test_cluster_stats(party: Party) -> None:
    """Each server gets the answers of all, over whichever transport."""
    expected = {node.uid() for node in party.nodes}
    for node in party.nodes:
        found = [NodeStats(*each)
                 for each in node.invoke('manager', 'cluster_stats')]
        assert found[0].uid == node.uid()
        assert {each.uid for each in found} == expected
        assert len({each.pid for each in found}) == len(party.nodes)
        for each in found:
            assert each.language == 'python'
            assert each.version == VERSION
            assert each.clients == len(NAMESPACES)
            assert set(each.namespaces or ()) == {*NAMESPACES}
            assert (each.health or {})['status'] == 'ok'
            assert each.memory is None or each.memory > 10**6


@pytest.mark.parametrize('namespace', NAMESPACES)
def test_emit_with_ack(party: Party, unique: Unique, namespace: str) -> None:
    event = unique('event')
    for number, client in enumerate(party.clients):
        client.answer(event, {'from': number, 'key': b'\x00\xff' * number})
    expected = [{'from': number, 'key': b'\x00\xff' * number}
                for number in range(len(party.clients))]
    for count, node in enumerate(party.nodes, 1):
        answers = node.emit_with_ack(
            event, (b'\x01', 'text'), namespace=namespace)
        assert sorted(answers, key=lambda each: each['from']) == expected
        for client in party.clients:
            assert client.received(event) == [(b'\x01', 'text')] * count


def test_emit_with_ack_waits_for_the_last_answer(party: Party,
                                                 unique: Unique) -> None:
    """Only one client, on any server, and no others."""
    event = unique('event')
    for client in party.clients:
        client.answer(event, client.sid)
    for node in party.nodes:
        for client in party.clients:
            assert node.emit_with_ack(event, to=client.sid) == [client.sid]
            assert node.emit_with_ack(
                event, to=[client.sid, unique('room')]) == [client.sid]
        assert node.emit_with_ack(event, to=unique('room')) == []


def test_client_that_does_not_answer(party: Party, unique: Unique) -> None:
    event = unique('event')
    *others, last = party.clients
    for client in others:
        client.answer(event, client.sid)
    last.never_answer(event)
    for node in party.nodes:
        with pytest.raises(RemoteError) as info:
            node.emit_with_ack(event, timeout=1.0)
        assert info.value.types[0] == 'ClusterTimeoutError'
        assert sorted(info.value.responses) == sorted(
            client.sid for client in others)


def test_server_side_call(party: Party, unique: Unique) -> None:
    event = unique('event')
    for number, node in enumerate(party.nodes):
        node.handle_server_side(event, [number, b'\x00' * number])
    for number, node in enumerate(party.nodes):
        assert sorted(node.server_side_call(event, b'\xff', None)) == [
            [each, b'\x00' * each] for each in range(len(party.nodes))
            if each != number]
    for node in party.nodes:
        assert node.server_side_events(event) == [
            [b'\xff', None]] * (len(party.nodes) - 1)


def test_server_without_a_handler(party: Party, unique: Unique) -> None:
    event = unique('event')
    first, *others = party.nodes
    for node in others[1:]:
        node.handle_server_side(event, 'answer')
    answers = first.server_side_call(event)
    assert sorted(answers, key=str) == [None] + ['answer'] * (len(others) - 1)


def test_call(party: Party, unique: Unique) -> None:
    event = unique('event')
    for client in party.clients:
        client.answer(event, client.sid, b'\x01')
    for node in party.nodes:
        for client in party.clients:
            assert node.call(event, 'data', to=client.sid) \
                == (client.sid, b'\x01')
            assert node.ask_socket(client.sid, event, 'data') \
                == (client.sid, b'\x01')


def test_callback_for_a_room(party: Party, unique: Unique) -> None:
    event, room = unique('event'), unique('room')
    for node, client in zip(party.nodes, party.clients):
        node.enter_room(client.sid, room)
        client.answer(event, client.sid)
    expected = sorted((client.sid,) for client in party.clients)
    for node in party.nodes:
        tag = unique('callback')
        node.emit(event, 'data', to=room, callback=Callback(tag))
        wait_for_value(lambda: sorted(map(tuple, node.recorded(tag))),
                       expected, what='the calls of a callback')


def test_no_request_is_left_open(party: Party) -> None:
    """No request of the tests above is still open."""
    for node in party.nodes:
        assert node.health()['status'] == 'ok'
        stats = node.stats()
        assert stats['requests_dropped'] == stats['malformed'] == 0


# -- the cluster changes ------------------------------------------------------

def wait_for_nodes(nodes: List[NodeProcess], namespace: str = '/') -> None:
    """Wait until each node counts all of them."""
    for node in nodes:
        node.wait_server_count(len(nodes), namespace)


def deaf_to(asker: NodeProcess,
            nodes: List[NodeProcess]) -> List[NodeProcess]:
    """The servers that do not receive the requests of one."""
    if asker.options['request_transport'] != SHARDED:
        return []
    return [each for each in nodes
            if each.options['request_transport'] != SHARDED]


@pytest.mark.parametrize('old, new', [
    (STREAM, PUBSUB), (PUBSUB, SHARDED), (SHARDED, STREAM),
    (SHARDED, PUBSUB)])
def test_cluster_changes_transport_during_requests(redis7: RedisServer,
                                                   start_nodes: StartNodes,
                                                   connect: Connect,
                                                   unique: Unique, old: str,
                                                   new: str) -> None:
    """One server at a time. Every request is answered by all servers, or fails
    with an error that names those that do not receive it: only servers with
    the transport listen to sharded channels.
    """
    name, event = unique('cluster'), unique('event')
    options = {'stream_name': name, 'channel_prefix': name, **STEADY}

    def start(transport: str) -> NodeProcess:
        (node,) = start_nodes(1, redis7.url, request_transport=transport,
                              **options)
        node.start_manager()
        node.handle_server_side(event, node.name)
        client = connect(node)
        client.answer(event, client.sid)
        clients[node.name] = client.sid
        return node

    clients: Dict[str, str] = {}
    nodes = [start(old) for _ in range(3)]
    wait_for_nodes(nodes)
    for place, before in enumerate(nodes):
        nodes[place] = start(new)
        both = [*nodes, before]
        wait_for_nodes(both)
        for node in both:
            unheard = sorted(each.uid() for each in deaf_to(node, both))
            if unheard:
                with pytest.raises(RemoteError) as info:
                    node.server_side_call(event, timeout=1.0)
                assert info.value.types[0] == 'ClusterTimeoutError'
                assert sorted(info.value.missing) == unheard
                continue
            assert sorted(node.server_side_call(event)) == sorted(
                each.name for each in both if each is not node)
            assert sorted(node.emit_with_ack(event)) == sorted(
                clients.values())
        del clients[before.name]
        before.stop()
        wait_for_nodes(nodes)
        for node in nodes:
            if not deaf_to(node, nodes):
                assert sids(node.fetch_sockets()) == sorted(clients.values())
    for node in nodes:
        assert node.stats()['requests_dropped'] == 0
        assert sids(node.fetch_sockets()) == sorted(clients.values())


@pytest.mark.parametrize('transport', [STREAM, PUBSUB, SHARDED])
def test_namespace_that_is_added_later(redis7: RedisServer,
                                       start_nodes: StartNodes,
                                       connect: Connect, unique: Unique,
                                       transport: str) -> None:
    """It does not disturb requests in progress elsewhere."""
    name, event = unique('cluster'), unique('event')
    later, tag = '/later', unique('callback')
    nodes = start_nodes(2, redis7.url, stream_name=name, channel_prefix=name,
                        request_transport=transport, **STEADY)
    for node in nodes:
        node.start_manager()
    wait_for_nodes(nodes)
    clients = [connect(node) for node in nodes]
    go_on = threading.Event()
    for client in clients:
        client.answer_with(event, lambda: go_on.wait(DEADLINE) and 'late')
    nodes[0].emit(event, callback=Callback(tag))
    for client in clients:
        client.wait_for(event)
    for node in nodes:
        node.handle_server_side(event, node.name, namespace=later)
    wait_for_nodes(nodes, later)
    for node, other in zip(nodes, nodes[::-1]):
        assert node.server_side_call(
            event, namespace=later) == [other.name]
    go_on.set()
    wait_for_value(lambda: nodes[0].recorded(tag), [('late',), ('late',)],
                   what='the answers in progress')


@pytest.mark.parametrize('transport', [STREAM, PUBSUB, SHARDED])
def test_leaving_server_is_not_waited_for(redis7: RedisServer,
                                          start_nodes: StartNodes,
                                          connect: Connect, unique: Unique,
                                          transport: str) -> None:
    name, event = unique('cluster'), unique('event')
    nodes = start_nodes(3, redis7.url, stream_name=name, channel_prefix=name,
                        request_transport=transport, **STEADY)
    for node in nodes:
        node.start_manager()
    wait_for_nodes(nodes)
    clients = [connect(node) for node in nodes]
    for client in clients[:2]:
        client.answer(event, client.sid)
    clients[2].never_answer(event)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(nodes[0].emit_with_ack, event, timeout=60.0)
        clients[2].wait_for(event)
        nodes[2].close_manager()
        assert sorted(asking.result(DEADLINE)) == sorted(
            client.sid for client in clients[:2])
    # The others may read the goodbye later.
    wait_for_nodes(nodes[:2])


@pytest.mark.parametrize('transport', [STREAM, PUBSUB, SHARDED])
def test_forked_child_sends_and_answers_requests(mode: str,
                                                 redis7: RedisServer,
                                                 start_nodes: StartNodes,
                                                 unique: Unique,
                                                 transport: str) -> None:
    """After a fork; it does not use its parent's connections."""
    if mode != 'threading':
        pytest.skip('multiprocessing forks processes with threads')
    name = unique('cluster')
    nodes = start_nodes(2, redis7.url, stream_name=name, channel_prefix=name,
                        request_transport=transport, redis_options={
                            'client_name': name}, **STEADY)
    parent, other = nodes
    for node in nodes:
        node.start_manager()
        node.handle_server_side('identify', node.name)
    wait_for_nodes(nodes)
    # Each opens the connections that questions and answers need.
    for node, asked in zip(nodes, nodes[::-1]):
        assert node.server_side_call('identify') == [asked.name]

    def connections() -> Set[str]:
        with redis7.client() as client:
            return {each['id'] for each in client.client_list()
                    if each['name'] == name}

    before = connections()
    parent.fork()
    assert parent.in_child('node', 'identify')[1] != parent.uid()
    for node in nodes:
        node.wait_server_count(3)
    wait_for_value(lambda: parent.in_child('manager', 'server_count'), 3,
                   what="the child's server_count")
    assert parent.in_child('manager', 'server_side_call', 'identify',
                           timeout=DEADLINE) in (
        [parent.name, other.name], [other.name, parent.name])
    for node, asked in zip(nodes, nodes[::-1]):
        # The child has its parent's handler.
        assert sorted(node.server_side_call('identify')) == sorted(
            [parent.name, asked.name])
    assert before <= connections()
    parent.in_child('manager', 'close')
    wait_for_nodes(nodes)
    assert parent.end_child() == 0
    wait_for_value(connections, before, what='the connections')
    assert parent.server_side_call('identify') == [other.name]
