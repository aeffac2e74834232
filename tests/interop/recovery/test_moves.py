"""Clients move between the servers of one cluster, whatever their language."""
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
from ..travels import Recovering, Traveller, wait_for_session
from .harness import ConnectJs, DATA, entry_id


@pytest.mark.parametrize('namespace', ['/', '/chat'])
@pytest.mark.parametrize('route', [
    ['python', 'js'], ['js', 'python'], ['python', 'js', 'python'],
    ['js', 'python', 'js'], ['python', 'js', 'other_js', 'other_python']],
    ids='-'.join)
def test_route(cluster: Recovering, connect_js: ConnectJs,
               unique: Unique, route: List[str], namespace: str) -> None:
    """Its id, its room, its data, and all that any server tells it before,
    meanwhile and afterwards."""
    first, *others = route
    traveller = Traveller(
        cluster, connect_js(cluster.at(first), namespace), first, unique, DATA,
        namespace)
    traveller.tell_present()
    for home in others:
        traveller.leave()
        traveller.tell(2)
        cluster.settle(unique)
        traveller.arrive(home)
        traveller.check_told()
        traveller.tell_present()
    traveller.check_told()


def test_polling(cluster: Recovering, connect_js: ConnectJs,
                 unique: Unique) -> None:
    """No server notices soon when such a client is gone without a word."""
    traveller = Traveller(
        cluster, connect_js(cluster.python, transport='polling'), 'python',
        unique, DATA)
    cluster.wait_session(traveller.pid, DATA)
    traveller.tell_present()
    traveller.client.drop()
    traveller.tell()
    cluster.settle(unique)
    traveller.arrive('js', alone=False)
    traveller.check_told()
    traveller.tell_present()
    traveller.leave('cut')
    traveller.tell()
    cluster.settle(unique)
    traveller.arrive('other_python')
    traveller.tell_present()
    traveller.check_told()


def test_many_moves(cluster: Recovering, connect_js: ConnectJs,
                    unique: Unique) -> None:
    """In both namespaces, which have a session each."""
    chooser = random.Random(5)
    names = ['python', 'other_python', 'js', 'other_js']
    home = chooser.choice(names)
    client = connect_js(cluster.at(home), '/', '/chat')
    travellers = [
        Traveller(cluster, client, home, unique, {'in': namespace}, namespace)
        for namespace in ('/', '/chat')]
    one, other = travellers
    assert one.pid != other.pid
    for traveller in travellers:
        traveller.tell_present()
    for _ in range(8):
        one.leave()
        for traveller in travellers:
            traveller.tell()
        cluster.settle(unique)
        home = chooser.choice(names)
        one.arrive(home)
        other.home = one.home
        other.check_there()
        for traveller in travellers:
            traveller.check_told()
            traveller.tell_present()
    for traveller in travellers:
        traveller.check_told()
    assert client.state('/')[0] != client.state('/chat')[0]
    assert all(each.recovered for each in client.connects()[2:])


def test_arrival_under_load(cluster: Recovering,
                            connect_js: ConnectJs,
                            unique: Unique) -> None:
    """Servers of both languages emit, while a client of one in Node.js
    comes back to one in Python."""
    event, count, bursts = unique('event'), 400, 4
    traveller = Traveller(cluster, connect_js(cluster.js), 'js', unique, DATA)
    traveller.tell_present()
    traveller.leave()
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
    traveller.arrive('python')
    for thread in threads:
        thread.join()
    for sender in senders:
        for number in range(bursts):
            name = f'{event}-{sender.name}-{number}'
            traveller.client.wait_for(name, count, timeout=30.0)
            numbers = [args[0] for args in traveller.client.received(name)]
            assert account(numbers, count) == EXACT
    offsets = [parse_offset(each.args[-1]) for each in traveller.client.log()]
    assert offsets == sorted(offsets)


@pytest.mark.parametrize('route', [['python', 'js'], ['js', 'python']],
                         ids='-'.join)
def test_without_data(cluster: Recovering, connect_js: ConnectJs,
                      unique: Unique, route: List[str]) -> None:
    """Nothing was saved: each language finds what it has of its own then.
    """
    first, second = map(cluster.at, route)
    client, event = connect_js(first), unique('event')
    first.emit(event)
    client.wait_for(event)
    client.drop()
    cluster.wait_session(client.state()[0])
    wait_for_value(lambda: first.fetch_sockets(to=client.sid, local=True), [],
                   what='the sockets of the server that it left')
    connect, = client.move(second.url)
    assert connect.recovered
    found, = second.fetch_sockets(to=client.sid, local=True)
    assert found['data'] == {}


