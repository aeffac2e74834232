"""The parts of a manager, and their connections."""
import threading
from typing import Any, Callable, List, Mapping

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.clients.direct_delivery import DirectDelivery
from redis_streams_adapter.clients.tracking import NoTracking
from redis_streams_adapter.concurrency.engines import ServerEngine, \
    ThreadEngine
from redis_streams_adapter.recovery.deliveries import StreamOrderDeliveries
from redis_streams_adapter.recovery.tracker import ClientTracker

from .fake_server import DateJSON, FakeClient, make_server

MakeManager = Callable[..., RedisStreamsManager]


def test_without_recovery(make_manager: MakeManager) -> None:
    manager = make_manager()
    make_server(client_manager=manager)
    parts = manager._parts
    assert isinstance(parts.tracking, NoTracking)
    assert parts.tracker is None
    assert isinstance(manager._live().deliveries, DirectDelivery)


def test_with_recovery(make_manager: MakeManager) -> None:
    manager = make_manager(connection_state_recovery=True)
    make_server(client_manager=manager)
    parts = manager._parts
    assert isinstance(parts.tracking, ClientTracker)
    assert parts.tracking is parts.tracker is parts._incoming.tracking
    assert isinstance(manager._live().deliveries, StreamOrderDeliveries)


@pytest.mark.parametrize('options, has_server', [
    ({'write_only': True}, True), ({}, False)])
def test_recovery_needs_clients(make_manager: MakeManager,
                                options: Mapping[str, Any],
                                has_server: bool) -> None:
    manager = make_manager(connection_state_recovery=True, **options)
    if has_server:
        make_server(client_manager=manager)
    assert isinstance(manager._parts.tracking, NoTracking)
    assert isinstance(manager._live().deliveries, DirectDelivery)
    assert manager._outgoing.local is None


def test_emit_before_there_is_a_server(make_manager: MakeManager) -> None:
    """The runtime of that emit delivers to clients that connect later."""
    manager = make_manager()
    manager.emit('early', None)
    server = make_server(client_manager=manager, monitor_clients=False)
    client = FakeClient(server)
    manager.emit('late', None)
    assert client.received('late') == [()]
    assert client.received('early') == []


@pytest.mark.parametrize('recovery', [None, True])
def test_server_that_is_created_while_another_task_emits_first(
        make_manager: MakeManager, recovery: Any) -> None:
    """The server's clients get events, whichever is first."""
    manager = make_manager(connection_state_recovery=recovery)
    lifecycle = manager._lifecycle
    make = lifecycle._make_runtime
    servers: List[Any] = []
    creating = threading.Thread(target=lambda: servers.append(
        make_server(client_manager=manager, monitor_clients=False)))

    def make_slowly(former: Any) -> Any:
        runtime = make(former)
        creating.start()
        # The server waits for this runtime, so this wait times out.
        creating.join(0.2)
        return runtime

    lifecycle._make_runtime = make_slowly
    manager.emit('early', None)
    creating.join()
    manager.start()
    client = FakeClient(servers[0])
    manager.emit('late', None)
    client.wait_for('late')


def test_first_emit_while_server_is_constructed(
        make_manager: MakeManager) -> None:
    """By another task. The server has no ``async_mode`` yet."""
    manager: Any = make_manager()
    set_server = manager.set_server

    def set_and_emit(server: Any) -> None:
        set_server(server)
        assert not hasattr(server, 'async_mode')
        manager.emit('early', None)

    manager.set_server = set_and_emit
    make_server(client_manager=manager)
    assert isinstance(manager._live().engine, ServerEngine)


def test_tasks_are_those_of_the_server(make_manager: MakeManager) -> None:
    """A process without clients uses threads."""
    served, emitter, alone = make_manager(), make_manager(
        write_only=True), make_manager()
    for manager in (served, emitter):
        make_server(client_manager=manager)
    assert isinstance(served._live().engine, ServerEngine)
    for manager in (emitter, alone):
        assert isinstance(manager._live().engine, ThreadEngine)


def test_name_shown_by_python_socketio(make_manager: MakeManager) -> None:
    manager = make_manager()
    uid = manager.uid
    assert manager.host_id == uid


def test_json_module(make_manager: MakeManager) -> None:
    """The option comes first, then the server's module, then Python's."""
    given, of_server, alone = make_manager(
        json=DateJSON), make_manager(), make_manager()
    for manager in (given, of_server):
        make_server(client_manager=manager)
    packet_class: Any = of_server.server.packet_class
    assert given._parts._json_module() is DateJSON
    assert of_server._parts._json_module() is packet_class.json
    assert alone._parts._json_module().__name__ == 'json'
