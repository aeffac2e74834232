"""The published JavaScript client, over each of its transports, with servers
in both languages."""
from typing import Any, Callable, List

import pytest

from ..support.js_client import JsClients
from ..support.json_values import Callback
from ..support.wait import wait_for_value
from .helpers import check_received, OLD, MixedCluster, Unique


@pytest.mark.parametrize('transport', ['websocket', 'polling'])
@pytest.mark.parametrize('home', ['python', OLD.name])
def test_transport(mixed: MixedCluster, js_clients: JsClients,
                   unique: Unique, home: str, transport: str) -> None:
    """Events of servers in both languages arrive in order, text and bytes,
    and the client acknowledges them."""
    python: Any = mixed.servers['python']
    js: Any = mixed.servers[OLD.name]
    client = js_clients.connect(mixed.servers[home].url, '/', '/chat',
                                transport=transport)
    try:
        data = ['Zoë 🎉', b'\x00\xff', {'inside': b'\x01'}]
        assert client.call('echo', *data, namespace='/chat') == tuple(data)
        event = unique('event')
        for server in (python, js):
            name = f'{event}-{server.name}'
            for number in range(50):
                server.emit(name, (number, *data[:1 + number % 3]),
                            to=client.sid)
            check_received(server, [client], unique, **{name: [
                [(number, *data[:1 + number % 3]) for number in range(50)]]})
        question, tag = unique('question'), unique('calls')
        client.answer(question, data)
        python.emit(question, to=client.sid, callback=Callback(tag))
        wait_for_value(lambda: python.recorded(tag), [(data,)],
                       what='the acknowledgement')
    finally:
        client.close()


@pytest.mark.parametrize('transport', ['websocket', 'polling'])
@pytest.mark.parametrize('sender', ['python', OLD.name])
@pytest.mark.parametrize('home', ['python', OLD.name])
def test_events_before_connection_is_closed(
        mixed: MixedCluster, js_clients: JsClients, unique: Unique,
        home: str, sender: str, transport: str) -> None:
    """They arrive, also between two polls. The client knows that it was
    disconnected on purpose, so it does not reconnect."""
    commanding: Any = mixed.servers[sender]
    event, numbers = unique('event'), range(20)
    clients = [js_clients.connect(mixed.servers[home].url, '/', '/chat',
                                  transport=transport) for _ in range(5)]
    try:
        for client in clients:
            for number in numbers:
                commanding.emit(event, number, to=client.sid)
            commanding.disconnect_sockets(to=client.sid, close=True)
        for client in clients:
            for namespace in '/', '/chat':
                # It does not receive an error in place of a response.
                assert client.wait_disconnected(namespace) \
                    == 'io server disconnect'
            assert client.received(event) == [(each,) for each in numbers]
    finally:
        for client in clients:
            client.close()


def test_lost_connection(mixed: MixedCluster, connect_js: Callable[..., Any],
                         unique: Unique) -> None:
    """The client receives no more events. The other clients still receive
    theirs, without a delay."""
    python: Any = mixed.servers['python']
    clients: List[Any] = [connect_js(server)
                          for server in mixed.servers.values()]
    room, event = unique('room'), unique('event')
    python.sockets_join([room], to=[client.sid for client in clients])
    check_received(python, clients, unique)
    gone, *left = clients
    gone.cut()
    wait_for_value(lambda: gone.sid in [
        sid for _, sid, _ in python.recorded('disconnect')], True,
        what='the end of the connection')
    for server in mixed.servers.values():
        server.emit(f'{event}-{server.name}', to=room)
        check_received(server, left, unique, **{
            f'{event}-{server.name}': [[()]] * len(left)})
    assert not any(event in name for name in gone.names())
