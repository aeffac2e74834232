"""The hooks in python-socketio's server, and the names that they use."""
import datetime
import inspect
import logging
import uuid
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional

import pytest
import socketio
from engineio.packet import MESSAGE, Packet as EnginePacket
from engineio.socket import Socket
from flask import Flask, session
from markupsafe import Markup
from socketio.packet import ACK, BINARY_ACK, Packet

from redis_streams_adapter.clients import hooks
from redis_streams_adapter.flask_socketio import SocketIO
from redis_streams_adapter.recovery.session import split_auth

from ...support.wait import wait_until
from ..conftest import Log
from ..fake_server import FakeClient, make_server

SHOWN = {'pid': 'secret-pid', 'offset': '5-0'}


class FakeVisits:
    """Records its calls."""

    def __init__(self) -> None:
        self.calls: List[Any] = []
        #: The pid that clients get with their reply.
        self.pid: Optional[str] = 'secret-pid'
        #: Whether acknowledgements wait.
        self.waits = False
        self.waiting: List[Any] = []
        self.largest = 100

    def begin(self, eio_sid: str, namespace: str, data: Any) -> Any:
        self.calls.append(('begin', namespace, data))
        return SimpleNamespace(auth=split_auth(data)[1], eio_sid=eio_sid)

    def finish(self, visit: Any, done: bool) -> None:
        self.calls.append(('finish', done))

    def reply(self, eio_sid: str, namespace: str) -> Optional[str]:
        self.calls.append(('reply', namespace))
        return self.pid

    def is_turned_away(self, eio_sid: str, namespace: str) -> bool:
        return False

    def send_later(self, eio_sid: str, namespace: str, pkt: Any) -> bool:
        if self.waits:
            self.waiting.append((eio_sid, namespace, pkt))
        return self.waits

    def check_data(self, sid: str, namespace: str, data: Any) -> None:
        self.calls.append(('check', namespace))
        if len(repr(data)) > self.largest:
            raise ValueError('too large')

    def saved(self, sid: str, namespace: str, data: Any) -> None:
        self.calls.append(('saved', sid, namespace))

    def handled(self, sid: str, namespace: str) -> None:
        self.calls.append(('handled', sid, namespace))

    def names(self) -> List[str]:
        return [call[0] for call in self.calls]


@pytest.fixture
def visits() -> FakeVisits:
    return FakeVisits()


@pytest.fixture
def make(visits: FakeVisits) -> Callable[..., socketio.Server]:
    """Makes servers with the hooks. Events are handled by the task that
    receives them."""
    def make_one(**options: Any) -> socketio.Server:
        server = make_server(client_manager=socketio.Manager(), **{
            'async_handlers': False, **options})
        hooks.install(server, visits)
        return server

    return make_one


@pytest.fixture
def server(make: Callable[..., socketio.Server]) -> socketio.Server:
    return make()


ALWAYS = pytest.mark.parametrize('always_connect', [False, True])


# -- the names that the hooks use --------------------------------------------

class Without:
    """A proxy of an object without one of its attributes."""

    def __init__(self, whole: Any, name: str, **instead: Any) -> None:
        self._whole, self._name = whole, name
        self.__dict__.update(instead)

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            raise AttributeError(name)
        return getattr(self._whole, name)


def test_server_has_all_hooked_names() -> None:
    """If this fails, python-socketio has changed: see the module."""
    hooks.check(make_server())
    assert hooks.NEEDED and hooks.NEEDED_OF_ENGINE


@pytest.mark.parametrize('name', hooks.NEEDED)
def test_missing_name_of_server_raises(name: str, visits: FakeVisits) -> None:
    server = make_server()
    lacking = Without(server, name)
    with pytest.raises(RuntimeError) as caught:
        hooks.check(lacking)
    assert str(caught.value).endswith(f'the server has no {name}')
    assert 'python-socketio' in str(caught.value)
    with pytest.raises(RuntimeError):
        hooks.install(lacking, visits)
    assert '_send_packet' not in vars(lacking)


