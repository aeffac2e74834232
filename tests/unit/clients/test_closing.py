"""The server ends connections of clients that poll, and of others."""
import threading
from typing import Any, List, Tuple

import pytest
import socketio
from engineio.socket import Socket

from redis_streams_adapter.clients.closing import close
from redis_streams_adapter.concurrency.locks import ThreadEvent

from ...support.polling_client import in_process, PollingClient
from ...support.wait import DEADLINE, wait_until
from ..conftest import Log
from ..fake_server import FakeClient, make_server

#: Engine.IO's packets.
CLOSE, NOOP = '1', '6'


@pytest.fixture
def server() -> Any:
    return make_server(client_manager=socketio.Manager(),
                       monitor_clients=False)


@pytest.fixture
def tasks(server: Any, monkeypatch: pytest.MonkeyPatch
          ) -> List[threading.Thread]:
    """The tasks that wait for clients that do not poll."""
    found: List[threading.Thread] = []
    start = server.start_background_task

    def start_and_note(work: Any, *args: Any) -> threading.Thread:
        found.append(start(work, *args))
        return found[-1]

    monkeypatch.setattr(server, 'start_background_task', start_and_note)
    return found


@pytest.fixture
def reasons(server: Any) -> List[Tuple[str, str]]:
    """The sids for which the disconnect handler has run, with its reasons."""
    found: List[Tuple[str, str]] = []
    server.on('disconnect', lambda *args: found.append(args))
    return found


@pytest.fixture
def client(server: Any) -> PollingClient:
    return PollingClient(in_process(server))


def is_open(server: Any, client: PollingClient) -> bool:
    """Whether the server has the connection. Looking is no request."""
    sock = server.eio.sockets.get(client.eio_sid)
    return sock is not None and not sock.closed


def last_packets(client: PollingClient) -> List[str]:
    """What a client fetches before it is told of the end."""
    *found, last = client.poll()
    assert [last, *client.poll()] == [NOOP, CLOSE]
    return found


def end(server: Any, client: Any, abort: bool = False) -> None:
    close(server, client.eio_sid, server.reason.SERVER_DISCONNECT,
          abort=abort)


@pytest.mark.parametrize('abort', [False, True])
def test_next_poll_gets_what_was_sent(server: Any, client: PollingClient,
                                      reasons: Any, abort: bool) -> None:
    sid = client.connect()
    for number in range(3):
        server.emit('event', number, to=sid)
    end(server, client, abort)
    # The handlers do not wait for the client.
    assert reasons == [(sid, 'server disconnect')]
    assert is_open(server, client)
    assert client.poll() == [
        *(f'42["event",{number}]' for number in range(3)), NOOP]
    assert client.status == 200
    if not abort:
        # A client in JavaScript loses the events that come with it.
        assert client.poll() == [CLOSE]
    assert server.eio.sockets == {}
    client.poll()
    assert client.status == 400
    assert reasons == [(sid, 'server disconnect')]


def test_open_poll_is_answered(server: Any, client: PollingClient) -> None:
    client.connect()
    polled: List[List[str]] = []
    thread = threading.Thread(
        target=lambda: polled.append(client.poll()), daemon=True)
    thread.start()
    end(server, client)
    thread.join(DEADLINE)
    assert polled == [[NOOP]]
    assert client.poll() == [CLOSE]
    assert server.eio.sockets == {}


def test_response_in_javascript(server: Any) -> None:
    client = PollingClient(in_process(server))
    sid = client.connect()
    server.emit('event', to=sid)
    end(server, client)
    assert client.poll('&j=0')[0].startswith('___eio[0]("42[')
    client.poll('&j=0')
    assert not is_open(server, client)


def test_all_namespaces_end(server: Any, client: PollingClient,
                            log: Log) -> None:
    sids = {each: client.connect(each) for each in ('/', '/chat')}
    for namespace, sid in sids.items():
        server.on('disconnect', log, namespace=namespace)
        server.emit(namespace, to=sid, namespace=namespace)
    end(server, client)
    assert len(log.calls) == 2
    assert last_packets(client) == ['42["/"]', '42/chat,["/chat"]']


def test_what_the_handler_emits_arrives(server: Any,
                                        client: PollingClient) -> None:
    """The client is still on the connection, in its other namespace."""
    client.connect()
    client.connect('/chat')
    server.on('disconnect',
              lambda *args: server.emit('bye', namespace='/chat'))
    end(server, client)
    assert last_packets(client) == ['42/chat,["bye"]']


def test_failing_handler(server: Any, client: PollingClient,
                         caplog: pytest.LogCaptureFixture) -> None:
    sid = client.connect()

    @server.event
    def disconnect(sid: str, reason: str) -> None:
        raise RuntimeError('the handler fails')

    server.emit('event', to=sid)
    end(server, client)
    assert last_packets(client) == ['42["event"]']
    assert 'the handler fails' in caplog.text


