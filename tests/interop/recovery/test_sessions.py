"""Sessions in the format that Node.js writes."""
from typing import Any, Dict

import msgpack
import pytest

from ...support.returning_client import ReturningClient
from ...support.wait import wait_for_value, wait_until
from ...support.wire_format import write_session
from ..helpers import Server, Unique
from ..moving_client import RecoveryCluster
from .harness import ConnectJs, entry_id


def store(cluster: RecoveryCluster, key: str, **session: Any) -> None:
    """Store a session as a server in Node.js does.

    :param key: the pid that a client sends to get the session back.
    """
    write_session(cluster.redis, cluster.key(key), {'pid': key, **session},
                  px=60_000)


def emit_first(cluster: RecoveryCluster, event: str) -> str:
    """Emit an event that all clients receive.

    :return: its offset.
    """
    cluster.python.emit(event)
    for witness in cluster.witnesses:
        witness.wait_for(event)
    return entry_id(cluster, event)


def claim(client: ReturningClient, server: Server, pid: str,
          offset: str) -> bool:
    """Connect with this pid and offset.

    :return: whether the server has recovered the session.
    """
    client.pids['/'], client.offsets['/'] = pid, offset
    client.connect(server.url)
    return client.recovered['/']


def test_session_is_recovered(
        cluster: RecoveryCluster, stranger: ReturningClient,
        unique: Unique) -> None:
    """Rooms in Node.js may be numbers."""
    pid, sid, room = unique('pid'), unique('sid'), unique('room')
    event = unique('event')
    offset = emit_first(cluster, unique('known'))
    store(cluster, pid, sid=sid, rooms=[sid, room, 7],
          data={'user': 'by hand'})
    missed = [{'to': room}, {'to': 7}, {'to': sid}, {}]
    for number, where in enumerate(missed):
        cluster.other_python.emit(event, number, **where)
    cluster.python.emit(event, 'lost', to=unique('room'))
    cluster.python.emit(event, 'lost', skip_sid=room)
    assert claim(stranger, cluster.python, pid, offset)
    assert stranger.sid == sid
    assert stranger.pids['/'] == pid
    for number, where in enumerate(missed):
        cluster.js.emit(event, len(missed) + number,
                        **({'to': [7]} if where == {'to': 7} else where))
    received = stranger.wait_for(event, 2 * len(missed))
    assert [args[0] for args in received] == list(range(2 * len(missed)))
    found, = cluster.js.fetch_sockets(to=sid)
    assert found['data'] == {'user': 'by hand'}
    assert {*found['rooms']} == {sid, room, 7}


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


#: Changes that make a session unusable for a server in Python.
INVALID: Dict[str, Any] = {
    'too large': {'data': {'text': 'x' * 100_000}},
    'too deep': {'data': nested(500)},
    'unknown type': {'data': {'value': msgpack.ExtType(42, b'x')}},
    'no sid': {'sid': None},
    'sid is a number': {'sid': 7},
    'empty sid': {'sid': ''},
    'another pid': {'pid': 'another'},
    'rooms is text': {'rooms': 'room'},
    'rooms of lists': {'rooms': [['room']]},
}


@pytest.mark.parametrize('changes', INVALID.values(), ids=INVALID)
def test_invalid_session(
        cluster: RecoveryCluster, stranger: ReturningClient, unique: Unique,
        changes: Dict[str, Any]) -> None:
    """The client is connected as a new one, and nothing hangs."""
    pid, sid, event = unique('pid'), unique('sid'), unique('event')
    offset = emit_first(cluster, unique('known'))
    store(cluster, pid, **{
        'sid': sid, 'rooms': [sid], 'data': {}, 'pid': pid, **changes})
    assert not claim(stranger, cluster.python, pid, offset)
    assert stranger.sid != sid
    connected = cluster.python.connected(stranger.sid)[-1]
    assert connected['environ'] == [False, 'unknown-session']
    assert connected['session'] == {}
    cluster.js.emit(event, 1, to=stranger.sid)
    stranger.wait_for(event)


@pytest.mark.parametrize('data', ['text', [1, 2], 0.5, True],
                         ids=['text', 'list', 'number', 'boolean'])
def test_data_that_are_no_mapping(
        cluster: RecoveryCluster, connect_js: ConnectJs, unique: Unique,
        data: Any) -> None:
    """In Node.js any value can be assigned to ``socket.data``."""
    client, event = connect_js(cluster.js), unique('event')
    cluster.js.save_session(client.sid, data)
    cluster.js.emit(event)
    client.wait_for(event)
    sid = client.sid
    client.drop()
    cluster.wait_session(client.state()[0], data)
    connect, = client.move(cluster.python.url)
    assert connect.recovered
    assert client.sid == sid
    assert client.call('echo', 1) == 1
    assert cluster.python.invoke('server', 'get_session', sid) == data


def test_takeover_from_node(
        cluster: RecoveryCluster, stranger: ReturningClient,
        connect_js: ConnectJs, unique: Unique) -> None:
    """A session is claimed while a server in Node.js still has its client.
    That server disconnects the client, and does not change the session."""
    event, room = unique('event'), unique('room')
    old = connect_js(cluster.js)
    sid = old.sid
    offset = emit_first(cluster, unique('known'))
    pid = old.state()[0]
    store(cluster, pid, sid=sid, rooms=[sid, room],
          data={'by': 'hand'})
    assert claim(stranger, cluster.python, pid, offset)
    assert stranger.sid == sid
    old.wait_disconnected()
    wait_for_value(lambda: [
        reason for _, gone, reason in cluster.js.recorded('disconnect')
        if gone == sid], ['server namespace disconnect'],
        what='the end of the old connection')
    for server in cluster.servers:
        assert [each['sid'] for each in server.fetch_sockets(to=sid)] == [sid]
        server.emit(event, to=sid)
    assert len(stranger.wait_for(event, 4)) == 4
    assert old.count(event) == 0
    # On to the server that had the old connection, and back.
    for home in ('js', 'python'):
        stranger.drop()
        wait_until(lambda: cluster.at(home).fetch_sockets(
            to=sid) == [], what='the end of the connection')
        cluster.wait_session(pid)
        stranger.connect(cluster.at(home).url)
        assert stranger.recovered['/']
        assert stranger.sid == sid
        assert cluster.at(home).connected(sid)[-1]['session'] == {
            'by': 'hand'}