@pytest.mark.parametrize('name', hooks.NEEDED_OF_ENGINE)
def test_missing_name_of_engine_raises(name: str) -> None:
    server = make_server()
    with pytest.raises(RuntimeError) as caught:
        hooks.check(Without(server, '', eio=Without(server.eio, name)))
    assert str(caught.value).endswith(f'the server has no eio.{name}')


def test_many_missing_names_are_listed() -> None:
    server = make_server()
    with pytest.raises(RuntimeError, match='no save_session, eio.sockets'):
        hooks.check(Without(server, 'save_session', eio=Without(
            server.eio, 'sockets')))


def test_connection_has_used_names() -> None:
    """The attributes of a connection that the hooks use."""
    server = make_server()
    sock = Socket(server.eio, 'sid')
    assert not sock.closing and not sock.closed
    assert set(inspect.signature(sock.close).parameters) >= {
        'wait', 'abort', 'reason'}
    assert server.reason.TRANSPORT_CLOSE == 'transport close'


def test_only_instance_is_hooked(server: socketio.Server) -> None:
    for name in ('_handle_connect', '_handle_disconnect', 'disconnect',
                 '_send_packet', '_trigger_event',
                 'save_session'):
        assert name in vars(server)
        assert name not in vars(make_server())


# -- a client connects -------------------------------------------------------

@ALWAYS
@pytest.mark.parametrize('auth, seen', [
    (None, None), (SHOWN, None), ({'pid': 'secret-pid'}, None),
    ({**SHOWN, 'token': 't'}, {'token': 't'}), ({'token': 't'},
                                                {'token': 't'})])
def test_handler_gets_auth_without_recovery_fields(
        make: Callable[..., socketio.Server], visits: FakeVisits,
        always_connect: bool, auth: Any, seen: Any) -> None:
    server, found = make(always_connect=always_connect), []

    @server.on('connect')
    def connect(sid: str, environ: Any, auth: Any = None) -> None:
        found.append(auth)

    client = FakeClient(server, auth=auth)
    assert found == [seen]
    assert visits.calls[0] == ('begin', '/', auth)
    assert client.reply() == {'sid': client.sid, 'pid': 'secret-pid'}
    assert visits.calls[-1] == ('finish', True)
    assert visits.names().count('reply') == 1


@ALWAYS
def test_handler_may_have_two_arguments(make: Callable[..., socketio.Server],
                                        always_connect: bool) -> None:
    server, found = make(always_connect=always_connect), []

    @server.on('connect', namespace='/chat')
    def connect(sid: str, environ: Any) -> None:
        found.append(sid)

    client = FakeClient(server, '/chat', auth=SHOWN)
    assert found == [client.sid_in('/chat')]
    assert client.reply('/chat')['pid'] == 'secret-pid'


@ALWAYS
def test_class_based_namespace_is_hooked(make: Callable[..., socketio.Server],
                                         always_connect: bool) -> None:
    found: List[Any] = []

    class Chat(socketio.Namespace):
        def on_connect(self, sid: str, environ: Any) -> None:
            found.append(('connect', sid))

        def on_hello(self, sid: str, *args: Any) -> None:
            found.append(('hello', *args))

    server = make(always_connect=always_connect)
    server.register_namespace(Chat('/class'))
    client = FakeClient(server, '/class', auth=SHOWN)
    client.emit('hello', 1, namespace='/class')
    assert found == [('connect', client.sid_in('/class')), ('hello', 1)]


def test_client_without_recovery_is_unchanged(
        server: socketio.Server, visits: FakeVisits) -> None:
    visits.pid = None
    client = FakeClient(server)
    assert client.reply() == {'sid': client.sid}


@ALWAYS
def test_refusal_shows_no_pid(make: Callable[..., socketio.Server],
                              visits: FakeVisits,
                              always_connect: bool) -> None:
    server = make(always_connect=always_connect)
    server.on('connect', lambda sid, environ: False)
    client = FakeClient(server, auth=SHOWN)
    assert (client.reply() is None) is not always_connect
    assert 'secret-pid' not in str(client.refusal())
    assert visits.calls[-1] == ('finish', True)


def test_a_namespace_that_is_not_served(server: socketio.Server,
                                        visits: FakeVisits) -> None:
    client = FakeClient(server, '/nobody', auth=SHOWN)
    assert client.refusal('/nobody') == 'Unable to connect'
    assert visits.calls == [('begin', '/nobody', SHOWN), ('finish', True)]


