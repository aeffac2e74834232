"""PUB/SUB in memory, on connections as redis-py has them."""
from typing import Any

import pytest
import redis

from redis_streams_adapter.testing.pubsub import FakePubSub


@pytest.fixture
def server() -> FakePubSub:
    return FakePubSub()


def connect(server: FakePubSub, timeout: float = 0.01) -> Any:
    connection = server.driver().make(timeout, 'a key')
    connection.connect()
    return connection


def send(connection: Any, *commands: Any) -> None:
    connection.send_packed_command([
        packed for command in commands
        for packed in connection.pack_command(*command)])


def test_subscriber_gets_published_message(server: FakePubSub) -> None:
    listener, publisher = connect(server), connect(server)
    send(listener, (b'SUBSCRIBE', b'a', b'b'), (b'SSUBSCRIBE', b'a'))
    assert [listener.read_response() for _ in range(3)] == [
        [b'subscribe', b'a', 1], [b'subscribe', b'b', 2],
        [b'ssubscribe', b'a', 3]]
    send(publisher, (b'PUBLISH', b'a', b'1'), (b'SPUBLISH', b'a', b'2'),
         (b'PUBLISH', b'c', b'3'))
    assert [publisher.read_response() for _ in range(3)] == [1, 1, 0]
    assert [listener.read_response() for _ in range(2)] == [
        [b'message', b'a', b'1'], [b'smessage', b'a', b'2']]
    assert not listener.can_read(0)


def test_subscribers_are_counted(server: FakePubSub) -> None:
    listener, other = connect(server), connect(server)
    send(listener, (b'SUBSCRIBE', b'a'))
    send(other, (b'PUBSUB', b'NUMSUB', b'a', b'b'),
         (b'PUBSUB', b'SHARDNUMSUB', b'a'))
    assert other.read_response() == [b'a', 1, b'b', 0]
    assert other.read_response() == [b'a', 0]
    assert server.listening('a') == 1
    send(listener, (b'UNSUBSCRIBE', b'a'))
    assert server.listening('a') == 0


def test_ended_connection_has_no_subscriptions(server: FakePubSub) -> None:
    connection = connect(server)
    send(connection, (b'SUBSCRIBE', b'a'))
    server.break_all()
    # What had arrived can still be read.
    assert connection.read_response() == [b'subscribe', b'a', 1]
    with pytest.raises(redis.ConnectionError):
        connection.read_response()
    with pytest.raises(redis.ConnectionError):
        send(connection, (b'PING',))
    assert server.listening('a') == 0
    assert server.connections == []


def test_server_that_is_away_refuses(server: FakePubSub) -> None:
    server.away = True
    with pytest.raises(redis.ConnectionError):
        connect(server)
    server.away = False
    connect(server)


def test_frozen_server_does_not_answer(server: FakePubSub) -> None:
    connection = connect(server)
    server.frozen = True
    send(connection, (b'PING',))
    with pytest.raises(redis.TimeoutError):
        connection.read_response()


def test_error_reply_is_raised(server: FakePubSub) -> None:
    server.errors[b'PUBLISH'] = redis.ResponseError('NOPERM')
    connection = connect(server)
    send(connection, (b'PUBLISH', b'a', b'1'), (b'PING',))
    with pytest.raises(redis.ResponseError, match='NOPERM'):
        connection.read_response()
    assert connection.read_response() == b'PONG'


def test_sent_commands_are_recorded(server: FakePubSub) -> None:
    connection = connect(server)
    send(connection, (b'PING',), (b'PUBLISH', b'a', b'1'))
    assert server.commands(b'PUBLISH') == [
        ('a key', (b'PUBLISH', b'a', b'1'))]
    assert len(server.commands(b'PING', b'PUBLISH')) == 2


def test_cluster_has_servers(server: FakePubSub) -> None:
    assert server.driver().cluster is None
    cluster = server.driver(cluster=True).cluster
    assert cluster is not None
    (address,), replicas = cluster.servers()
    assert replicas == []
    connection = cluster.connect(1.0, address)
    connection.connect()
    assert server.connections == [connection]
