"""The published JavaScript client on a server of ours, over each of its
transports, with what a server in Node.js sends it."""
from typing import Any, Callable, List

import pytest

from ..support.js_client import JsClients
from ..support.json_values import Callback
from ..support.wait import wait_for_value
from .helpers import check_received, OLD, Party, Unique


@pytest.mark.parametrize('transport', ['websocket', 'polling'])
@pytest.mark.parametrize('home', ['python', OLD.name])
def test_transport(broadcasting: Party, js_clients: JsClients,
                   unique: Unique, home: str, transport: str) -> None:
    """Events from both languages, text and bytes, in order; and what it
    acknowledges."""
    python: Any = broadcasting.servers['python']
    js: Any = broadcasting.servers[OLD.name]
    client = js_clients.connect(broadcasting.servers[home].url, '/', '/chat',
                                transport=transport)
    try:
        data = ['Zoë 🎉', b'\x00\xff', {'inside': b'\x01'}]
        assert client.call('echo', *data, namespace='/chat') == tuple(data)
        event = unique('event')
        for server in (python, js):
            own = f'{event}-{server.name}'
            for number in range(50):
                server.emit(own, (number, *data[:1 + number % 3]),
                            to=client.sid)
            check_received(server, [client], unique, **{own: [
                [(number, *data[:1 + number % 3]) for number in range(50)]]})
        question, tag = unique('question'), unique('calls')
        client.answer(question, data)
        python.emit(question, to=client.sid, callback=Callback(tag))
        wait_for_value(lambda: python.recorded(tag), [(data,)],
                       what='the acknowledgement')
    finally:
        client.close()


def test_connection_is_cut(broadcasting: Party,
                           connect_js: Callable[..., Any],
                           unique: Unique) -> None:
    """It gets no more, and nobody else gets less or waits for it."""
    python: Any = broadcasting.servers['python']
    clients: List[Any] = [connect_js(server)
                          for server in broadcasting.servers.values()]
    room, event = unique('room'), unique('event')
    python.sockets_join([room], to=[client.sid for client in clients])
    check_received(python, clients, unique)
    gone, *left = clients
    gone.cut()
    wait_for_value(lambda: gone.sid in [
        sid for _, sid, _ in python.recorded('disconnect')], True,
        what='the end of the connection')
    for server in broadcasting.servers.values():
        server.emit(f'{event}-{server.name}', to=room)
        check_received(server, left, unique, **{
            f'{event}-{server.name}': [[()]] * len(left)})
    assert not any(event in name for name in gone.names())
