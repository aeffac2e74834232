"""What a client does before its CONNECT is answered. In the end the client and
the server agree on its state, and it receives its events."""
import contextlib
from typing import Any, Callable, List, Optional

import pytest

from ..support.controlled import RemoteError
from ..support.js_client import JsClient
from ..support.node_process import NodeProcess
from ..support.raw_client import RawClient
from ..support.wait import wait_for_value, wait_until
from .helpers import ConnectJs, Start, TRANSPORTS, Unique

RECOVERY = pytest.mark.parametrize(
    'recovery', [True, None], ids=['recovery', 'no recovery'])


def sids_at(node: NodeProcess, namespace: str = '/') -> List[str]:
    """The sids of a server's local clients."""
    return [each['sid'] for each in node.fetch_sockets(
        namespace, local=True)]


def do_agree(client: JsClient, node: NodeProcess,
             namespace: str = '/') -> bool:
    """Whether the server has only this client if the client believes that it
    is connected, and otherwise no client."""
    sid = client.connected_sid(namespace)
    return sids_at(node, namespace) == [sid] * (sid is not None)


def wait_agreed(client: JsClient, node: NodeProcess,
                namespace: str = '/') -> Optional[str]:
    """Wait until the client and the server agree.

    :return: the client's sid.
    """
    wait_until(lambda: do_agree(client, node, namespace),
               what=lambda: f'{sids_at(node, namespace)} to be '
                            f'{client.connected_sid(namespace)}')
    return client.connected_sid(namespace)


def wait_working(client: JsClient, node: NodeProcess, unique: Unique) -> None:
    """Wait until a client is connected to both namespaces, and receives what
    is emitted there."""
    events = {namespace: unique('event') for namespace in ('/', '/chat')}

    def is_working() -> bool:
        for namespace, event in events.items():
            if client.connected_sid(namespace) is None or not do_agree(
                    client, node, namespace):
                return False
            before = client.count(event)
            node.emit(event, namespace=namespace)
            # The event takes the same way as the acknowledgement, which
            # comes after it.
            node.flush()
            client.call('echo', namespace=namespace)
            if client.count(event) == before:
                return False
        return True

    def check() -> bool:
        with contextlib.suppress(RemoteError):
            # It may be about to lose its connection.
            return is_working()
        return False

    wait_until(check, what=lambda: (
        f'a working client; its sid is {client.connected_sid("/")}, and '
        f'the server has {sids_at(node)}\n{client.history()}'))


def wait_handlers(node: NodeProcess, count: int = 1,
                  namespace: str = '/') -> None:
    """Wait until that many connect handlers have begun."""
    wait_until(lambda: sum(each['namespace'] == namespace for each
                           in node.connected()) >= count,
               what=f'{count} connect handlers')


@RECOVERY
@pytest.mark.parametrize('transport', TRANSPORTS)
@pytest.mark.parametrize('times', [1, 3])
def test_reconnect_during_the_handler(
        start: Start, connect_js: ConnectJs, unique: Unique, recovery: Any,
        transport: str, times: int) -> None:
    """A client disconnects and connects again while its connect handler
    runs."""
    node, = start(1, connection_state_recovery=recovery)
    client = connect_js(node, '/chat', transport=TRANSPORTS[transport],
                        reconnection=True)
    node.refuse('wait')
    client.begin('/')
    wait_handlers(node)
    for _ in range(times):
        client.reconnect_namespace('/')
    node.refuse(None)
    wait_working(client, node, unique)


@RECOVERY
def test_reconnect_while_redis_is_frozen(
        start: Start, connect_js: ConnectJs, make_redis: Callable[..., Any],
        unique: Unique, recovery: Any) -> None:
    redis = make_redis().start()
    node, = start(1, redis.url, connection_state_recovery=recovery)
    client = connect_js(node, '/chat', reconnection=True)
    sid = client.sid
    redis.freeze()
    client.begin('/')
    client.reconnect_namespace('/')
    redis.thaw()
    wait_working(client, node, unique)
    if recovery:
        # It has kept its session in the namespace that it was in.
        assert client.connected_sid('/chat') == sid


@RECOVERY
def test_refused_after_a_reconnect(start: Start, connect_js: ConnectJs,
                                   unique: Unique, recovery: Any) -> None:
    node, = start(1, connection_state_recovery=recovery)
    client = connect_js(node, '/chat', reconnection=True)
    node.refuse('wait')
    client.begin('/')
    wait_handlers(node)
    client.reconnect_namespace('/')
    node.refuse('return')
    wait_until(client.errors, what='a refusal')
    assert wait_agreed(client, node) is None
    node.refuse(None)
    # The second CONNECT has ended the connection, so that the client may have
    # been refused in the other namespace, too.
    for namespace in ('/', '/chat'):
        if client.connected_sid(namespace) is None:
            client.reconnect_namespace(namespace)
    wait_working(client, node, unique)


@RECOVERY
def test_connect_disconnect_connect_on_one_connection(
        start: Start, unique: Unique, recovery: Any) -> None:
    """The packets are processed in order: the second CONNECT counts."""
    node, = start(1, connection_state_recovery=recovery)
    with RawClient(node.url) as client:
        node.refuse('wait')
        client.send_connect({})
        wait_handlers(node)
        client.send_disconnect()
        client.send_connect({})
        node.refuse(None)
        wait_handlers(node, 2)
        wait_until(lambda: sids_at(node) == [client.wait_reply()['sid']],
                   what='the client of the last reply')
        event = unique('event')
        node.emit(event)
        client.wait_event(event)
        # Another CONNECT ends the connection.
        client.send_connect({})
        client.wait_ended()
    wait_for_value(lambda: sids_at(node), [], what='the clients')


@RECOVERY
def test_connection_is_lost_during_the_handler(start: Start, recovery: Any,
                                               ) -> None:
    node, = start(1, connection_state_recovery=recovery)
    with RawClient(node.url) as client:
        node.refuse('wait')
        client.send_connect({})
        wait_handlers(node)
    node.refuse(None)
    with RawClient(node.url) as other:
        sid = other.connect({})['sid']
        wait_for_value(lambda: sids_at(node), [sid], what='the clients')
    wait_for_value(lambda: node.recorded('disconnect')[-1][1], sid,
                   what='the last that was disconnected')
    assert len(node.recorded('disconnect')) == 2
