"""Connection state recovery in applications of every style."""
import contextlib
import threading
from typing import Any, Callable, Dict, Iterator, List

import pytest

from ..conftest import running
from ..support.account import account, EXACT
from ..support.client import Client, close_all
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.returning_client import ReturningClient
from ..support.styled_app import ABSENT, APART, StyledProcess, TOGETHER
from ..support.upstream import LOST, NEEDS_ADMIN
from ..support.wait import wait_for_value, wait_until
from .conftest import STEADY, start_managers

Unique = Callable[[str], str]
StartStyled = Callable[..., List[StyledProcess]]
ConnectReturning = Callable[..., ReturningClient]

#: The ``auth`` with which a client is not accepted, see :mod:`.node_app`.
PLAIN = 'plain'

#: Options that affect how handlers are called.
SERVERS: Dict[str, Dict[str, Any]] = {
    'default': {},
    'always_connect': {'server': {'always_connect': True}},
    'no async_handlers': {'server': {'async_handlers': False}},
    'both': {'server': {'always_connect': True, 'async_handlers': False}},
    'admin UI': {'instrument': 'development'},
    'admin UI, production': {'instrument': 'production'},
}

#: Style, server and auth. python-socketio allows a connect handler without the
#: third argument only for clients without their own auth.
CASES = [
    pytest.param(style, name, auth, id=f'{style}, {name}{", auth" * auth}',
                 marks=[NEEDS_ADMIN] if name.startswith('admin') else [])
    for style, name, auth in [
        *(('apart', name, auth) for name in SERVERS for auth in (0, 1)),
        *((style, name, auth) for style, count in TOGETHER.items()
          for name in ('default', 'both', 'admin UI')
          for auth in range(count - 1))]]

#: Namespaces that have no handlers of their own.
NOT_NAMED = ('/one', '/another')


@pytest.fixture
def start_styled(mode: str, redis_server: RedisServer, unique: Unique,
                 ) -> Iterator[StartStyled]:
    """Starts two servers: ``start_styled(style, **options)``.

    The first ``members`` servers (default: both) join the cluster at the
    start.
    """
    with contextlib.ExitStack() as stack:
        def start(style: str, members: int = 2,
                  **options: Any) -> List[StyledProcess]:
            every = {'style': style, 'stream_name': unique('stream'),
                     'connection_state_recovery': True, **STEADY, **options}
            if style != 'apart':
                every['server'] = {
                    **every.get('server', {}), 'namespaces': '*'}
            nodes: List[StyledProcess] = stack.enter_context(running(
                [StyledProcess(mode, redis_server.url, every)
                 for _ in range(2)]))
            start_managers(list(nodes[:members]))
            return nodes

        yield start


@pytest.fixture
def connect_returning() -> Iterator[ConnectReturning]:
    """Connects a client that can return: ``connect_returning(node,
    *namespaces)``."""
    clients: List[ReturningClient] = []

    def connect(node: StyledProcess, *namespaces: str,
                **options: Any) -> ReturningClient:
        clients.append(ReturningClient(node.url, *namespaces, **options))
        return clients[-1]

    yield connect
    close_all(clients)


def check_numbers(client: ReturningClient, namespace: str, event: str,
                  count: int) -> None:
    """It has received 0, 1, 2, … there, each once, in order, and each followed
    by an offset."""
    found = [each.args for each in client.events()
             if each.name == event and each.namespace == namespace]
    assert account([args[0] for args in found], count) == EXACT
    assert all(len(args) == 2 and '-' in args[1] for args in found)


@pytest.mark.parametrize('style,server,with_auth', CASES)
def test_handler_style(start_styled: StartStyled,
                       connect_returning: ConnectReturning, unique: Unique,
                       style: str, server: str, with_auth: int) -> None:
    """On the same node and on the other one, in all namespaces at once."""
    nodes = first, second = start_styled(style, **SERVERS[server])
    arguments: Dict[str, Any] = APART if style == 'apart' \
        else dict.fromkeys(NOT_NAMED, TOGETHER[style])
    auth = None
    if with_auth:
        auth = {'token': 'mine'}
        arguments = {name: count for name, count in arguments.items()
                     if count != 2}
    client = connect_returning(first, *arguments, auth=auth)
    sids = dict(client.sids)
    room, event = unique('room'), unique('event')
    for name in arguments:
        assert client.call('remember', f'of {name}', room, namespace=name
                           ) == [name, f'of {name}']
    client.wait_for('remembered', len(arguments))
    emitted = 0
    for node in (first, second, first):
        client.drop()
        for name in arguments:
            for number in range(emitted, emitted + 20):
                second.emit(event, number, to=room, namespace=name)
        emitted += 20
        client.connect(node.url)
        assert client.sids == sids
        assert client.recovered == dict.fromkeys(sids, True)
        client.wait_for(event, emitted * len(arguments))
        for name in arguments:
            assert node.rooms(sids[name], namespace=name) == [room]
    for name, count in arguments.items():
        check_numbers(client, name, event, emitted)
        check_handlers(nodes, sids[name], name, room, count, auth)
    # Requests are still answered, and events still reach their recipients.
    for name in arguments:
        assert client.call('remember', 'more', room, namespace=name
                           ) == [name, 'more']
    client.wait_for('remembered', 2 * len(arguments))