def test_date(cluster: Recovering, connect_js: ConnectJs,
              unique: Unique) -> None:
    """As everywhere: what JSON makes of it."""
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
def test_nothing_received(cluster: Recovering,
                          connect_js: ConnectJs, unique: Unique,
                          route: List[str]) -> None:
    """Without an offset a server in Node.js asks for no session, and into
    its sessions it writes no position: the client is a new one."""
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
def test_room_entered_meanwhile(
        cluster: Recovering, connect_js: ConnectJs,
        unique: Unique, home: str, noticed: bool) -> None:
    """A server in Node.js writes no position, and so nobody can tell which
    rooms its sessions know of."""
    traveller = Traveller(cluster, connect_js(cluster.at(home)), home, unique,
                          DATA)
    client, event, room = traveller.client, unique('event'), unique('room')
    traveller.tell_present()
    traveller.leave()
    cluster.other_js.sockets_join([room], to=traveller.sid)
    cluster.settle(unique)
    cluster.other_js.emit(event, 1, to=room)
    cluster.settle(unique)
    connect, = client.move(cluster.other_python.url)
    assert connect.recovered
    cluster.other_js.emit(event, 2, to=room)
    cluster.settle(unique)
    cluster.other_js.emit(event, 3, to=traveller.sid)
    wait_until(lambda: 3 in [args[0] for args in client.received(event)],
               what='the last event')
    assert [args[0] for args in client.received(event)] == (
        [1, 2, 3] if noticed else [3])


@pytest.mark.parametrize('home, noticed', [('python', True), ('js', False)])
def test_disconnected_meanwhile(
        cluster: Recovering, connect_js: ConnectJs,
        unique: Unique, home: str, noticed: bool) -> None:
    """The same."""
    traveller = Traveller(cluster, connect_js(cluster.at(home)), home, unique,
                          DATA)
    traveller.tell_present()
    traveller.leave()
    cluster.other_js.disconnect_sockets(to=traveller.sid)
    cluster.settle(unique)
    connect, = traveller.client.move(cluster.other_python.url)
    assert connect.recovered is not noticed
    assert (traveller.client.sid == traveller.sid) is not noticed


@pytest.mark.parametrize('argument', [1, 'text', b'\x00'],
                         ids=['number', 'text', 'bytes'])
@pytest.mark.parametrize('sender', ['python', 'js'])
def test_offsets(cluster: Recovering, unique: Unique, sender: str,
                 argument: Any) -> None:
    """The same, the entry's id, for the clients of all servers."""
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
        cluster: Recovering, connect_js: ConnectJs,
        unique: Unique, home: str) -> None:
    """They have none, and text at their end is taken for one: not where the
    client is on a server in Python."""
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
def test_old_connection_looks_alive(
        cluster: Recovering, half_open: Traveller, unique: Unique,
        route: List[str], noticed: bool) -> None:
    """The way back to the first server, at once or when that one has found
    that it has the session no longer."""
    traveller = half_open
    if noticed:
        cluster.wait_heartbeats(cluster.python, 3)
    for home in route:
        traveller.leave()
        traveller.tell()
        cluster.settle(unique)
        traveller.arrive(home, alone=home != 'other_js')
        traveller.check_told()
    traveller.tell_present()
    # That of the old connection; the new one stays.
    assert cluster.python.disconnects_of(traveller.sid) == [
        ('/', 'transport close')]
    traveller.check_there()
    traveller.check_told()


def test_frozen(cluster: Recovering, connect_js: ConnectJs,
                unique: Unique) -> None:
    """A server in Python stands still, and when it goes on, its client is
    on one in Node.js: it writes no session of it."""
    traveller = Traveller(cluster, connect_js(cluster.python), 'python',
                          unique, DATA)
    traveller.tell_present()
    key = cluster.key(traveller.pid)
    cluster.python.freeze()
    try:
        traveller.client.drop()
        connect, = traveller.client.move(cluster.js.url)
        assert connect.recovered
        assert not cluster.redis.exists(key)
    finally:
        cluster.python.thaw()
    wait_for_value(lambda: len(cluster.python.disconnects_of(traveller.sid)),
                   1, what='the number of disconnects')
    assert not cluster.redis.exists(key)
    traveller.home = cluster.js
    traveller.check_there()
    traveller.tell_present()
    traveller.leave()
    traveller.tell()
    cluster.settle(unique)
    traveller.arrive('python')
    traveller.check_told()


@pytest.mark.parametrize('language, how, recovered', [
    ('python', 'kill', True), ('python', 'leave', True),
    ('js', 'leave', True), ('js', 'kill', False)])
def test_end_of_a_server(
        pair: Dict[str, Server], connect_js: ConnectJs,
        unique: Unique, redis_server: RedisServer, language: str, how: str,
        recovered: bool) -> None:
    """One in Node.js must find the time to write its sessions; those of
    Python are there."""
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
