"""Answers to requests over the stream go into inboxes."""
from typing import Any, Callable, Iterator, List

import pytest
import socketio

from redis_streams_adapter.cluster.incoming import FEW
from redis_streams_adapter.errors import OutboxFullError
from redis_streams_adapter.protocol.codec import open_envelope
from redis_streams_adapter.protocol.messages import EVERYONE, FetchSockets, \
    MessageType, RESPONSE_TYPES
from redis_streams_adapter.protocol.requests import NodesRequest
from redis_streams_adapter.testing import LocalClient, LocalCluster

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..nodes import Call

INBOX = 'socket.io:answers:'


@pytest.fixture
def cluster() -> Any:
    with LocalCluster(2) as cluster:
        servers = [
            socketio.Server(client_manager=manager, async_mode='threading')
            for manager in cluster.managers]
        cluster.clients = [  # type: ignore[attr-defined]
            LocalClient(server) for server in servers]
        cluster.start()
        yield cluster


def types(cluster: LocalCluster, key: str) -> List[MessageType]:
    return [open_envelope(entry.fields).type
            for entry in cluster.redis.stream(key).history]


def uid(cluster: LocalCluster, index: int) -> str:
    uid: str = cluster.managers[index].uid
    return uid


def acknowledge(client: LocalClient, answer: Any = 'yes',
                event: str = 'hi') -> None:
    """Answer the last event of this name, once it is there."""
    client.wait_for(event)
    found = [each for each in client.events() if each.name == event][-1]
    client.acknowledge(found, answer)


CALLS = {
    'fetch_sockets': lambda manager: len(manager.fetch_sockets()),
    'all_rooms': lambda manager: manager.all_rooms(),
    'server_side_call': lambda manager: manager.server_side_call('who'),
    'emit_with_ack': lambda manager: manager.emit_with_ack('hi'),
}


@pytest.mark.parametrize('name', CALLS)
def test_stream_gets_no_answers(cluster: Any, name: str) -> None:
    cluster.managers[1].on_server_side('who', lambda: 'me')
    expected = {'fetch_sockets': 2, 'all_rooms': {},
                'server_side_call': ['me'],
                'emit_with_ack': ['yes', 'yes']}[name]
    call: Callable[[Any], Any] = CALLS[name]
    running = Call(call, cluster.managers[0])
    if name == 'emit_with_ack':
        for client in cluster.clients:
            acknowledge(client)
    assert running.result() == expected
    cluster.settle()
    assert not RESPONSE_TYPES.intersection(types(cluster, 'socket.io'))
    key = INBOX + uid(cluster, 0)
    assert set(types(cluster, key)) <= RESPONSE_TYPES
    assert types(cluster, key)
    assert cluster.redis.stream(key).entries == []
    assert cluster.redis.stream(key).expiry < float('inf')


def test_rooms_are_counted(cluster: Any) -> None:
    for manager, client in zip(cluster.managers, cluster.clients):
        manager.enter_room(client.sid, '/', 'both')
    cluster.managers[1].enter_room(cluster.clients[1].sid, '/', 5)
    cluster.settle()
    for manager in cluster.managers:
        assert Call(manager.all_rooms).result() == {'both': 2, 5: 1}
    answers = [entry.fields for index in range(2) for entry
               in cluster.redis.stream(INBOX + uid(cluster, index)).history]
    assert len(answers) == 2
    assert not any(b'handshake' in value
                   for fields in answers for value in fields)


def test_request_with_a_callback(cluster: Any) -> None:
    """The first one does not wait for the inbox."""
    got: List[Any] = []
    for number in range(2):
        client = cluster.clients[number]
        cluster.managers[1 - number].emit(
            'hi', None, to=client.sid, callback=got.append)
        acknowledge(client, number)
        wait_for_value(lambda: got, list(range(number + 1)))
    requester = cluster.managers[0]._live().requester
    assert requester._inboxes._inbox.await_open(DEADLINE)
    client = cluster.clients[1]
    cluster.managers[0].emit(
        'again', None, to=client.sid, callback=got.append)
    acknowledge(client, 2, 'again')
    wait_for_value(lambda: got, [0, 1, 2])
    assert types(cluster, INBOX + uid(cluster, 0))


