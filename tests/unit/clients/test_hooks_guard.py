"""CONNECT and DISCONNECT in orders after which python-socketio would leave the
client and the server with different states. Here the connection ends, or both
have the same state.

Recovery is off here. ``tests/recovery/test_pending_connect.py`` tests it with
real clients and connections.
"""
import threading
from typing import Any, Callable, Dict, List, Optional

import pytest
import socketio
from socketio.packet import CONNECT, DISCONNECT, Packet

from redis_streams_adapter.clients.hooks import MAX_UNREAD

from ...support.wait import DEADLINE, wait_until
from ..fake_server import FakeClient
from ..nodes import Call, Node


class Application:
    """Connect and disconnect handlers of two namespaces."""

    def __init__(self, server: socketio.Server) -> None:
        self.server = server
        #: Their calls: the name, the namespace, the reason of a disconnect.
        self.calls: List[Any] = []
        #: The connect handler of each namespace calls this.
        self.on_connect: Dict[str, Callable[[], Any]] = {}
        for namespace in ('/', '/chat'):
            self._register(namespace)

    def _register(self, namespace: str) -> None:
        def connect(sid: str, environ: Any) -> Any:
            self.calls.append(('connect', namespace))
            return self.on_connect.get(namespace, lambda: None)()

        def disconnect(sid: str, reason: str) -> None:
            self.calls.append(('disconnect', namespace, reason))

        self.server.on('connect', connect, namespace)
        self.server.on('disconnect', disconnect, namespace)

    def sid_of(self, client: FakeClient,
               namespace: str = '/') -> Optional[str]:
        sid: Optional[str] = self.server.manager.sid_from_eio_sid(
            client.eio_sid, namespace)
        return sid

    def send(self, client: FakeClient, kind: int,
             namespace: str = '/') -> None:
        self.server._handle_eio_message(
            client.eio_sid, Packet(kind, namespace=namespace).encode())

    def check_is_gone(self, client: FakeClient) -> None:
        """Check that the server has no state of the client, and that its
        connection has ended without a CONNECT_ERROR or a DISCONNECT."""
        assert client.socket.closed
        assert client.refusal() is None
        assert not client.was_disconnected()
        manager = self.server.manager
        for remains in (manager.rooms, manager.pending_disconnect,
                        getattr(manager, 'pending_connect', None)):
            assert not remains

    def count(self, *call: Any) -> int:
        return self.calls.count(call)


@pytest.fixture(params=[False, True], ids=['', 'always_connect'])
def app(request: Any, make_node: Callable[..., Node]) -> Application:
    return Application(make_node(
        server={'always_connect': request.param}).server)


class Handler:
    """A connect handler that runs until it is released."""

    def __init__(self, returns: Any = None) -> None:
        self.began, self._may_end = threading.Event(), threading.Event()
        self._returns = returns

    def __call__(self) -> Any:
        self.began.set()
        assert self._may_end.wait(DEADLINE)
        return self._returns

    def end(self) -> None:
        self._may_end.set()


@pytest.fixture
def connecting(app: Application) -> Any:
    """Starts to connect a client of ``/chat`` to ``/``:
    ``client, handler, call = connecting()``."""
    handlers: List[Handler] = []

    def connect(returns: Any = None) -> Any:
        handler = app.on_connect['/'] = Handler(returns)
        handlers.append(handler)
        client = FakeClient(app.server, '/chat')
        call = Call(app.send, client, CONNECT)
        assert handler.began.wait(DEADLINE)
        return client, handler, call

    yield connect
    for handler in handlers:
        handler.end()


def test_second_connect_closes_connection(app: Application) -> None:
    client = FakeClient(app.server, '/chat', '/')
    before = len(client.socket.packets)
    app.send(client, CONNECT)
    app.check_is_gone(client)
    assert len(client.socket.packets) == before
    for namespace in ('/', '/chat'):
        assert app.count('connect', namespace) == 1
        assert app.count('disconnect', namespace, 'transport close') == 1


def test_second_connect_of_ending_connection_gets_no_reply(
        app: Application) -> None:
    """The client gets no CONNECT_ERROR, which could arrive before the end."""
    client = FakeClient(app.server)
    client.socket.closing = True
    app.send(client, CONNECT)
    assert client.refusal() is None


@pytest.mark.parametrize('kind', [CONNECT, DISCONNECT],
                         ids=['connect', 'disconnect'])
@pytest.mark.parametrize('returns', [None, False], ids=['let in', 'refused'])
def test_second_connect_during_handler_closes_connection(
        app: Application, connecting: Any, kind: int, returns: Any) -> None:
    client, handler, call = connecting(returns)
    app.send(client, kind)
    assert client.socket.closed
    handler.end()
    call.result()
    app.check_is_gone(client)
    assert app.count('connect', '/') == 1
    assert app.count('disconnect', '/chat', 'transport close') == 1
    assert app.count('disconnect', '/', 'transport close') <= 1