def test_error_of_handler_is_raised(server: socketio.Server,
                                    visits: FakeVisits) -> None:
    @server.on('connect')
    def connect(sid: str, environ: Any) -> None:
        raise KeyError('a defect of the application')

    with pytest.raises(KeyError):
        FakeClient(server, auth=SHOWN)
    assert visits.calls[-1] == ('finish', False)


# -- events ------------------------------------------------------------------

def test_handled_events_are_reported(server: socketio.Server,
                                     visits: FakeVisits) -> None:
    """Each event is reported, with or without a handler, and whatever the
    handler does."""
    @server.on('fails')
    def fails(sid: str) -> None:
        raise KeyError('a defect of the application')

    client = FakeClient(server)
    sid = client.sid
    visits.calls.clear()
    client.emit('hello', 1)
    client.emit('unknown')
    with pytest.raises(KeyError):
        client.emit('fails')
    client.say_goodbye()
    assert visits.calls == [('handled', sid, '/')] * 4


def test_acknowledgements_are_hooked(server: socketio.Server,
                                     visits: FakeVisits) -> None:
    server.on('text', lambda sid: 'answer')
    server.on('binary', lambda sid: b'answer')
    client = FakeClient(server)
    for visits.waits in (False, True):
        client.emit('text', ack_id=1)
        client.emit('binary', ack_id=2)
    assert [packet.packet_type for packet in client.packets()[1:]
            if packet.packet_type in (ACK, BINARY_ACK)][0] == ACK
    assert len(client.socket.packets) == 4
    assert [(eio_sid, namespace, packet.packet_type, packet.data)
            for eio_sid, namespace, packet in visits.waiting] == [
        (client.eio_sid, '/', ACK, ['answer']),
        (client.eio_sid, '/', BINARY_ACK, [b'answer'])]
    # No other packet is held back.
    server.emit('hello', to=client.sid)
    assert client.received('hello') == [()]


# -- user sessions -----------------------------------------------------------

def test_saved_session_is_reported(server: socketio.Server,
                                   visits: FakeVisits) -> None:
    client = FakeClient(server, '/', '/chat')
    visits.calls.clear()
    server.save_session(client.sid, {'a': 1})
    server.save_session(client.sid_in('/chat'), {'b': 2}, namespace='/chat')
    with server.session(client.sid) as kept:
        kept['c'] = 3
    assert server.get_session(client.sid) == {'a': 1, 'c': 3}
    assert server.get_session(client.sid_in('/chat'), '/chat') == {'b': 2}
    assert visits.calls == [
        ('check', '/'), ('saved', client.sid, '/'),
        ('check', '/chat'), ('saved', client.sid_in('/chat'), '/chat'),
        ('check', '/'), ('saved', client.sid, '/')]


def test_too_large_session_raises(server: socketio.Server,
                                  visits: FakeVisits) -> None:
    client = FakeClient(server)
    server.save_session(client.sid, {'a': 1})
    visits.calls.clear()
    with pytest.raises(ValueError, match='too large'):
        server.save_session(client.sid, {'a': 'x' * 200})
    assert server.get_session(client.sid) == {'a': 1}
    assert visits.names() == ['check']


# -- the admin UI ------------------------------------------------------------

@pytest.fixture
def sockets_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """``instrument()`` changes the class of all connections."""
    for name in ('handle_post_request', '_websocket_handler', '_send_ping'):
        monkeypatch.setattr(Socket, name,
                            getattr(Socket, name))


@pytest.mark.usefixtures('sockets_are_restored')
@pytest.mark.parametrize('first', ['hooks', 'instrument'])
def test_hooks_work_with_instrument(visits: FakeVisits, first: str) -> None:
    server = make_server(client_manager=socketio.Manager(),
                         async_handlers=False)
    if first == 'hooks':
        hooks.install(server, visits)
    server.instrument(auth=False)
    if first != 'hooks':
        hooks.install(server, visits)
    admin = FakeClient(server, '/admin', auth={'username': 'x'})
    client = FakeClient(server, auth=SHOWN)
    sid = client.sid
    client.emit('hello', 1)
    client.lose()
    # The UI instruments its own namespace, too.
    assert [len(admin.received(name, '/admin')) for name in (
        'socket_connected', 'event_received', 'socket_disconnected')] == [
            2, 1, 1]
    assert client.reply() == {'sid': sid, 'pid': 'secret-pid'}
    assert visits.calls.count(('handled', sid, '/')) == 3
    assert ('begin', '/', SHOWN) in visits.calls