def check_handlers(nodes: List[StyledProcess], sid: str, namespace: str,
                   room: str, arguments: Any, auth: Any) -> None:
    """The connect handler has run for every arrival, with the recovered state,
    and the disconnect handler for every loss.

    :param arguments: how many the connect handler has.
    """
    if arguments is None:
        return
    first, second = nodes
    known = {'namespace': namespace, 'sid': sid,
             'auth': ABSENT if arguments == 2 else auth}
    new = {**known, 'recovery': [False, None], 'rooms': [], 'session': {}}
    back = {**known, 'recovery': [True, None], 'rooms': [room],
            'session': {'value': f'of {namespace}'}}
    assert first.arrivals(sid) == [new, back, back]
    assert second.arrivals(sid) == [back]
    # They run in a separate task, which may be late.
    for node, count in ((first, 2), (second, 1)):
        wait_for_value(lambda: len(node.departures(sid)), count,
                       what=f'the losses of {node.name}')
        assert {where for where, _ in node.departures(sid)} == {namespace}
        assert {reason for _, reason in node.departures(sid)} <= {
            ABSENT, LOST, 'transport close', 'transport error'}


def test_first_clients_of_a_node(start_styled: StartStyled,
                                 connect_returning: ConnectReturning,
                                 unique: Unique) -> None:
    """They arrive together, and one of them makes it join the cluster."""
    first, second = start_styled('apart', members=1)
    clients = [connect_returning(first, '/mute') for _ in range(20)]
    event = unique('event')
    for client in clients:
        client.drop()
    first.emit(event, 0, namespace='/mute')
    coming = [threading.Thread(target=client.connect, args=(second.url,))
              for client in clients]
    for thread in coming:
        thread.start()
    for thread in coming:
        thread.join()
    assert [client.recovered for client in clients] == [{'/mute': True}] * 20
    for client in clients:
        client.wait_for(event)


def test_first_new_clients_of_a_node(start_styled: StartStyled,
                                     connect_returning: ConnectReturning,
                                     unique: Unique) -> None:
    """The same with new clients, which then return without having received
    anything."""
    first, second = start_styled('apart', members=0)
    clients: List[ReturningClient] = []
    coming = [threading.Thread(target=lambda: clients.append(
        connect_returning(first, '/mute'))) for _ in range(20)]
    for thread in coming:
        thread.start()
    for thread in coming:
        thread.join()
    event = unique('event')
    for client in clients:
        client.drop()
    first.emit(event, 0, namespace='/mute')
    for client in clients:
        client.connect(second.url)
    assert [client.recovered for client in clients] == [{'/mute': True}] * 20
    for client in clients:
        client.wait_for(event)


@pytest.mark.parametrize('how', ['noticed', 'half-open', 'killed'])
def test_events_sent_but_not_received(start_styled: StartStyled,
                                      connect_returning: ConnectReturning,
                                      make_proxy: Callable[[int], Proxy],
                                      unique: Unique, how: str) -> None:
    """A client to which events were sent, but which has received none: it
    sends no offset, and missed them."""
    first, second = start_styled('apart')
    event = unique('event')
    line = make_proxy(first.port)
    line.open()
    client = ReturningClient(f'http://127.0.0.1:{line.port}', '/functions-3')
    sid = client.sid
    try:
        line.go_silent()
        for number in range(10):
            first.emit(event, number, to=sid, namespace='/functions-3')
        # They were sent, as far as the node can know.
        wait_until(lambda: first.stats()['delivered'] >= 10,
                   what='the node to have sent them')
        if how == 'noticed':
            line.break_connections()
            wait_for_value(lambda: len(first.departures(sid)), 1,
                           what='how often it was lost')
            wait_until(lambda: not client.is_connected(),
                       what='the client to know')
        else:
            if how == 'killed':
                first.kill()
            client.drop()
        client.connect(second.url)
        assert client.recovered == {'/functions-3': True}
        assert client.sid == sid
        client.wait_for(event, 10)
        check_numbers(client, '/functions-3', event, 10)
    finally:
        client.close()


