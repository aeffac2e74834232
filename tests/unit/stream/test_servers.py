"""Keys are on several servers: each command is sent to its key's server."""
from typing import Any, Callable, Dict, List

import pytest
import redis
from redis.exceptions import AskError, MovedError, ReadOnlyError, \
    TryAgainError

from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.stream.servers import Servers
from redis_streams_adapter.stream.topology import Cluster

from ..scripted import Break, ScriptedServers


class FakeCluster(ScriptedServers):
    """A cluster whose keys may move."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        #: The server of each key, and the server that the client knows.
        self.places: Dict[str, Any] = {}
        self.known: Dict[str, Any] = {}
        #: The error of a server that does not have the key.
        self.error: Callable[[str, Any], Exception] = \
            lambda key, place: MovedError(f'1 {place}:1')
        #: The number of times that the client has asked for the servers.
        self.looks = 0
        #: The servers that received ASKING before the next command.
        self.asking: List[Any] = []

    def answer(self, place: Any, command: Any) -> Any:
        if command[0] == b'ASKING':
            self.asking.append(place)
            return b'OK'
        key = command[1].decode()
        if place in self.asking:
            self.asking.remove(place)
        elif self.places[key] != place:
            return self.error(key, self.places[key])
        return f'{key} at {place}'.encode()

    def look(self) -> Callable[[str], Any]:
        self.looks += 1
        self.known = dict(self.places)
        known = self.known
        return lambda key: known.get(key, 'a')

    def servers(self) -> Servers:
        return Servers(self.driver(
            make=lambda timeout, key: self.connection(
                self.known.get(key, 'a'), timeout, key),
            cluster=Cluster(
                lambda: [], self.look,
                lambda timeout, address: self.connection(
                    address[0], timeout))))


@pytest.mark.parametrize('error', [
    MovedError('1 127.0.0.1:1'), redis.ResponseError('MOVED 1 127.0.0.1:1'),
    AskError('1 127.0.0.1:1'), redis.ResponseError('ASK 1 127.0.0.1:1')])
def test_member_of_a_cluster_that_is_named_alone(error: Exception) -> None:
    """It has only some of the keys. Where the others are is not looked up."""
    alone = ScriptedServers(lambda place, command: error)
    servers = Servers(alone.driver())
    servers.open()
    with pytest.raises(Unavailable, match=r'redis\+cluster://'):
        servers.carry_out([('x', (b'GET', b'x'))])
    assert alone.commands() == [(b'GET', b'x')]


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    cluster.places = {'x': 'a', 'y': 'b', 'z': 'a'}
    return cluster


def get(*keys: str) -> Any:
    return [(key, (b'GET', key.encode())) for key in keys]


def test_one_server() -> None:
    scripted = ScriptedServers(lambda place, command: command[1])
    servers = Servers(scripted.driver())
    servers.open()
    assert servers.carry_out(get('x', 'y', 'x')) == [b'x', b'y', b'x']
    assert len(scripted.connections) == 1
    assert servers.connections == 1


def test_each_command_is_sent_to_its_server(cluster: FakeCluster) -> None:
    servers = cluster.servers()
    servers.open()
    assert servers.carry_out(get('x', 'y', 'z', 'y')) == [
        b'x at a', b'y at b', b'z at a', b'y at b']
    # One connection and one pipeline for each server.
    assert [each.place for each in cluster.connections] == ['a', 'b']
    assert [each.place for each in cluster.sent] == ['a', 'a', 'b', 'b']
    assert cluster.looks == 1


def test_error_reply_affects_only_its_command(cluster: FakeCluster) -> None:
    error = redis.ResponseError('WRONGTYPE')
    cluster.reply = lambda place, command: \
        error if command[1] == b'y' else cluster.answer(place, command)
    servers = cluster.servers()
    servers.open()
    assert servers.carry_out(get('x', 'y', 'z')) == [
        b'x at a', error, b'z at a']


@pytest.mark.parametrize('error', [
    lambda key, place: MovedError(f'1 {place}:1'),
    lambda key, place: TryAgainError('multiple keys'),
    # redis-py 5.0 has this form.
    lambda key, place: redis.ResponseError(f'MOVED 1 {place}:1')])
def test_keys_that_have_moved(cluster: FakeCluster, error: Any) -> None:
    servers = cluster.servers()
    servers.open()
    cluster.error = error
    cluster.places['y'] = 'c'
    assert servers.carry_out(get('x', 'y', 'z')) == [
        b'x at a', b'y at c', b'z at a']
    assert cluster.looks == 2
    # Only the refused command is sent again.
    assert [each.command[1] for each in cluster.sent].count(b'x') == 1
    assert servers.carry_out(get('y')) == [b'y at c']
    assert cluster.looks == 2


@pytest.mark.parametrize('error', [
    lambda key, place: AskError(f'1 {place}:1'),
    lambda key, place: redis.ResponseError(f'ASK 1 {place}:1')])
def test_keys_that_are_moving(cluster: FakeCluster, error: Any) -> None:
    """The other server is used only for this command. The table does not
    change."""
    servers = cluster.servers()
    servers.open()
    cluster.error = error
    cluster.places.update(y='c', z='c')
    assert servers.carry_out(get('x', 'y', 'z')) == [
        b'x at a', b'y at c', b'z at c']
    assert cluster.looks == 1
    asked = [each.command[0] for each in cluster.sent if each.place == 'c']
    assert asked == [b'ASKING', b'GET', b'ASKING', b'GET']


@pytest.mark.parametrize('error', [
    ReadOnlyError('a replica'), redis.ResponseError('READONLY a replica'),
    redis.ResponseError('CLUSTERDOWN no'),
    redis.ResponseError('MASTERDOWN no')])
def test_deposed_master(error: Exception) -> None:
    """Its reply is invalid, so another server has to be found."""
    servers = Servers(ScriptedServers(lambda *_: error).driver())
    servers.open()
    with pytest.raises(Unavailable):
        servers.carry_out(get('x'))


def test_ended_connection_is_replaced(cluster: FakeCluster) -> None:
    """The new connection is counted, because the server may have lost data."""
    servers = cluster.servers()
    servers.open()
    servers.carry_out(get('x', 'y'))
    assert servers.connections == 1
    cluster.connections[1].ended = True
    assert servers.carry_out(get('x', 'y')) == [b'x at a', b'y at b']
    assert servers.connections == 2
    assert cluster.connections[1].closed


def test_connection_that_breaks(cluster: FakeCluster) -> None:
    """No command is sent twice."""
    servers = cluster.servers()
    servers.open()
    cluster.reply = lambda *_: Break()
    with pytest.raises(Unavailable):
        servers.carry_out(get('x', 'z'))
    assert len(cluster.sent) == 2


def test_unreachable_server(cluster: FakeCluster) -> None:
    servers = cluster.servers()
    servers.open()
    cluster.away.append('b')
    with pytest.raises(Unavailable):
        servers.carry_out(get('y'))


def test_servers_of_keys_cannot_be_determined(cluster: FakeCluster) -> None:
    def look() -> Any:
        raise redis.ConnectionError('no server answers')

    servers = Servers(cluster.driver(cluster=Cluster(
        lambda: [], look, lambda timeout, address: cluster.connection())))
    with pytest.raises(Unavailable, match='no server answers'):
        servers.open()


@pytest.mark.parametrize('call, ended_by', [
    (Servers.interrupt, 'shutdown'), (Servers.abandon, 'close')])
def test_all_connections_are_ended(cluster: FakeCluster, call: Any,
                                   ended_by: str) -> None:
    servers = cluster.servers()
    servers.open()
    servers.carry_out(get('x', 'y'))
    call(servers)
    assert [each._sock and each._sock.ended_by
            for each in cluster.connections] == [ended_by] * 2
    servers.close()
    assert all(each.closed for each in cluster.connections)