def test_connection_may_end_during_handler(app: Application,
                                           connecting: Any) -> None:
    client, handler, call = connecting()
    client.lose()
    handler.end()
    call.result()
    app.check_is_gone(client)
    assert app.count('disconnect', '/', 'transport close') == 1


def test_one_of_many_connects_is_handled(app: Application) -> None:
    """The others are ignored."""
    app.on_connect['/'] = handler = Handler()
    client = FakeClient(app.server, '/chat')
    calls = [Call(app.send, client, CONNECT) for _ in range(10)]
    assert handler.began.wait(DEADLINE)
    wait_until(lambda: sum(call.waits for call in calls) == 1)
    handler.end()
    for call in calls:
        call.result()
    app.check_is_gone(client)
    assert app.count('connect', '/') == 1


def test_connect_to_other_namespace_is_handled(
        app: Application, connecting: Any) -> None:
    client, handler, call = connecting()
    app.send(client, DISCONNECT, '/chat')
    app.send(client, CONNECT, '/chat')
    handler.end()
    call.result()
    assert app.sid_of(client) and app.sid_of(client, '/chat')
    assert not client.socket.closed


def test_client_may_leave_and_connect_again(app: Application) -> None:
    client = FakeClient(app.server)
    sids = {app.sid_of(client)}
    for _ in range(3):
        app.send(client, DISCONNECT)
        assert app.sid_of(client) is None
        app.send(client, CONNECT)
        sids.add(app.sid_of(client))
    assert len(sids) == 4 and None not in sids
    assert not client.socket.closed


def test_refused_client_may_connect_again(app: Application) -> None:
    app.on_connect['/'] = lambda: False
    client = FakeClient(app.server)
    assert app.sid_of(client) is None
    app.on_connect.clear()
    app.send(client, CONNECT)
    assert app.sid_of(client)
    assert not client.socket.closed


@pytest.mark.parametrize('how', ['refused', 'disconnected'])
def test_connect_before_disconnect_is_read_gets_no_reply(
        app: Application, how: str) -> None:
    """The client would take a pending DISCONNECT for the answer to its new
    CONNECT, and ignore later packets."""
    client = FakeClient(app.server, '/chat')
    client.socket.reads = False
    if how == 'refused':
        app.on_connect['/'] = lambda: False
        app.send(client, CONNECT)
        app.on_connect.clear()
    else:
        app.send(client, CONNECT)
        app.server.disconnect(app.sid_of(client))
    # Other namespaces are not affected.
    app.send(client, DISCONNECT, '/chat')
    app.send(client, CONNECT, '/chat')
    assert app.sid_of(client, '/chat')
    app.send(client, CONNECT)
    assert client.socket.closed
    assert app.server.manager.rooms == {}


def test_late_read_of_disconnect_is_handled(app: Application) -> None:
    app.on_connect['/'] = lambda: False
    client = FakeClient(app.server, '/chat')
    for _ in range(3):
        client.socket.reads = False
        app.send(client, CONNECT)
        assert client.socket.pings == 1
        client.socket.reads = True
        client.socket.answer()
    app.on_connect.clear()
    app.send(client, CONNECT)
    assert app.sid_of(client)


def test_number_of_remembered_refusals_is_limited(app: Application) -> None:
    """A client cannot make the server remember refusals without limit."""
    client = FakeClient(app.server, '/chat')
    client.socket.reads = False
    for number in range(MAX_UNREAD):
        app.send(client, CONNECT, f'/{number}')
    assert not client.socket.closed
    app.send(client, CONNECT, '/one-more')
    assert client.socket.closed
    assert client.socket.pings == MAX_UNREAD


def test_client_of_failed_handler_may_connect_again(app: Application) -> None:
    """The client may connect again on the same connection, unless it was
    admitted before the handler ran."""
    def fail() -> None:
        raise KeyError('a defect of the application')

    app.on_connect['/'] = fail
    client = FakeClient(app.server, '/chat')
    with pytest.raises(KeyError):
        app.send(client, CONNECT)
    app.on_connect.clear()
    is_in = app.sid_of(client) is not None
    app.send(client, CONNECT)
    assert client.socket.closed is is_in
    assert is_in or app.sid_of(client)


def test_concurrent_disconnects_run_handler_once(app: Application) -> None:
    """The handler gets the reason of the first task."""
    client, handler = FakeClient(app.server), Handler()
    sid = app.sid_of(client)
    app.server.on('disconnect', lambda sid, reason: (
        app.calls.append(reason), handler()), '/')
    first = Call(client.lose)
    assert handler.began.wait(DEADLINE)
    app.server.disconnect(sid)
    app.send(client, DISCONNECT)
    handler.end()
    first.result()
    assert app.calls[1:] == ['transport close']
