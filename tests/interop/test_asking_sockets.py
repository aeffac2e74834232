"""``fetchSockets`` across languages: who is found, what is told of it, and
what can be done to it."""
from typing import Any, Dict, List

import pytest

from ..support.client import Listener
from ..support.wait import wait_for_value
from .helpers import Asking, LANGUAGES, Server, Unique


def sids(clients: List[Listener], namespace: str = '/') -> List[str]:
    """Their ids, as :func:`found` sorts them."""
    return sorted(client.sids[namespace] for client in clients)


def found(asker: Server, **kwargs: Any) -> List[str]:
    """The ids of the sockets that a server finds."""
    return sorted(each['sid'] for each in asker.fetch_sockets(**kwargs))


def kinds(value: Any) -> Any:
    """The types of a mapping's values, as JSON knows them."""
    return {key: 'number' if isinstance(each, (int, float))
            and not isinstance(each, bool) else type(each).__name__
            for key, each in value.items()}


@pytest.mark.parametrize('namespace', ['/', '/chat'])
@pytest.mark.parametrize('language', LANGUAGES)
def test_who_is_found(asking: Asking, unique: Unique, language: str,
                      namespace: str) -> None:
    asker, room = asking.asker(language), unique('room')
    clients = list(asking.client_of.values())
    assert found(asker, namespace=namespace) == sids(clients, namespace)
    asking.join(asker, room, clients[1:], namespace)
    assert found(asker, namespace=namespace, to=room) == sids(
        clients[1:], namespace)
    last = clients[-1].sids[namespace]
    assert found(asker, namespace=namespace, to=room, skip_sid=last) == sids(
        clients[1:-1], namespace)
    assert found(asker, namespace=namespace, to=[last]) == [last]
    assert found(asker, namespace=namespace, to=unique('room')) == []
    assert found(asker, namespace=namespace, local=True) == [
        asking.client_of[asker.name].sids[namespace]]


@pytest.mark.parametrize('language', LANGUAGES)
def test_what_is_told(asking: Asking, unique: Unique, language: str) -> None:
    """Rooms and data, whoever holds them; bytes take another way."""
    asker = asking.asker(language)
    told: Dict[str, Any] = {}
    for number, server in enumerate(asking.servers):
        sid, room = asking.client_of[server.name].sid, unique('room')
        data = {'user': f'Zoë {number} 🎉', 'roles': [number, None, {}],
                'key': bytes([number, 255]) if number % 2 else 'text'}
        server.save_session(sid, data)
        server.sockets_join([room], to=sid)
        wait_for_value(lambda: room in server.rooms(sid), True, what='a room')
        told[sid] = {room, sid}, data
    sockets = asker.fetch_sockets()
    assert {each['sid']: ({*each['rooms']} & told[each['sid']][0],
                          each['data']) for each in sockets} == told
    if asker is asking.python:
        assert {each['sid']: each['node'] for each in sockets} == {
            asking.client_of[server.name].sid: server.uid()
            for server in asking.servers}


@pytest.mark.parametrize('language', LANGUAGES)
def test_handshake(asking: Asking, language: str) -> None:
    """An application finds what it would find with a server of its own
    language, whatever the client's server is written in."""
    by_sid = {each['sid']: each['handshake']
              for each in asking.asker(language).fetch_sockets()}
    ours, theirs = (by_sid[asking.client_of[server.name].sid]
                    for server in (asking.other_python, asking.other_js))
    assert kinds(ours) == kinds(theirs)
    assert sorted(ours['headers']) == sorted(theirs['headers'])
    assert kinds(ours['headers']) == kinds(theirs['headers'])
    for name in ('address', 'xdomain', 'secure', 'url', 'query'):
        assert ours[name] == theirs[name], name
    for each, server in ((ours, asking.other_python),
                         (theirs, asking.other_js)):
        assert each['headers']['host'] == f'127.0.0.1:{server.port}'
    # Moments of one session of tests: less than a day lies between them.
    assert abs(ours['issued'] - theirs['issued']) < 86_400_000
    # "Tue Nov 24 2026 23:59:59 GMT+0000 (Coordinated Universal Time)"
    assert ours['time'].split()[5] == theirs['time'].split()[5] == 'GMT+0000'
    assert len(ours['time'].split(' ', 5)) == len(
        theirs['time'].split(' ', 5))


@pytest.mark.parametrize('language', LANGUAGES)
def test_what_can_be_done_to_it(asking: Asking, unique: Unique,
                                connect_js: Any, language: str) -> None:
    asker = asking.asker(language)
    for server in asking.servers:
        client = connect_js(server)
        event, room = unique('event'), unique('room')
        client.answer(event, ['answer', b'\x00'])
        asker.on_socket(client.sid, 'emit', event, 'data')
        assert client.wait_for(event) == [('data',)]
        assert asker.ask_socket(client.sid, event, ('more', 2)) == [
            'answer', b'\x00']
        assert client.received(event) == [('data',), ('more', 2)]
        asker.on_socket(client.sid, 'enter_room', room)
        wait_for_value(lambda: server.rooms(client.sid), [room],
                       what='the rooms')
        asker.on_socket(client.sid, 'leave_room', room)
        wait_for_value(lambda: server.rooms(client.sid), [],
                       what='the rooms')
        asker.on_socket(client.sid, 'disconnect')
        assert client.wait_disconnected() == 'io server disconnect'


def test_all_rooms(asking: Asking, unique: Unique) -> None:
    """The rooms of all clients, counted over servers of both languages."""
    room, smaller = unique('room'), unique('smaller')
    clients = list(asking.client_of.values())
    asking.join(asking.python, room, clients)
    asking.join(asking.python, smaller, clients[2:])
    rooms = asking.python.invoke('manager', 'all_rooms')
    assert (rooms[room], rooms[smaller]) == (4, 2)
    assert not {*rooms} & {*sids(clients)}
