"""Clients that return and receive what they missed."""
from typing import Any, List

import pytest
from socketio.packet import BINARY_EVENT, EVENT

from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.recovery.session import Outcome
from redis_streams_adapter.recovery.handover import YIELD_EVERY

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ...unit.nodes import Call, session_writer
from .harness import ALWAYS, forget_history, MakeNode, Node, offset_of, \
    pid_of, received, StoredSession


@ALWAYS
@pytest.mark.parametrize('where', ['here', 'there'])
@pytest.mark.parametrize('had_received', [False, True])
def test_short_loss(make: MakeNode, always_connect: bool, where: str,
                    had_received: bool) -> None:
    node, other = (make({'always_connect': always_connect})
                   for _ in range(2))
    wait_for_value(node.manager.server_count, 2)
    wait_for_value(other.manager.server_count, 2)
    client = node.connect()
    sid = client.sid
    node.server.enter_room(sid, 'x')
    node.server.enter_room(sid, 7)
    node.server.save_session(sid, {'name': 'ü', 'raw': b'\0'})
    if had_received:
        node.server.emit('first', to='x')
        client.wait_for('first')
    client.lose()
    assert node.disconnects == [(sid, 'transport close')]
    wait_until(lambda: where == 'here' or not node.remains()['leaving'])
    for number in range(5):
        (node, other)[number % 2].server.emit('missed', number, to='x')
        node.manager.flush()
        other.manager.flush()
        node.server.emit('missed by others', to='y')
    target = node if where == 'here' else other
    found: List[Any] = []
    target.on_connect = lambda sid: found.append((
        set(target.server.rooms(sid)), target.server.get_session(sid)))
    again = target.reconnect(client)
    assert again.reply() == {'sid': sid, 'pid': pid_of(client)}
    assert found == [({sid, 'x', 7}, {'name': 'ü', 'raw': b'\0'})]
    again.wait_for('missed', 5)
    assert received(again) == [('missed', number) for number in range(5)]
    node.server.emit('live', to=[7])
    again.wait_for('live')
    assert target.outcome(again) == Outcome(True)
    assert target.manager.recovery(sid) == Outcome(True)
    assert target.manager.stats()['recovered'] == 1
    # Each offset is higher than the one before.
    offsets = [[int(part) for part in event.args[-1].split('-')]
               for event in client.events() + again.events()]
    assert offsets == sorted(offsets)


def test_killed_node(node: Node, other: Node) -> None:
    clients = [node.connect() for _ in range(20)]
    sids = [client.sid for client in clients]
    for client in clients:
        node.server.enter_room(client.sid, 'x')
    node.server.emit('first', to='x')
    for client in clients:
        client.wait_for('first')
    wait_until(node.is_written)
    node.crash()
    other.server.emit('missed', to='x')
    calls = [Call(other.reconnect, client) for client in clients]
    for client, sid, call in zip(clients, sids, calls):
        again = call.result()
        again.wait_for('missed')
        assert again.reply()['sid'] == sid
        assert received(again) == [('missed',)]


def test_closed_node(node: Node, other: Node) -> None:
    client = node.connect()
    node.server.enter_room(client.sid, 'x')
    node.server.emit('first', 1)
    node.manager.close()
    # Events after the close arrive where the client returns.
    before = received(client)
    node.clients.clear()
    again = other.reconnect(client)
    assert set(other.server.rooms(again.sid)) == {again.sid, 'x'}
    other.server.emit('live', to='x')
    again.wait_for('live')
    assert before + received(again) == [('first', 1), ('live',)]


def test_two_namespaces(node: Node, other: Node) -> None:
    client = node.connect('/', '/chat')
    sids = client.sid_in('/'), client.sid_in('/chat')
    assert pid_of(client) != pid_of(client, '/chat')
    client.lose()
    node.server.emit('missed', 1)
    node.server.emit('missed', 2, namespace='/chat')
    node.manager.flush()
    for namespace, sid, number in zip(('/', '/chat'), sids, (1, 2)):
        again = other.reconnect(client, namespace)
        assert again.reply(namespace)['sid'] == sid
        again.wait_for('missed', namespace=namespace)
        assert received(again, namespace) == [('missed', number)]


def test_missed_events_arrive_first(node: Node) -> None:
    """Then the connect handler's events, then live events."""
    client = node.connect()
    client.lose()
    for number in range(3):
        node.server.emit('event', number)
    node.manager.flush()

    def greet(sid: str) -> None:
        node.server.emit('event', 3, to=sid)
        node.manager.flush()
        node.server.emit('event', 4, to=sid, ignore_queue=True)

    node.on_connect = greet
    again = node.reconnect(client)
    node.server.emit('event', 5)
    again.wait_for('event', 6)
    assert [args[0] for args in again.received('event')] == [*range(6)]


