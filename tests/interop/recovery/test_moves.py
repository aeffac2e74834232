"""Clients move between servers in both languages, and are recovered."""
import random
import threading
from typing import Any, Dict, List

import pytest

from ...support.account import account, EXACT
from ...support.json_values import Date
from ...support.redis_server import RedisServer
from ...support.wait import wait_for_value, wait_until
from ...support.wire_format import parse_offset
from ..helpers import Server, Unique, wait_until_heard
from ..moving_client import RecoveryCluster, MovingClient, wait_for_session
from .harness import ConnectJs, DATA, entry_id


@pytest.mark.parametrize('namespace', ['/', '/chat'])
@pytest.mark.parametrize('route', [
    ['python', 'js'], ['js', 'python'], ['python', 'js', 'python'],
    ['js', 'python', 'js'], ['python', 'js', 'other_js', 'other_python']],
    ids='-'.join)
def test_client_moves_along_a_route(
        cluster: RecoveryCluster, connect_js: ConnectJs, unique: Unique,
        route: List[str], namespace: str) -> None:
    """It keeps its sid, room and data, and receives what any server emits
    before, during and after each move."""
    first, *others = route
    mover = MovingClient(
        cluster, connect_js(cluster.at(first), namespace), first, unique, DATA,
        namespace)
    mover.emit_and_wait()
    for home in others:
        mover.lose_connection()
        mover.emit_from_all(2)
        cluster.settle(unique)
        mover.come_back(home)
        mover.check_received_all()
        mover.emit_and_wait()
    mover.check_received_all()


def test_polling_client_moves(cluster: RecoveryCluster,
                              connect_js: ConnectJs, unique: Unique) -> None:
    """Its old server still believes that it is connected: that server only
    notices its absence when a ping times out."""
    mover = MovingClient(
        cluster, connect_js(cluster.python, transport='polling'), 'python',
        unique, DATA)
    cluster.wait_session(mover.pid, DATA)
    mover.emit_and_wait()
    mover.client.drop()
    mover.emit_from_all()
    cluster.settle(unique)
    mover.come_back('js', alone=False)
    mover.check_received_all()
    mover.emit_and_wait()
    mover.lose_connection('cut')
    mover.emit_from_all()
    cluster.settle(unique)
    mover.come_back('other_python')
    mover.emit_and_wait()
    mover.check_received_all()


def test_many_moves(cluster: RecoveryCluster, connect_js: ConnectJs,
                    unique: Unique) -> None:
    """A client in two namespaces has a session in each of them."""
    chooser = random.Random(5)
    names = ['python', 'other_python', 'js', 'other_js']
    home = chooser.choice(names)
    client = connect_js(cluster.at(home), '/', '/chat')
    movers = [
        MovingClient(cluster, client, home, unique, {'in': namespace},
                     namespace)
        for namespace in ('/', '/chat')]
    one, other = movers
    assert one.pid != other.pid
    for mover in movers:
        mover.emit_and_wait()
    for _ in range(8):
        one.lose_connection()
        for mover in movers:
            mover.emit_from_all()
        cluster.settle(unique)
        home = chooser.choice(names)
        one.come_back(home)
        other.home = one.home
        other.check_found()
        for mover in movers:
            mover.check_received_all()
            mover.emit_and_wait()
    for mover in movers:
        mover.check_received_all()
    assert client.state('/')[0] != client.state('/chat')[0]
    assert all(each.recovered for each in client.connects()[2:])


def test_move_under_load(cluster: RecoveryCluster, connect_js: ConnectJs,
                         unique: Unique) -> None:
    """A client moves from Node.js to Python, while servers in both languages
    emit."""
    event, count, bursts = unique('event'), 400, 4
    mover = MovingClient(cluster, connect_js(cluster.js), 'js', unique, DATA)
    mover.emit_and_wait()
    mover.lose_connection()
    senders: List[Server] = [cluster.other_python, cluster.python,
                             cluster.other_js, cluster.js]
    begun = threading.Barrier(len(senders) + 1)

    def emit(sender: Server) -> None:
        for number in range(bursts):
            sender.burst(f'{event}-{sender.name}-{number}', count)
            if number == 0:
                begun.wait(20)

    threads = [threading.Thread(target=emit, args=[sender])
               for sender in senders]
    for thread in threads:
        thread.start()
    begun.wait(20)
    mover.come_back('python')
    for thread in threads:
        thread.join()
    for sender in senders:
        for number in range(bursts):
            name = f'{event}-{sender.name}-{number}'
            mover.client.wait_for(name, count, timeout=30.0)
            numbers = [args[0] for args in mover.client.received(name)]
            assert account(numbers, count) == EXACT
    offsets = [parse_offset(each.args[-1]) for each in mover.client.log()]
    assert offsets == sorted(offsets)


