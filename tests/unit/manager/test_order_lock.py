"""No code of the application runs under the order lock, and what waits for
the stream is bounded."""
import json
import logging
from typing import Any, Callable, Dict, List

import pytest

from redis_streams_adapter import OutboxFullError
from redis_streams_adapter.cluster.pubsub import PubSub
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.events import Act
from redis_streams_adapter.protocol.messages import Broadcast, EVERYONE
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry
from redis_streams_adapter.testing.stream import FakeStream

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..nodes import Node

MakeNode = Callable[..., Node]

#: Recovery off and on.
RECOVERY: List[Dict[str, Any]] = [{}, {'connection_state_recovery': True}]
IDS = ['plain', 'recovery']


class Watch:
    """Notes the calls that run while this task holds the order lock."""

    def __init__(self) -> None:
        self.manager: Any = None
        self.under: List[str] = []
        self.count = 0

    def __call__(self, what: str) -> None:
        runtime = self.manager and self.manager._lifecycle.current
        if runtime is not None:
            self.count += 1
            if runtime.order._is_owned():
                self.under.append(what)


class Watched:
    """A JSON module of an application."""

    loads = staticmethod(json.loads)
    watch: Watch

    @classmethod
    def dumps(cls, value: Any, **kwargs: Any) -> str:
        cls.watch(f'dumps {value}')
        return json.dumps(value, **kwargs)