@ALWAYS
@pytest.mark.parametrize('count', [1, YIELD_EVERY, 2 * YIELD_EVERY + 1])
def test_missed_events_precede_the_reply(make: MakeNode, always_connect: bool,
                                         count: int) -> None:
    """The JavaScript client passes them to its application before it reports
    the connection. With ``always_connect`` the reply precedes the handler,
    which may refuse: then they are sent once it has finished. Held events
    always follow both."""
    node = make({'always_connect': always_connect})
    client = node.connect()
    client.lose()
    missed: List[Any] = [(number, b'raw') if number % 7 else number
                         for number in range(count)]
    for data in missed:
        node.server.emit('missed', data)
    node.manager.flush()
    seen: List[Any] = []

    def greet(sid: str) -> None:
        node.server.emit('held', to=sid)
        node.manager.flush()
        node.server.emit('held', to=sid, ignore_queue=True)
        connection = node.server.manager.eio_sid_from_sid(sid, '/')
        seen.extend(node.server.eio.sockets[connection].packets)

    node.on_connect = greet
    again = node.reconnect(client)
    node.server.emit('live')
    again.wait_for('live')
    assert len(seen) == always_connect
    kinds = [packet.data[0] if packet.packet_type in (EVENT, BINARY_EVENT)
             else 'reply' for packet in again.packets()]
    reply, all_missed = ['reply'], ['missed'] * count
    assert kinds == [
        *(reply + all_missed if always_connect else all_missed + reply),
        'held', 'held', 'live']
    assert again.reply() == {'sid': again.sid, 'pid': pid_of(client)}
    assert [args[:-1] for args in again.received('missed')] == [
        data if isinstance(data, tuple) else (data,) for data in missed]


@pytest.mark.parametrize('how, where', [
    ('lost', 'here'), ('lost', 'there'), ('half open', 'here'),
    ('half open', 'there'), ('killed', 'there')])
@pytest.mark.parametrize('offset', [True, False])
def test_client_that_has_not_read_its_reply(node: Node, other: Node, how: str,
                                            where: str, offset: bool) -> None:
    """It may have received missed events sent before the reply, and passes
    them on with the next reply: it gets one, and returns with what it has
    then."""
    client = node.connect()
    if offset:
        node.server.emit('event', 0)
        client.wait_for('event')
    shown = {'pid': pid_of(client), 'offset': offset_of(client)}
    client.lose()
    for number in range(1, 4):
        node.server.emit('event', number)
    node.manager.flush()

    def stop_reading(sid: str) -> None:
        connection = node.server.manager.eio_sid_from_sid(sid, '/')
        node.server.eio.sockets[connection].reads = False

    node.on_connect = stop_reading
    first = node.connect(auth=shown)
    assert [args[0] for args in first.received('event')] == [1, 2, 3]
    if how == 'killed':
        node.crash()
    elif how == 'lost':
        first.lose()
    node.on_connect = lambda sid: None
    target = node if where == 'here' else other
    target.server.emit('event', 4)
    target.manager.flush()
    second = target.connect(auth=shown)
    assert second.events() == []
    assert second.reply() == {'sid': first.reply()['sid'],
                              'pid': shown['pid']}
    assert second.socket.closed
    # It had none of them; or one, which it has passed on by now.
    for got_before in (0, 1):
        if got_before:
            again = target.connect(auth={
                **shown, 'offset': first.events()[0].args[-1]})
        else:
            again = target.connect(auth=shown)
        again.wait_for('event', 4 - got_before)
        assert [args[0] for args in again.received('event')] == [
            1, 2, 3, 4][got_before:]
        assert target.outcome(again) == Outcome(True)
        again.lose()


@pytest.mark.parametrize('where', ['here', 'there'])
def test_client_that_has_read_its_reply(node: Node, other: Node,
                                        stored_session: StoredSession,
                                        where: str) -> None:
    """A client that sends the same offset afterwards is another one: it has
    none of the missed events, and gets all of them."""
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()
    first = node.reconnect(client)
    first.wait_for('missed')
    wait_until(
        lambda: stored_session(client).ahead is None)  # type: ignore
    second = (node if where == 'here' else other).reconnect(client)
    second.wait_for('missed')
    assert not second.socket.closed
    wait_until(lambda: first.socket.closed)


def test_reply_read_before_redis_knows(node: Node, other: Node) -> None:
    """The node waits for Redis."""
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()
    sockets: List[Any] = []

    def stop_reading(sid: str) -> None:
        connection = node.server.manager.eio_sid_from_sid(sid, '/')
        sockets.append(node.server.eio.sockets[connection])
        sockets[0].reads = False

    node.on_connect = stop_reading
    node.reconnect(client).wait_for('missed')
    call = Call(other.reconnect, client)
    sockets[0].reads = True
    sockets[0].answer()
    second = call.result()
    second.wait_for('missed')
    assert not second.socket.closed


@pytest.mark.parametrize('count', [150, 700])
def test_many_missed_events(node: Node, other: Node, count: int,
                            monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a page; here the history is not in memory."""
    client = node.connect()
    client.lose()
    for number in range(count):
        node.server.emit('missed', number)
    node.manager.flush()
    timeline = other.manager._live().delivery('/')
    assert timeline is not None
    timeline.reach(session_writer(other.manager).sessions.find(
        'x', node.manager._options.stream_name, None).last or START, DEADLINE)
    with other.manager._live().order:
        forget_history(timeline)
    again = other.reconnect(client)
    again.wait_for('missed', count)
    assert [args[0] for args in again.received('missed')] == [*range(count)]


def test_commands_during_the_absence(node: Node, other: Node) -> None:
    client = node.connect()
    sid = client.sid
    node.server.enter_room(sid, 'x')
    client.lose()
    other.manager.sockets_join('y', to='x')
    node.manager.flush(), other.manager.flush()
    wait_for_value(lambda: len(
        other.manager._live().delivery('/')._waiting), 0)  # type: ignore
    other.server.emit('yes', to='y')
    other.manager.sockets_leave('x', to=sid)
    other.server.emit('no', to='x')
    other.manager.flush()
    again = node.reconnect(client)
    again.wait_for('yes')
    assert set(node.server.rooms(sid)) == {sid, 'y'}
    assert received(again) == [('yes',)]
