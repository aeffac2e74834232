"""A server of a cluster that was named alone."""
from typing import Any, Callable, List

import pytest
import redis

from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.stream.cluster_mode import ClusterMode
from redis_streams_adapter.stream.connection import Connection
from redis_streams_adapter.stream.driver import open_driver

from ..scripted import Break, replies, ScriptedServers

QUESTION = b'CLUSTER', b'INFO'
INFO = b'cluster_state:ok\r\ncluster_known_nodes:6\r\ncluster_size:%d\r\n'
NO_CLUSTER = redis.ResponseError(
    'ERR This instance has cluster support disabled')


@pytest.fixture
def servers() -> ScriptedServers:
    return ScriptedServers()


@pytest.fixture
def connect(servers: ScriptedServers) -> Callable[[], List[Any]]:
    """Connects, and returns the commands that were sent then."""
    driver = servers.driver(mode=ClusterMode())

    def connect() -> List[Any]:
        servers.sent.clear()
        Connection(driver, 'x', 1.0).connect()
        return servers.commands()

    return connect


def test_masters_of_a_cluster_are_refused(servers: ScriptedServers,
                                          connect: Any) -> None:
    """As long as there is more than one: each connection asks."""
    servers.reply = replies(INFO % 3, INFO % 2, INFO % 1, INFO % 3)
    for count in (3, 2):
        with pytest.raises(Unavailable) as caught:
            connect()
        assert f'{count} masters' in str(caught.value)
        assert 'redis+cluster://' in str(caught.value)
    assert connect() == [QUESTION]
    with pytest.raises(Unavailable):
        connect()


def test_two_connections_at_the_same_time(servers: ScriptedServers) -> None:
    """The second one does not pass while the first one asks."""
    mode = ClusterMode()
    asked = []

    def answer(*command: bytes) -> bytes:
        asked.append(command)
        if len(asked) == 1:
            assert mode.asks
            with pytest.raises(Unavailable):
                mode.examine(answer)
        return INFO % 3

    with pytest.raises(Unavailable):
        mode.examine(answer)
    assert asked == [QUESTION] * 2


@pytest.mark.parametrize('reply', [
    NO_CLUSTER, redis.ResponseError('NOPERM no permission'),
    redis.ResponseError('ERR unknown command')])
def test_other_servers_are_asked_once(servers: ScriptedServers, connect: Any,
                                      reply: Any) -> None:
    servers.reply = replies(reply)
    assert connect() == [QUESTION]
    assert connect() == []


def test_proxy_that_hangs_up_is_asked_once(servers: ScriptedServers,
                                           connect: Any) -> None:
    servers.reply = replies(Break())
    with pytest.raises(Unavailable):
        connect()
    assert connect() == []


@pytest.mark.parametrize('reply', [b'cluster_state:ok\r\n', b'', INFO % 0])
def test_cluster_without_other_masters(servers: ScriptedServers, connect: Any,
                                       reply: bytes) -> None:
    servers.reply = replies(reply)
    assert connect() == [QUESTION]


@pytest.mark.parametrize('url, asks', [
    ('redis://host', True), ('rediss://host', True), ('unix:///s', True),
    (redis.Redis(), True), ('redis+sentinel://host', False),
    ('redis+cluster://host', False)])
def test_which_servers_are_asked(url: Any, asks: bool) -> None:
    assert (open_driver(url, {}, 'x').mode is not None) is asks