class Handler(logging.Handler):
    """A log handler of an application."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch
        self.lines: List[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.watch(f'log {record.getMessage()}')


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.mark.usefixtures('default_json_module')
@pytest.mark.parametrize('options', RECOVERY, ids=IDS)
def test_json_module_and_log_run_without_lock(
        make_node: MakeNode, watch: Watch, options: Dict[str, Any]) -> None:
    Watched.watch = watch
    handler = Handler(watch)
    log = logging.getLogger('tests.unit.engineio')
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        nodes = [make_node({'json': Watched, 'engineio_logger': log},
                           **options) for _ in range(2)]
        for node in nodes:
            node.manager.start()
        here, there = nodes
        wait_for_value(lambda: here.manager.server_count(), 2)
        watch.manager = here.manager
        client = here.connect()
        answers: List[Any] = []
        here.server.emit('own', {'a': 1})
        client.wait_for('own')
        there.server.emit('other', {'a': 2})
        client.wait_for('other')
        here.server.emit('local', {'a': 3}, ignore_queue=True)
        client.wait_for('local')
        here.server.emit('asked', {'a': 4}, to=client.sid,
                         callback=lambda *args: answers.append(args))
        client.wait_for('asked')
        there.server.emit('asked too', {'a': 5}, callback=answers.append)
        client.wait_for('asked too')
        here.server.enter_room(client.sid, 'x')
        here.server.close_room('x')
        here.manager.sockets_join('y', to=client.sid)
        assert here.manager.flush(DEADLINE)
    finally:
        log.removeHandler(handler)
    assert watch.count
    assert watch.under == []
    for name in ('own', 'other', 'local', 'asked', 'asked too'):
        assert sum('Sending packet MESSAGE' in line and f'"{name}"' in line
                   for line in list(handler.lines)) == 1


@pytest.mark.parametrize('limits', [
    {'outbox_limit': 10}, {'outbox_max_bytes': 12_000}], ids=str)
@pytest.mark.parametrize('how', ['ignore_queue', 'callback'])
def test_waiting_local_deliveries_count_against_limits(
        make_node: MakeNode, stream: FakeStream, limits: Dict[str, int],
        how: str) -> None:
    node = make_node(connection_state_recovery=True, **limits)
    node.manager.start()
    client = node.connect()
    assert node.manager.flush(DEADLINE)
    stream.freeze()
    node.server.emit('first')
    accepted = 0
    with pytest.raises(OutboxFullError):
        while accepted < 1000:
            if how == 'callback':
                node.server.emit('local', accepted, to=client.sid,
                                 callback=lambda *args: None)
            else:
                node.server.emit('local', accepted, ignore_queue=True)
            accepted += 1
    assert 0 < accepted < 40
    # What is emitted shares the limits with it.
    with pytest.raises(OutboxFullError):
        for _ in range(40):
            node.server.emit('too much')
    assert node.manager.stats()['outbox'] >= accepted
    assert client.received('local') == []
    stream.thaw()
    client.wait_for('local', accepted)
    wait_until(lambda: node.manager.stats()['outbox'] == 0)
    wait_until(lambda: node.manager.stats()['outbox_bytes'] == 0)
    assert node.open_acks == (accepted if how == 'callback' else 0)
    node.server.emit('last', ignore_queue=True)
    client.wait_for('last')


def test_close_gives_share_back(make_node: MakeNode,
                                stream: FakeStream) -> None:
    node = make_node(connection_state_recovery=True)
    node.manager.start()
    node.connect()
    assert node.manager.flush(DEADLINE)
    stream.freeze()
    node.server.emit('first')
    node.server.emit('local', ignore_queue=True)
    runtime = node.manager._live()
    shares = runtime.delivery('/')._events.shares
    assert len(shares) == 1
    node.manager.close(timeout=0.1)
    assert len(shares) == 0
    stream.thaw()


def test_unencodable_event_is_stored(make_node: MakeNode) -> None:
    """It is recorded: other nodes may be able to encode it."""
    node = make_node(connection_state_recovery=True)
    node.manager.start()
    node.connect()
    delivery: Any = node.manager._live().delivery('/')

    def encode(*args: Any) -> Any:
        raise TypeError

    delivery._local.encode = encode
    position = delivery.position
    message = Broadcast(('x',), EVERYONE)
    at = Position(position.milliseconds + 1000)
    with pytest.raises(TypeError):
        delivery.received(Entry(at, Encoder('u').encode('/', message)),
                          Act('/', 'u', message))
    assert delivery.history.has('/', at)


def test_full_outbox_refuses_call_over_pubsub(
        make_node: MakeNode, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is sent to no other server."""
    sent: List[Any] = []
    monkeypatch.setattr(PubSub, '_publish', lambda *args: sent.append(args))
    node = make_node(connection_state_recovery=True, outbox_limit=10,
                     request_transport='pubsub')
    node.manager.start()
    client = node.connect()
    assert node.manager.flush(DEADLINE)
    stream.freeze()
    node.server.emit('first')
    accepted = 0
    with pytest.raises(OutboxFullError):
        while accepted < 1000:
            node.server.emit('asked', callback=lambda *args: None)
            accepted += 1
    assert 0 < accepted < 10
    assert len(sent) == accepted
    stream.thaw()
    client.wait_for('asked', accepted)
    assert node.open_acks == accepted


def test_emits_of_hooks_are_logged_without_lock(
        make_node: MakeNode, watch: Watch) -> None:
    """As the admin UI of python-socketio does."""
    handler, log = Handler(watch), logging.getLogger('tests.unit.admin')
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        node = make_node({'engineio_logger': log})
        node.manager.start()
        manager: Any = node.manager
        node.connect()

        def emits(method: Callable[..., Any]) -> Callable[..., Any]:
            def replaced(sid: str, namespace: str, room: Any,
                         *args: Any, **kwargs: Any) -> None:
                method(sid, namespace, room, *args, **kwargs)
                manager.emit(method.__name__, room, namespace)

            return replaced

        for name in ('basic_enter_room', 'basic_leave_room'):
            setattr(manager, name, emits(getattr(manager, name)))
        watch.manager = manager
        client = node.connect()
        sid = client.sid
        assert sum(f'["basic_enter_room","{sid}"]' in line
                   for line in handler.lines) == 2
        client.leave()
        assert any(f'["basic_leave_room","{sid}"]' in line
                   for line in handler.lines)
    finally:
        log.removeHandler(handler)
    assert watch.under == []