def test_settle_waits_for_answers(cluster: Any) -> None:
    call = Call(cluster.managers[0].fetch_sockets)
    wait_until(lambda: not call.waits)
    cluster.settle()
    assert cluster.redis.stream(INBOX + uid(cluster, 0)).entries == []


def test_answer_during_an_outage(cluster: Any) -> None:
    """The caller gets it when Redis is back."""
    assert len(Call(cluster.managers[0].fetch_sockets).result()) == 2

    def answer() -> str:
        cluster.disconnect()
        return 'me'

    cluster.managers[1].on_server_side('away', answer)
    call = Call(cluster.managers[0].server_side_call, 'away', timeout=DEADLINE)
    wait_until(lambda: cluster.redis.away)
    cluster.reconnect()
    assert call.result() == ['me']


def test_malformed_answer_is_counted(cluster: Any) -> None:
    assert len(Call(cluster.managers[0].fetch_sockets).result()) == 2
    stream = cluster.redis.stream(INBOX + uid(cluster, 0))
    stream.put(b'uid', b'x', b'nsp', b'/', b'type', b'8', b'data', b'{}')
    # No answer: nothing happens.
    stream.put(b'uid', b'x', b'nsp', b'/', b'type', b'2')
    wait_for_value(lambda: cluster.managers[0].stats()['malformed'], 1)
    wait_for_value(lambda: stream.entries, [])


def test_closed_cluster_has_sent_its_answers() -> None:
    with LocalCluster(2) as cluster:
        cluster.start()
        one, other = cluster.managers
        assert Call(one.server_side_call, 'nothing').result() == [None]
        cluster.settle()
        other.close()
        assert other.stats()['requests_dropped'] == 0


@pytest.mark.parametrize('transport', ['stream', 'pubsub', 'sharded-pubsub'])
def test_many_clients(transport: str) -> None:
    """Their server makes the answer on a task of its own."""
    with LocalCluster(2, request_transport=transport) as cluster:
        servers = [
            socketio.Server(client_manager=manager, async_mode='threading')
            for manager in cluster.managers]
        clients = [LocalClient(servers[0]) for _ in range(3 * FEW)]
        one, other = cluster.managers
        for client in clients:
            one.enter_room(client.sid, '/', 'room')
        cluster.start()
        found = Call(other.fetch_sockets).result()
        assert {each.sid for each in found} == {
            client.sid for client in clients}
        assert {tuple(sorted(each.rooms)) for each in found} == {
            tuple(sorted(('room', client.sid))) for client in clients}
        assert Call(other.all_rooms).result() == {'room': 3 * FEW}
        # As a server in Node.js asks.
        request = FetchSockets(EVERYONE, 'r')
        requester = other._live().requester
        waiter = other._live().engine.event()
        asked = NodesRequest('/', waiter)
        send = requester.request('r', '/', request)
        assert Call(requester.expect, 'r', asked, DEADLINE).result()
        send()
        assert waiter.wait(DEADLINE)
        sockets, = asked.answers.values()
        assert {each['id'] for each in sockets} == {
            client.sid for client in clients}


def test_no_room_for_an_answer(cluster: Any) -> None:
    """It is given up, and the next one is made."""
    runtime = cluster.managers[1]._live()

    def full() -> Iterator[bool]:
        yield False
        raise OutboxFullError('on purpose')

    runtime.requester.later(full())
    wait_until(lambda: runtime.requester.idle)
    done: List[bool] = []
    runtime.requester.later(iter(lambda: bool(done.append(True)) or len(
        done) > 2, True))
    wait_until(lambda: len(done) > 2)
    assert runtime.tasks.by_name['answers'].restarts == 0
