"""Whatever a client does while its CONNECT is not answered: in the end the
client and the server know the same of it, and it gets what is its own."""
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
    """The clients that a server has."""
    return [each['sid'] for each in node.fetch_sockets(
        namespace, local=True)]


def are_of_one_mind(client: JsClient, node: NodeProcess,
                    namespace: str = '/') -> bool:
    """Whether the server has this client, and no other, if it says that it
    is connected, and none if it does not."""
    sid = client.standing(namespace)
    return sids_at(node, namespace) == [sid] * (sid is not None)


def wait_of_one_mind(client: JsClient, node: NodeProcess,
                     namespace: str = '/') -> Optional[str]:
    """Wait until they are.

    :return: the client's sid.
    """
    wait_until(lambda: are_of_one_mind(client, node, namespace),
               what=lambda: f'{sids_at(node, namespace)} to be '
                            f'{client.standing(namespace)}')
    return client.standing(namespace)


def wait_whole(client: JsClient, node: NodeProcess, unique: Unique) -> None:
    """Wait until it is connected to both namespaces, and gets what is
    emitted there now."""
    events = {namespace: unique('event') for namespace in ('/', '/chat')}

    def is_whole() -> bool:
        for namespace, event in events.items():
            if client.standing(namespace) is None or not are_of_one_mind(
                    client, node, namespace):
                return False
            before = client.count(event)
            node.emit(event, namespace=namespace)
            # By the same way as the acknowledgement, which comes behind it.
            node.flush()
            client.call('echo', namespace=namespace)
            if client.count(event) == before:
                return False
        return True

    def look() -> bool:
        with contextlib.suppress(RemoteError):
            # It may be about to lose its connection.
            return is_whole()
        return False

    wait_until(look, what=lambda: (
        f'a whole client; it says that it is {client.standing("/")}, and '
        f'the server has {sids_at(node)}\n{client.story()}'))


def wait_handlers(node: NodeProcess, count: int = 1,
                  namespace: str = '/') -> None:
    """Wait until so many connect handlers have begun."""
    wait_until(lambda: sum(each['namespace'] == namespace for each
                           in node.connected()) >= count,
               what=f'{count} connect handlers')


@RECOVERY
@pytest.mark.parametrize('transport', TRANSPORTS)
@pytest.mark.parametrize('times', [1, 3])
def test_disconnect_and_connect(start: Start, connect_js: ConnectJs,
                                unique: Unique, recovery: Any,
                                transport: str, times: int) -> None:
    """While its connect handler runs."""
    node, = start(1, connection_state_recovery=recovery)
    client = connect_js(node, '/chat', transport=TRANSPORTS[transport],
                        reconnection=True)
    node.refuse('wait')
    client.begin('/')
    wait_handlers(node)
    for _ in range(times):
        client.hurry('/')
    node.refuse(None)
    wait_whole(client, node, unique)


@RECOVERY
def test_redis_does_not_answer(start: Start, connect_js: ConnectJs,
                               make_redis: Callable[..., Any],
                               unique: Unique, recovery: Any) -> None:
    redis = make_redis().start()
    node, = start(1, redis.url, connection_state_recovery=recovery)
    client = connect_js(node, '/chat', reconnection=True)
    sid = client.sid
    redis.freeze()
    client.begin('/')
    client.hurry('/')
    redis.thaw()
    wait_whole(client, node, unique)
    if recovery:
        # It had a session, in the namespace that it was in.
        assert client.standing('/chat') == sid


@RECOVERY
def test_refused_meanwhile(start: Start, connect_js: ConnectJs,
                           unique: Unique, recovery: Any) -> None:
    node, = start(1, connection_state_recovery=recovery)
    client = connect_js(node, '/chat', reconnection=True)
    node.refuse('wait')
    client.begin('/')
    wait_handlers(node)
    client.hurry('/')
    node.refuse('return')
    wait_until(client.errors, what='a refusal')
    assert wait_of_one_mind(client, node) is None
    node.refuse(None)
    client.hurry('/')
    wait_whole(client, node, unique)


@RECOVERY
def test_in_the_words_of_the_protocol(start: Start, unique: Unique,
                                      recovery: Any) -> None:
    """CONNECT and DISCONNECT one behind the other are what they say."""
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
        # And a CONNECT too many ends it.
        client.send_connect({})
        client.wait_ended()
    wait_for_value(lambda: sids_at(node), [], what='the clients')


@RECOVERY
def test_the_connection_is_lost_meanwhile(start: Start, recovery: Any,
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
