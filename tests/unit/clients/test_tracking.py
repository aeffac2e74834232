"""The tracker of local clients and its substitute without recovery have the
same methods."""
import inspect
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.clients.registry import Registry
from redis_streams_adapter.clients.tracking import NoTracking, Tracking
from redis_streams_adapter.protocol.messages import DisconnectSockets, Target
from redis_streams_adapter.recovery.tracker import ClientTracker

from ...support.wait import wait_until
from ..fake_server import FakeClient, make_server

CALLS = [name for name in vars(Tracking) if not name.startswith('_')]


@pytest.mark.parametrize('name', CALLS)
@pytest.mark.parametrize('implementation', [NoTracking, ClientTracker])
def test_tracker_and_null_tracker_have_same_calls(
        implementation: Any, name: str) -> None:
    call = getattr(implementation, name)
    if name == 'namespaces':
        # This is not a method.
        return
    wanted = inspect.signature(getattr(Tracking, name)).parameters
    given = inspect.signature(call).parameters
    assert list(given)[:len(wanted)] == list(wanted)
    assert all(each.default is not each.empty
               for each in list(given.values())[len(wanted):])


def test_client_without_recovery_is_registered(
        make_manager: Callable[..., Any]) -> None:
    """It is registered, and disconnected on request."""
    manager = make_manager()
    server = make_server(client_manager=manager, monitor_clients=False)
    client = FakeClient(server)
    sid = client.sid
    appeared: List[str] = []
    registry: Registry = manager._registry
    tracking = NoTracking(registry, manager._parts.local)
    for nothing in (tracking.entered(sid, '/', 'x'),
                    tracking.left(sid, '/', 'x'), tracking.leave(sid, '/'),
                    tracking.discard('/', (sid, client.eio_sid)),
                    tracking.unregister(sid, '/'),
                    tracking.outcome(sid, '/')):
        assert nothing is None
    assert not tracking.namespaces and not tracking.stats()
    assert not tracking.is_leaving(sid, '/')
    assert tracking.may_unregister(sid, '/')
    other = tracking.admit(client.eio_sid, '/chat', appeared.append)
    assert registry.eio_sid_from_sid(str(other), '/chat') == client.eio_sid
    assert appeared == ['/chat']
    tracking.disconnect('/', DisconnectSockets(Target((sid,)), False))
    wait_until(client.was_disconnected)