@pytest.mark.parametrize('route', [['python', 'js'], ['js', 'python']],
                         ids='-'.join)
def test_move_without_data(cluster: RecoveryCluster, connect_js: ConnectJs,
                           unique: Unique, route: List[str]) -> None:
    """If nothing was saved, the new server has empty data."""
    first, second = map(cluster.at, route)
    client, event = connect_js(first), unique('event')
    first.emit(event)
    client.wait_for(event)
    client.drop()
    cluster.wait_session(client.state()[0])
    wait_for_value(lambda: first.fetch_sockets(to=client.sid, local=True), [],
                   what='the sockets of the old server')
    connect, = client.move(second.url)
    assert connect.recovered
    found, = second.fetch_sockets(to=client.sid, local=True)
    assert found['data'] == {}


def test_date_in_data(cluster: RecoveryCluster, connect_js: ConnectJs,
                      unique: Unique) -> None:
    """Python gets the text that JSON has for a date."""
    client, event = connect_js(cluster.js), unique('event')
    cluster.js.save_session(client.sid, {'since': Date(1_700_000_000_123)})
    cluster.js.emit(event)
    client.wait_for(event)
    client.drop()
    cluster.wait_session(client.state()[0])
    connect, = client.move(cluster.python.url)
    assert connect.recovered
    assert cluster.python.connected(client.sid)[-1]['session'] == {
        'since': '2023-11-14T22:13:20.123Z'}


@pytest.mark.parametrize('route', [['python', 'js'], ['js', 'python']],
                         ids='-'.join)
def test_nothing_received(cluster: RecoveryCluster,
                          connect_js: ConnectJs, unique: Unique,
                          route: List[str]) -> None:
    """The client is new: without an offset a server in Node.js looks for no
    session, and the sessions that it writes have no position."""
    first, second = map(cluster.at, route)
    client = connect_js(first)
    sid = client.sid
    client.drop()
    cluster.wait_session(client.state()[0])
    connect, = client.move(second.url)
    assert not connect.recovered
    assert client.sid != sid
    event = unique('event')
    for server in cluster.servers:
        server.emit(event, to=[sid, client.sid])
    assert len(client.wait_for(event, 4)) == 4


@pytest.mark.parametrize('home, noticed', [('python', True), ('js', False)])
def test_room_entered_while_away(
        cluster: RecoveryCluster, connect_js: ConnectJs,
        unique: Unique, home: str, noticed: bool) -> None:
    """The client is in the room if its session has a position. A session that
    Node.js wrote has none: it is unknown which commands came before it."""
    mover = MovingClient(cluster, connect_js(cluster.at(home)), home, unique,
                         DATA)
    client, event, room = mover.client, unique('event'), unique('room')
    mover.emit_and_wait()
    mover.lose_connection()
    cluster.other_js.sockets_join([room], to=mover.sid)
    cluster.settle(unique)
    cluster.other_js.emit(event, 1, to=room)
    cluster.settle(unique)
    connect, = client.move(cluster.other_python.url)
    assert connect.recovered
    cluster.other_js.emit(event, 2, to=room)
    cluster.settle(unique)
    cluster.other_js.emit(event, 3, to=mover.sid)
    wait_until(lambda: 3 in [args[0] for args in client.received(event)],
               what='the last event')
    assert [args[0] for args in client.received(event)] == (
        [1, 2, 3] if noticed else [3])


@pytest.mark.parametrize('home, noticed', [('python', True), ('js', False)])
def test_disconnected_while_away(
        cluster: RecoveryCluster, connect_js: ConnectJs,
        unique: Unique, home: str, noticed: bool) -> None:
    """The client is new if its session has a position, and recovered if the
    session was written by Node.js."""
    mover = MovingClient(cluster, connect_js(cluster.at(home)), home, unique,
                         DATA)
    mover.emit_and_wait()
    mover.lose_connection()
    cluster.other_js.disconnect_sockets(to=mover.sid)
    cluster.settle(unique)
    connect, = mover.client.move(cluster.other_python.url)
    assert connect.recovered is not noticed
    assert (mover.client.sid == mover.sid) is not noticed


@pytest.mark.parametrize('argument', [1, 'text', b'\x00'],
                         ids=['number', 'text', 'bytes'])
@pytest.mark.parametrize('sender', ['python', 'js'])
def test_offset_is_the_entry_id(cluster: RecoveryCluster, unique: Unique,
                                sender: str, argument: Any) -> None:
    """The clients of all servers get the same offset."""
    event = unique('event')
    cluster.at(sender).emit(event, argument)
    for witness in cluster.witnesses:
        witness.wait_for(event)
    offset = entry_id(cluster, event)
    for witness in cluster.witnesses:
        assert witness.received(event) == [(argument, offset)]
        assert witness.state()[1] == offset