@NEEDS_ADMIN
@pytest.mark.parametrize('admin', ['development', 'production'])
def test_admin_ui(start_styled: StartStyled,
                  connect_returning: ConnectReturning, unique: Unique,
                  admin: str) -> None:
    """It sees clients connect, disconnect and return, without their secrets;
    and is itself a client that returns."""
    first, second = start_styled('apart', instrument=admin)
    watcher = connect_returning(first, '/admin')
    watcher.wait_for('config')
    client = connect_returning(second, '/functions-3')
    sid, pid = client.sid, client.pids['/functions-3']

    def connects() -> List[str]:
        # The watcher's own connect is among them.
        return [args[0]['id'] for args in watcher.received('socket_connected')
                if args[0]['nsp'] == '/functions-3']

    for goal, node in enumerate([second, first], 1):
        client.drop()
        client.connect(node.url)
        assert client.recovered == {'/functions-3': True}
        if admin == 'development':
            watcher.wait_for('socket_disconnected', goal)
            wait_for_value(connects, [sid] * (goal + 1),
                           what='the connects that the admin sees')
    watcher.wait_for('server_stats', 3)
    if admin == 'development':
        # Its own actions go through the same hooks.
        room = unique('room')
        watcher.call('join', '/functions-3', room, sid)
        wait_for_value(lambda: first.rooms(sid, namespace='/functions-3'),
                       [room], what='its rooms')
        watcher.wait_for('room_joined')
        watcher.call('_disconnect', '/functions-3', False, sid)
        assert client.wait_disconnected() == 'io server disconnect'
    assert pid not in str(watcher.events())
    watcher.drop()
    watcher.connect(second.url)
    assert watcher.recovered == {'/admin': True}


@NEEDS_ADMIN
def test_admin_lets_a_client_leave_a_room(
        start_styled: StartStyled, connect_returning: ConnectReturning,
        unique: Unique) -> None:
    """An admin's change is part of the recovered state."""
    first, second = start_styled('apart', instrument='development')
    watcher = connect_returning(first, '/admin')
    client = connect_returning(first, '/mute')
    left, kept = unique('room'), unique('room')
    for room in (left, kept):
        client.call('remember', 1, room)
    watcher.call('leave', '/mute', left, client.sid)
    client.drop()
    client.connect(second.url)
    assert client.recovered == {'/mute': True}
    assert second.rooms(client.sid, namespace='/mute') == [kept]


def test_python_client(start_styled: StartStyled,
                       connect_returning: ConnectReturning,
                       unique: Unique) -> None:
    """A client that is not accepted gets neither a pid nor offsets; another
    one on the same servers gets both. Both get the same events."""
    nodes = first, second = start_styled('apart', connection_state_recovery={
        'accepts': PLAIN})
    event, room = unique('event'), unique('room')
    namespace = '/functions-3'
    plain = Client(first.url, namespace, auth={PLAIN: True})
    other = connect_returning(first, namespace)
    refused = connect_returning(first, namespace, auth={PLAIN: True})
    try:
        for client in (plain, other, refused):
            client.call('remember', 1, room)
        values: List[Any] = [None, 1, 'text', ('two', 'texts'), ['list'],
                             b'\x00\xff', {'a': b'\x01'}]
        for node in nodes:
            for value in values:
                node.emit(event, value, to=room, namespace=namespace)
        expected = [() if value is None else value
                    if isinstance(value, tuple) else (value,)
                    for value in values] * 2
        for client in (plain, other, refused):
            client.wait_for(event, len(expected))
        assert sorted(map(str, plain.received(event))) \
            == sorted(map(str, expected))
        assert plain.received(event) == refused.received(event)
        assert plain.received(event) == [
            args[:-1] for args in other.received(event)]
        assert refused.pids == {} and other.pids
        recoveries = {each['sid']: each['recovery'] for each
                      in first.recorded('arrivals')}
        assert recoveries == dict.fromkeys(
            [plain.sid, other.sid, refused.sid], [False, None])
        # The first one returns, the second is new.
        sids = other.sid, refused.sid
        for client in (other, refused):
            client.drop()
        first.emit(event, 'missed', to=room, namespace=namespace)
        for client in (other, refused):
            client.connect(second.url)
        assert (other.sid, refused.sid == sids[1]) == (sids[0], False)
        other.wait_for(event, len(expected) + 1)
        plain.wait_for(event, len(expected) + 1)
        assert refused.count(event) == len(expected)
    finally:
        plain.close()
