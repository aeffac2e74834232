"""A single connection and the errors that break it."""
import os
from typing import Any

import pytest
import redis

from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.stream.connection import Connection, Refused, \
    translated
from redis_streams_adapter.stream.topology import Cluster

from ..scripted import Break, replies, ScriptedServers


@pytest.fixture
def servers() -> ScriptedServers:
    return ScriptedServers()


@pytest.fixture
def wire(servers: ScriptedServers) -> Connection:
    wire = Connection(servers.driver(), 'a key', 2.0)
    wire.connect()
    return wire


def test_connect(servers: ScriptedServers, wire: Connection) -> None:
    connection, = servers.connections
    assert (connection.key, connection.timeout) == ('a key', 2.0)
    assert wire.host == 'host of None'


def test_unreachable_server(servers: ScriptedServers) -> None:
    servers.away.append(None)
    with pytest.raises(Unavailable, match='ConnectionError: connection '
                                          'refused') as caught:
        Connection(servers.driver(), '', 1.0).connect()
    assert not caught.value.in_doubt


def test_database_of_a_cluster(servers: ScriptedServers) -> None:
    def connect() -> None:
        raise redis.ResponseError('SELECT is not allowed in cluster mode')

    connection = servers.connection()
    connection.connect = connect  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match=r'redis\+cluster://'):
        Connection(servers.driver(make=lambda timeout, key: connection), '',
                   1.0).connect()


def test_database_of_a_cluster_of_valkey(servers: ScriptedServers) -> None:
    """Also if there are others: Valkey 9 may have several."""
    servers.away.append(None)
    with pytest.raises(Unavailable, match=r'redis\+cluster://'):
        with translated(servers.driver()):
            raise redis.ResponseError('DB index is out of range')


def test_cluster_url_of_a_server_without_cluster(
        servers: ScriptedServers) -> None:
    with pytest.raises(Unavailable, match=r"'\+cluster'"):
        with translated(servers.driver()):
            raise redis.ResponseError(
                'This instance has cluster support disabled')


#: The replies of a member of a cluster to commands for keys of others.
ELSEWHERE = [redis.exceptions.MovedError('1 127.0.0.1:1'),
             redis.ResponseError('MOVED 1 127.0.0.1:1'),
             redis.exceptions.AskError('1 127.0.0.1:1'),
             redis.ResponseError('ASK 1 127.0.0.1:1')]


@pytest.mark.parametrize('error', ELSEWHERE)
def test_key_of_another_member(servers: ScriptedServers,
                               error: Exception) -> None:
    """If the server is named alone, its redirection is of no use."""
    for cluster in None, Cluster(list, lambda: lambda key: None, None):
        wire = Connection(servers.driver(cluster=cluster), '', 1.0)
        wire.connect()
        servers.reply = replies(error)
        with pytest.raises(Refused, match='127.0.0.1:1') as caught:
            wire.ask(b'GET', b'x')
        assert ('redis+cluster://' in str(caught.value)) is (cluster is None)


def test_ask(servers: ScriptedServers, wire: Connection) -> None:
    servers.reply = replies(b'1', [b'2', None])
    assert wire.ask(b'GET', b'x') == b'1'
    assert wire.ask(b'XRANGE') == [b'2', None]
    assert servers.commands() == [(b'GET', b'x'), (b'XRANGE',)]


def test_error_reply_does_not_break_connection(servers: ScriptedServers,
                                               wire: Connection) -> None:
    servers.reply = replies(redis.ResponseError('WRONGTYPE ...'), b'1')
    with pytest.raises(Refused, match='WRONGTYPE'):
        wire.ask(b'GET', b'x')
    assert wire.ask(b'GET', b'y') == b'1'
    assert not servers.connections[0].closed


def test_exchange(servers: ScriptedServers, wire: Connection) -> None:
    """Errors are in the list of replies, at the position of their command."""
    error = redis.ResponseError('ERR')
    servers.reply = replies(b'1', error, b'3')
    assert wire.exchange([(b'A',), (b'B', b'x'), (b'C',)]) == [
        b'1', error, b'3']
    assert servers.commands() == [(b'A',), (b'B', b'x'), (b'C',)]


@pytest.mark.parametrize('call', [
    lambda wire: wire.ask(b'A'),
    lambda wire: wire.exchange([(b'A',), (b'B',)])])
def test_broken_connection_stays_broken(servers: ScriptedServers,
                                        wire: Connection, call: Any) -> None:
    """No command is retried: the result of the last one is unknown."""
    servers.reply = replies(Break(), Break())
    for _ in range(2):
        with pytest.raises(Unavailable):
            call(wire)
    connection, = servers.connections
    assert connection.closed
    assert not any(isinstance(each.command[0], Break)
                   for each in servers.sent)
    assert len(servers.sent) <= 2


def test_ended_connection_is_detected(servers: ScriptedServers,
                                      wire: Connection) -> None:
    """The end is detected while no reply is due."""
    assert not wire.ended
    servers.connections[0].ended = True
    assert wire.ended
    wire.close()
    assert wire.ended


def test_interrupt_ends_the_waiting_task(servers: ScriptedServers,
                                         wire: Connection) -> None:
    """redis-py would otherwise close the parser that the task is using."""
    wire.interrupt()
    # A second interrupt of an ended connection is no error.
    wire.interrupt()
    connection, = servers.connections
    assert connection._sock is not None
    assert connection._sock.ended_by == 'shutdown'
    assert not connection.closed


def test_abandon_keeps_the_parents_connection(servers: ScriptedServers,
                                              wire: Connection) -> None:
    wire.abandon()
    connection, = servers.connections
    assert connection._sock is not None
    assert connection._sock.ended_by == 'close'


def test_closing_before_connecting(servers: ScriptedServers) -> None:
    wire = Connection(servers.driver(), '', 1.0)
    for call in (wire.interrupt, wire.abandon, wire.close):
        call()
    assert wire.ended
    with pytest.raises(Unavailable, match='closed'):
        wire.ask(b'A')


def test_child_process_does_not_use_connection(
        servers: ScriptedServers, wire: Connection,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork copies green threads, which would continue to use it."""
    parent = os.getpid()
    monkeypatch.setattr(os, 'getpid', lambda: parent + 1)
    with pytest.raises(Unavailable):
        wire.ask(b'A')
    assert servers.sent == []


@pytest.mark.parametrize('error', [
    OSError('away'), redis.ConnectionError('away'),
    redis.exceptions.RedisClusterException('away')])
def test_errors_of_a_lookup(servers: ScriptedServers,
                            error: Exception) -> None:
    with pytest.raises(Unavailable, match='away') as caught:
        with translated(servers.driver()):
            raise error
    assert caught.value.__cause__ is error


def test_errors_of_the_package_are_unchanged(servers: ScriptedServers) -> None:
    with pytest.raises(ZeroDivisionError):
        with translated(servers.driver()):
            1 / 0