# -- secrets -----------------------------------------------------------------

def test_log_of_engineio_shows_no_secrets(
        visits: FakeVisits, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger('tests.unit.engineio')
    server = make_server(client_manager=socketio.Manager(),
                         engineio_logger=logger)
    for _ in range(3):
        # Several servers may share a logger.
        hooks.install(server, visits)
    assert sum(isinstance(each, hooks.NoSecrets)
               for each in logger.filters) == 1
    caplog.set_level(logging.DEBUG)
    logger.setLevel(logging.DEBUG)
    sock = Socket(server.eio, 'sid')
    sock.connected = True
    server.eio.sockets['sid'] = sock
    server.eio.handlers['message'] = lambda *_: None
    for data in (
            Packet(data=SHOWN, packet_type=0).encode(),
            Packet(data={'sid': 's', 'pid': 'secret-pid'},
                   packet_type=0, namespace='/chat').encode(),
            '0{"offset": "5-0", "pid" : "secret-pid"}', 'plain', b'bytes'):
        sock.send(EnginePacket(MESSAGE, data))
        sock.receive(EnginePacket(MESSAGE, data))
    text = caplog.text
    assert text.count('packet') >= 10
    assert '5-0' in text and 'plain' in text
    assert 'secret-pid' not in text


@pytest.mark.parametrize('args, expected', [
    (None, None), ((), ()), ({'pid': 1}, {'pid': 1}), ((1, None), (1, None)),
    (('0{"pid":"x","offset":"5-0"}',), ('0{"pid":"...","offset":"5-0"}',)),
    (('2["pid"]', '0{"pid" :\t"x"}'), ('2["pid"]', '0{"pid" :\t"..."}')),
    (('0{"pid":"a\\"b\\\\","x":1}',), ('0{"pid":"...","x":1}',))])
def test_secrets_are_masked(args: Any, expected: Any) -> None:
    record = logging.LogRecord('x', logging.INFO, 'x', 1, 'text', None, None)
    record.args = args
    assert hooks.NoSecrets().filter(record)
    assert record.args == expected


# -- connections -------------------------------------------------------------

def test_closing_connection_is_noticed(server: socketio.Server) -> None:
    client = FakeClient(server)
    assert not hooks.is_closing(server, client.eio_sid)
    assert hooks.is_closing(server, 'nobody')
    client.socket.closing = True
    assert hooks.is_closing(server, client.eio_sid)
    client.socket.closing, client.socket.closed = False, True
    assert hooks.is_closing(server, client.eio_sid)


def test_drop_closes_connection(server: socketio.Server, log: Log) -> None:
    server.on('disconnect', log)
    server.on('disconnect', lambda *args: log('/chat', *args),
              namespace='/chat')
    client = FakeClient(server, '/', '/chat')
    sid, chat = client.sid, client.sid_in('/chat')
    hooks.drop(server, client.eio_sid)
    assert log.calls == [(sid, 'transport close'),
                         ('/chat', chat, 'transport close')]
    assert client.socket.closed
    hooks.drop(server, client.eio_sid)
    hooks.drop(server, 'nobody')
    assert len(log.calls) == 2


def test_drop_does_not_wait_for_client() -> None:
    """A real connection is dropped although its client no longer reads."""
    server = make_server(client_manager=socketio.Manager())
    sock = Socket(server.eio, 'sid')
    sock.connected = True
    server.eio.sockets['sid'] = sock
    server._handle_eio_connect('sid', {})
    server._handle_connect('sid', '/', None)
    assert sock.queue.qsize()
    hooks.drop(server, 'sid')
    assert hooks.is_closing(server, 'sid')
    assert server.manager.sid_from_eio_sid('sid', '/') is None


def test_lose_runs_disconnect_handler(server: socketio.Server,
                                      log: Log) -> None:
    server.on('disconnect', log)
    client = FakeClient(server, '/', '/chat')
    sid = client.sid
    hooks.lose(server, client.eio_sid, '/')
    assert log.calls == [(sid, 'transport close')]
    hooks.lose(server, client.eio_sid, '/')
    assert len(log.calls) == 1
    assert client.sid_in('/chat')


# -- the session that Flask-SocketIO manages ---------------------------------

VALUES: Dict[str, Any] = {
    'text': 'ü\u2603', 'number': 5, 'none': None, 'yes': True,
    'list': [1, [2, {'a': 'b'}]], 'tuple': (1, ('x',)), 'bytes': b'\0\xff',
    'uuid': uuid.UUID(int=7), 'markup': Markup('<b>'),
    'when': datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
    'tagged': {' t': [1]}}


def test_flask_session_is_saved_and_restored() -> None:
    text = hooks.flask_session({'saved_session': VALUES})
    assert isinstance(text, str)
    environ: Dict[str, Any] = {}
    hooks.restore_flask_session(environ, text)
    assert environ['saved_session'] == VALUES
    # Flask-SocketIO takes this session for its own.
    environ['saved_session'].modified = True
    # Another namespace of this connection has already restored it.
    hooks.restore_flask_session(environ, '{"other": 1}')
    assert environ['saved_session'] == VALUES


def test_missing_flask_session_is_none() -> None:
    assert hooks.flask_session({}) is None
    assert hooks.flask_session({'saved_session': {}}) == '{}'


def test_flask_session_without_flask_socketio_is_ignored(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The client may come from a server that has Flask-SocketIO."""
    monkeypatch.delitem(__import__('sys').modules, 'flask_socketio')
    environ: Dict[str, Any] = {}
    hooks.restore_flask_session(environ, '{"a": 1}')
    assert environ == {}


def endless() -> List[Any]:
    value: List[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize('value', [
    object(), {1, 2}, endless(), {('a', 'b'): 1}],
    ids=['object', 'set', 'endless', 'tuple as key'])
def test_unserializable_flask_session_raises(value: Any) -> None:
    with pytest.raises(TypeError):
        hooks.flask_session({'saved_session': {'a': value}})


@pytest.mark.parametrize('text', [
    '', 'x', '[]', '5', 'null', '"a"', '{"a":', '{"a": {" t": 5}}',
    '{"a": {" b": 5}}', '{"a": {" b": "x"}}', '{"a": {" u": 5}}',
    '{"a": {" u": "x"}}', '{"a": {" d": 5}}', '{"a": {" di": 5}}',
    '{"a": {" di": {}}}',
    '[' * 100_000, '{" t": [1]}'], ids=lambda text: text[:20])
def test_invalid_flask_session_is_refused(text: str) -> None:
    """Any program with access to Redis may have written it."""
    environ: Dict[str, Any] = {}
    with pytest.raises(ValueError):
        hooks.restore_flask_session(environ, text)
    assert environ == {}


def test_flask_socketio_uses_restored_session(visits: FakeVisits) -> None:
    app = Flask('tests')
    app.secret_key = 'x'
    socketio_ = SocketIO(app, async_mode='threading', async_handlers=False)
    server, seen = socketio_.server, []
    hooks.install(server, visits)

    @socketio_.on('connect')
    def connect() -> None:
        seen.append(dict(session))

    @socketio_.on('keep')
    def keep(value: Any) -> None:
        session['kept'] = value

    def environ() -> Dict[str, Any]:
        return {'flask.app': app, **app.test_request_context().request.environ}

    first = FakeClient(server, environ=environ())
    first.emit('keep', ['x'])
    text = hooks.flask_session(server.environ[first.eio_sid])
    assert text == '{"kept":["x"]}'
    again = environ()
    hooks.restore_flask_session(again, text)
    second = FakeClient(server, environ=again)
    assert seen == [{}, {'kept': ['x']}]
    second.emit('keep', 'y')
    wait_until(lambda: hooks.flask_session(
        server.environ[second.eio_sid]) == '{"kept":"y"}')
