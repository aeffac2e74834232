"""``fetchSockets`` across languages: which sockets are found, with what
attributes, and which of their methods work."""
from typing import Any, Dict, List

import pytest

from ..support.client import Listener
from ..support.wait import wait_for_value
from .helpers import Cluster, LANGUAGES, Server, Unique


def sids(clients: List[Listener], namespace: str = '/') -> List[str]:
    """The sids of clients, as :func:`found` sorts them."""
    return sorted(client.sids[namespace] for client in clients)


def found(requester: Server, **kwargs: Any) -> List[str]:
    """The sids of the sockets that a server finds."""
    return sorted(each['sid'] for each in requester.fetch_sockets(**kwargs))


def kinds(value: Any) -> Any:
    """The types of a mapping's values, as JSON knows them."""
    return {key: 'number' if isinstance(each, (int, float))
            and not isinstance(each, bool) else type(each).__name__
            for key, each in value.items()}


@pytest.mark.parametrize('namespace', ['/', '/chat'])
@pytest.mark.parametrize('language', LANGUAGES)
def test_rooms_select_sockets(cluster: Cluster, unique: Unique,
                              language: str, namespace: str) -> None:
    requester, room = cluster.in_language(language), unique('room')
    clients = list(cluster.client_of.values())
    assert found(requester, namespace=namespace) == sids(clients, namespace)
    cluster.join(requester, room, clients[1:], namespace)
    assert found(requester, namespace=namespace, to=room) == sids(
        clients[1:], namespace)
    last = clients[-1].sids[namespace]
    assert found(requester, namespace=namespace, to=room,
                 skip_sid=last) == sids(clients[1:-1], namespace)
    assert found(requester, namespace=namespace, to=[last]) == [last]
    assert found(requester, namespace=namespace, to=unique('room')) == []
    assert found(requester, namespace=namespace, local=True) == [
        cluster.client_of[requester.name].sids[namespace]]


@pytest.mark.parametrize('language', LANGUAGES)
def test_rooms_and_data(cluster: Cluster, unique: Unique,
                        language: str) -> None:
    """They are found for the clients of every server. Bytes are encoded in
    another way."""
    requester = cluster.in_language(language)
    expected: Dict[str, Any] = {}
    for number, server in enumerate(cluster.servers):
        sid, room = cluster.client_of[server.name].sid, unique('room')
        data = {'user': f'Zoë {number} 🎉', 'roles': [number, None, {}],
                'key': bytes([number, 255]) if number % 2 else 'text'}
        server.save_session(sid, data)
        server.sockets_join([room], to=sid)
        wait_for_value(lambda: room in server.rooms(sid), True, what='a room')
        expected[sid] = {room, sid}, data
    sockets = requester.fetch_sockets()
    assert {each['sid']: ({*each['rooms']} & expected[each['sid']][0],
                          each['data']) for each in sockets} == expected
    if requester is cluster.python:
        assert {each['sid']: each['node'] for each in sockets} == {
            cluster.client_of[server.name].sid: server.uid()
            for server in cluster.servers}


@pytest.mark.parametrize('language', LANGUAGES)
def test_handshake(cluster: Cluster, language: str) -> None:
    """It has the same keys and types for clients of servers in both
    languages."""
    by_sid = {each['sid']: each['handshake']
              for each in cluster.in_language(language).fetch_sockets()}
    python, js = (by_sid[cluster.client_of[server.name].sid]
                  for server in (cluster.other_python, cluster.other_js))
    assert kinds(python) == kinds(js)
    assert sorted(python['headers']) == sorted(js['headers'])
    assert kinds(python['headers']) == kinds(js['headers'])
    for name in ('address', 'xdomain', 'secure', 'url', 'query'):
        assert python[name] == js[name], name
    for each, server in ((python, cluster.other_python),
                         (js, cluster.other_js)):
        assert each['headers']['host'] == f'127.0.0.1:{server.port}'
    # Both clients connected during one test session: on the same day.
    assert abs(python['issued'] - js['issued']) < 86_400_000
    # "Tue Nov 24 2026 23:59:59 GMT+0000 (Coordinated Universal Time)"
    assert python['time'].split()[5] == js['time'].split()[5] == 'GMT+0000'
    assert len(python['time'].split(' ', 5)) == len(
        js['time'].split(' ', 5))


@pytest.mark.parametrize('language', LANGUAGES)
def test_methods(cluster: Cluster, unique: Unique, connect_js: Any,
                 language: str) -> None:
    """A socket that was found can be emitted to, called, moved between rooms
    and disconnected."""
    requester = cluster.in_language(language)
    for server in cluster.servers:
        client = connect_js(server)
        event, room = unique('event'), unique('room')
        client.answer(event, ['answer', b'\x00'])
        requester.on_socket(client.sid, 'emit', event, 'data')
        assert client.wait_for(event) == [('data',)]
        assert requester.ask_socket(client.sid, event, ('more', 2)) == [
            'answer', b'\x00']
        assert client.received(event) == [('data',), ('more', 2)]
        requester.on_socket(client.sid, 'enter_room', room)
        wait_for_value(lambda: server.rooms(client.sid), [room],
                       what='the rooms')
        requester.on_socket(client.sid, 'leave_room', room)
        wait_for_value(lambda: server.rooms(client.sid), [],
                       what='the rooms')
        requester.on_socket(client.sid, 'disconnect')
        assert client.wait_disconnected() == 'io server disconnect'


def test_all_rooms(cluster: Cluster, unique: Unique) -> None:
    """It counts the clients of servers in both languages."""
    room, smaller = unique('room'), unique('smaller')
    clients = list(cluster.client_of.values())
    cluster.join(cluster.python, room, clients)
    cluster.join(cluster.python, smaller, clients[2:])
    rooms = cluster.python.invoke('manager', 'all_rooms')
    assert (rooms[room], rooms[smaller]) == (4, 2)
    assert not {*rooms} & {*sids(clients)}