@pytest.mark.parametrize('home', ['python', 'js'])
def test_volatile_events_of_node(
        cluster: RecoveryCluster, connect_js: ConnectJs,
        unique: Unique, home: str) -> None:
    """They have no offset, so a client takes text at their end for one. A
    server in Python adds an offset for its local clients."""
    server = cluster.at(home)
    client = connect_js(server)
    event, volatile = unique('event'), unique('now')
    cluster.js.emit(event)
    client.wait_for(event)
    sid = client.sid
    cluster.js.control('emit', volatile, ['text'], {'volatile': True})
    received, = client.wait_for(volatile)
    client.drop()
    cluster.wait_session(client.state()[0])
    connect, = client.move(cluster.other_python.url)
    assert received[0] == 'text'
    if home == 'python':
        parse_offset(received[-1])
        assert connect.recovered
        assert client.sid == sid
    else:
        assert received == ('text',)
        assert not connect.recovered
        assert cluster.other_python.connected(client.sid)[-1]['environ'] == [
            False, 'invalid-offset']


@pytest.mark.parametrize('route, noticed', [
    (['python'], False), (['python'], True),
    (['other_python', 'python'], False), (['other_js', 'python'], True)],
    ids=['at once', 'noticed', 'by way of Python', 'by way of Node.js'])
def test_return_to_a_server_with_the_old_connection(
        cluster: RecoveryCluster, half_open: MovingClient, unique: Unique,
        route: List[str], noticed: bool) -> None:
    """The client returns to its first server at once, or after that server
    has noticed that another one has the session."""
    mover = half_open
    if noticed:
        cluster.wait_heartbeats(cluster.python, 3)
    for home in route:
        mover.lose_connection()
        mover.emit_from_all()
        cluster.settle(unique)
        mover.come_back(home, alone=home != 'other_js')
        mover.check_received_all()
    mover.emit_and_wait()
    # Only the old connection is lost; the new one stays.
    assert cluster.python.disconnects_of(mover.sid) == [
        ('/', 'transport close')]
    mover.check_found()
    mover.check_received_all()


def test_move_away_from_a_frozen_server(
        cluster: RecoveryCluster, connect_js: ConnectJs,
        unique: Unique) -> None:
    """A client moves from Python to Node.js while its old server is frozen.
    When that server goes on, it writes no session of the client."""
    mover = MovingClient(cluster, connect_js(cluster.python), 'python',
                         unique, DATA)
    mover.emit_and_wait()
    key = cluster.key(mover.pid)
    cluster.python.freeze()
    try:
        mover.client.drop()
        connect, = mover.client.move(cluster.js.url)
        assert connect.recovered
        assert not cluster.redis.exists(key)
    finally:
        cluster.python.thaw()
    wait_for_value(lambda: len(cluster.python.disconnects_of(mover.sid)),
                   1, what='the number of disconnects')
    assert not cluster.redis.exists(key)
    mover.home = cluster.js
    mover.check_found()
    mover.emit_and_wait()
    mover.lose_connection()
    mover.emit_from_all()
    cluster.settle(unique)
    mover.come_back('python')
    mover.check_received_all()


@pytest.mark.parametrize('language, how, recovered', [
    ('python', 'kill', True), ('python', 'leave', True),
    ('js', 'leave', True), ('js', 'kill', False)])
def test_server_ends(
        pair: Dict[str, Server], connect_js: ConnectJs,
        unique: Unique, redis_server: RedisServer, language: str, how: str,
        recovered: bool) -> None:
    """Its clients are recovered. A server in Node.js writes sessions only
    during a graceful shutdown, a server in Python all the time."""
    ending = pair.pop(language)
    (staying,) = pair.values()
    event, room = unique('event'), unique('room')
    client = connect_js(ending)
    wait_until_heard([staying, ending], [client, connect_js(staying)], unique)
    ending.sockets_join([room], to=client.sid)
    wait_until(lambda: ending.rooms(client.sid) == [room], what='the room')
    ending.save_session(client.sid, DATA)
    sid = client.sid
    if language == 'python':
        # Written in the background, a moment later.
        with redis_server.client() as admin:
            wait_for_session(admin, f'sio:session:{client.state()[0]}', DATA)
    if how == 'leave':
        assert ending.process.stop() == 0
    else:
        ending.kill()
    client.wait_disconnected()
    staying.emit(event, 1, to=room)
    connect, = client.move(staying.url)
    assert connect.recovered is recovered
    assert (client.sid == sid) is recovered
    staying.emit(event, 2, to=client.sid)
    received = client.wait_for(event, 2 if recovered else 1)
    assert [args[0] for args in received] == ([1, 2] if recovered else [2])
    assert staying.connected(client.sid)[-1]['session'] == (
        DATA if recovered else {})