@pytest.mark.parametrize('packet', [
    '40', '40/chat,', '41', '42["hello"]', '3', '451-["x",{"_placeholder":'
    'true,"num":0}]', '5', '2'])
def test_what_the_client_sends_is_ignored(
        server: Any, client: PollingClient, packet: str,
        caplog: pytest.LogCaptureFixture) -> None:
    """As in Node.js (``onPacket()`` in ``build/socket.js`` of the npm package
    ``engine.io`` 6). A CONNECT would find no environment."""
    sid = client.connect()
    server.emit('event', to=sid)
    end(server, client)
    client.post(packet)
    assert client.status == 200
    assert last_packets(client) == ['42["event"]']
    assert server.manager.rooms == {}
    assert caplog.text == ''


def test_client_closes_first(server: Any, client: PollingClient) -> None:
    client.connect()
    end(server, client)
    client.post(CLOSE)
    assert not is_open(server, client)


def test_nothing_follows_the_end(server: Any, client: PollingClient) -> None:
    """A handler may still run, and be acknowledged."""
    client.connect()
    end(server, client)
    sock = server.eio.sockets[client.eio_sid]
    server.eio.send(client.eio_sid, 'late')
    assert last_packets(client) == []
    assert [sock.queue.get(block=False)] == [None]
    assert sock.queue.empty()


def test_connection_is_ended_once(server: Any, client: PollingClient,
                                  reasons: Any) -> None:
    client.connect()
    end(server, client)
    end(server, client)
    server.eio.sockets[client.eio_sid].close(wait=False, abort=True)
    assert len(reasons) == 1
    assert last_packets(client) == []
    end(server, client)
    assert len(reasons) == 1


def test_clients_that_do_not_poll(server: Any, tasks: Any) -> None:
    """It is given Engine.IO's ping timeout."""
    server.eio.ping_timeout = DEADLINE * 100
    waiting = PollingClient(in_process(server))
    waiting.connect()
    end(server, waiting)
    others = [PollingClient(in_process(server)) for _ in range(20)]
    for client in others:
        client.connect()
        end(server, client)
    # One task for all.
    assert len(tasks) == 1
    assert all(is_open(server, each) for each in others)
    assert last_packets(waiting) == []


def test_nothing_is_left(server: Any, tasks: Any) -> None:
    """The task ends when all clients have polled, or their time is up."""
    for polls, timeout in (True, DEADLINE * 100), (False, 0.1):
        server.eio.ping_timeout = timeout
        clients = [PollingClient(in_process(server)) for _ in range(5)]
        for client in clients:
            client.connect()
            end(server, client)
            if polls:
                assert last_packets(client) == []
        wait_until(lambda: not any(each.is_alive() for each in tasks))
        assert server.eio.sockets == server.environ == {}


@pytest.mark.filterwarnings(
    'ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_task_that_was_killed_is_replaced(
        server: Any, tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server.eio.ping_timeout = 0.05
    killed = threading.Event()

    def strike(event: Any, timeout: float) -> None:
        killed.set()
        raise SystemExit

    monkeypatch.setattr(ThreadEvent, 'wait', strike)
    clients = [PollingClient(in_process(server)) for _ in range(2)]
    end(server, clients[0])
    assert killed.wait(DEADLINE)
    monkeypatch.undo()
    tasks[0].join(DEADLINE)
    end(server, clients[1])
    wait_until(lambda: not any(is_open(server, each) for each in clients))


def test_client_that_becomes_a_websocket(server: Any,
                                         client: PollingClient) -> None:
    """It had no time to poll before."""
    sid = client.connect()
    server.emit('event', to=sid)
    end(server, client)
    sock: Socket = server.eio.sockets[client.eio_sid]
    sock.upgraded = True
    # As the task that writes to a WebSocket does.
    for expected in ['42["event"]', NOOP], [CLOSE]:
        assert [each.encode() for each in sock.poll()] == expected
    assert sock.poll() == []
    assert not is_open(server, client)


@pytest.mark.parametrize('abort', [False, True])
def test_websocket_is_closed(server: Any, reasons: Any, abort: bool) -> None:
    client, other = FakeClient(server), FakeClient(server)
    sid = client.sid
    end(server, client, abort)
    assert client.socket.closed
    assert reasons == [(sid, 'server disconnect')]
    assert not other.socket.closed


def test_connection_that_is_gone(server: Any, reasons: Any) -> None:
    close(server, 'unknown', server.reason.SERVER_DISCONNECT)
    assert reasons == []
