"""Sessions while Redis fails, and sessions that cannot be stored."""
import threading
import time
from typing import Any

import pytest

from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.stream.session_store import CHANGED

from ...support.wait import wait_until
from .harness import client_with_offset, emit, lose_session, MakeNode


def test_cut_session_connection_is_renewed(make_node: MakeNode,
                                           redis_server: Any) -> None:
    """An idle server finds its connection for sessions dead."""
    one = make_node()
    client = client_with_offset(one)
    two = make_node()
    two.manager.start()
    # As an idle timeout of the server or of the network does.
    sessions = two.writer.sessions
    wait_until(lambda: sessions.connections)
    sock = sessions._servers._links[None]._connection._sock
    with redis_server.client() as admin:
        admin.client_kill_filter(addr='%s:%d' % sock.getsockname())
    client.lose()
    again = two.client().connect(client.back())
    assert again.sid == client.sid


def test_session_connection_that_fails_is_seen(
        make_redis: Any, make_node: MakeNode, caplog: Any) -> None:
    """Events go on while sessions can be neither read nor written. The health
    and the log say so, and say when it is over."""
    server = make_redis().start()
    one = make_node(server.url)
    client = client_with_offset(one)
    health = one.manager.health
    assert health()['status'] == 'ok'
    sock = one.writer.sessions._servers._links[None]._connection._sock
    with server.client() as admin:
        count = admin.info('clients')['connected_clients']
        admin.config_set('maxclients', count - 1)
        admin.client_kill_filter(addr='%s:%d' % sock.getsockname())
        one.server.enter_room(client.sid, 'room')
        wait_until(lambda: health()['status'] == 'degraded')
        assert health()['connected']
        wait_until(lambda: 'max number of clients' in health()['last_error'])
        emit(one, 'b')
        client.await_names('a', 'b')
        admin.config_set('maxclients', 1000)
        wait_until(lambda: health()['status'] == 'ok')
    lines = [line for line in caplog.messages if 'sessions' in line]
    assert [line for line in lines if 'cannot be used' in line]
    assert [line for line in lines if 'is back' in line]


def test_session_cleared_by_disconnect_handler_is_kept(
        make_node: MakeNode) -> None:
    """The session is stored as it was before the disconnect handler ran."""
    one, two = make_node(), make_node()

    @one.server.event
    def disconnect(sid: str, reason: str) -> None:
        with one.server.session(sid) as session:
            session.clear()

    client = one.client().connect()
    one.server.save_session(client.sid, {'name': 'me'})
    lose_session(one, client)
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    assert two.server.get_session(again.sid) == {'name': 'me'}


def test_unserializable_session_spares_others(make_node: MakeNode) -> None:
    """A session that cannot be serialized, whatever error that raises, does
    not keep the sessions of other clients from being written."""
    one = make_node(recovery={'max_disconnection_duration': 4.0})
    bad, good = one.client().connect(), one.client().connect()
    wait_until(lambda: not one.writer.local.of_pid(good.pid).has_changed)
    circle: Any = {}
    circle['circle'] = circle
    # As Flask-SocketIO keeps it.
    one.server.environ[bad.eio_sid]['saved_session'] = circle
    good_session = one.writer.local.of_pid(good.pid)
    written = good_session.written
    wait_until(lambda: good_session.written > written, 10,
               'the other session to be written again')


def test_client_with_unserializable_session_is_new(
        make_node: MakeNode) -> None:
    """A client returns to the server that still has its session, which
    cannot be serialized: it gets a new session, not silence."""
    one = make_node()
    client = one.client().connect()
    one.server.get_session(client.sid)['lock'] = threading.Lock()
    again = one.client().connect(client.back())
    assert again.sid and again.sid != client.sid
    outcome = one.manager.recovery(again.sid)
    assert outcome is not None and outcome.reason == 'unknown-session'


def test_sessions_survive_full_redis(make_redis: Any, make_node: MakeNode,
                                     caplog: Any) -> None:
    """While Redis refuses writes, the expiry of stored sessions is renewed,
    and the refusal is logged."""
    server = make_redis().start()
    one = make_node(server.url,
                    recovery={'max_disconnection_duration': 3.0})
    client = client_with_offset(one)
    session = one.writer.local.of_pid(client.pid)
    wait_until(lambda: not session.has_changed and session.stored)
    key = 'sio:session:' + client.pid
    with server.client() as admin:
        admin.config_set('maxmemory', 1)
        one.server.enter_room(client.sid, 'room')
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() - begun > 5.0
                   or not admin.exists(key))
        assert admin.exists(key)
        admin.config_set('maxmemory', 0)
        wait_until(lambda: not session.has_changed and session.is_held)
        assert admin.exists(key)
    # Redis 6.2 quotes the refusal in an error of the script.
    assert any('session' in line
               and ('OutOfMemory' in line or 'OOM' in line)
               for line in caplog.messages)


def test_unsent_writes_do_not_accumulate(make_redis: Any,
                                         make_node: MakeNode) -> None:
    """While Redis is away, a session is written again and again. Only the
    values that Redis may have stored are remembered, each once."""
    server = make_redis().start()
    one = make_node(server.url)
    client = one.client().connect()
    session = one.writer.local.of_pid(client.pid)
    wait_until(lambda: not session.has_changed and session.stored)
    server.kill()
    one.server.enter_room(client.sid, 'room')
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 3)
    assert len(session.doubtful) <= 2


def test_client_is_recovered_while_node_reconnects(
        make_node: MakeNode, redis_server: Any) -> None:
    """A client that returns just after the node's connections to Redis were
    cut is recovered, whether or not the node has noticed."""
    one, two = make_node(), make_node()
    client = client_with_offset(one)
    client.lose()
    two.manager.start()
    with redis_server.client() as admin:
        admin.execute_command('CLIENT', 'KILL', 'TYPE', 'normal',
                              'SKIPME', 'yes')
    again = two.client().connect(client.back())
    assert again.sid == client.sid


def test_client_is_recovered_after_flushall(make_redis: Any,
                                            make_node: MakeNode) -> None:
    """Clients that stay connected while Redis loses its data can be
    recovered afterwards."""
    server = make_redis().start()
    if not server.binary.counts_entries:
        pytest.skip('this Redis does not show that its stream is a new one')
    one, two = make_node(server.url), make_node(server.url)
    client = one.client().connect()
    two.manager.start()
    emit(one, 'a')
    client.await_names('a')
    with server.client() as admin:
        admin.flushall()
    emit(two, 'b')
    client.await_names('a', 'b')
    key = 'sio:session:' + client.pid
    with server.client() as admin:
        wait_until(lambda: admin.exists(key))
    client.lose()
    emit(one, 'c')
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('c')


def test_outage_with_many_clients_shares_memory(
        make_redis: Any, make_node: MakeNode) -> None:
    """Events that wait for the end of an outage need no memory for each
    client. A client that is disconnected gets its events at once, the
    others get them after the outage."""
    server = make_redis(append_only=True).start()
    one = make_node(server.url)
    clients = [one.client().connect() for _ in range(20)]
    server.kill()
    names = [f'e{number}' for number in range(500)]
    emit(one, *names[:400])
    one.server.disconnect(clients[0].sid)
    assert clients[0].names() == names[:400]
    emit(one, *names[400:])
    waiting = one.manager._live().delivery('/')._waiting
    lists = {id(load.clients) for each in waiting for load in each.loads}
    assert len(lists) < 250
    server.start()
    for client in clients[1:]:
        client.await_names(*names)


def test_deleted_session_is_written_again(make_redis: Any,
                                          make_node: MakeNode) -> None:
    """On a new connection, a missing session means that Redis was emptied,
    not that another server claimed the session."""
    server = make_redis().start()
    one = make_node(server.url)
    client = one.client().connect()
    session = one.writer.local.of_pid(client.pid)
    wait_until(lambda: session.stored and not session.has_changed)
    key = 'sio:session:' + client.pid
    # As if the reader had not noticed it yet.
    one.writer.history_is_gone = lambda: None
    with server.client() as admin:
        admin.delete(key)
        sock = one.writer.sessions._servers._links[None]._connection._sock
        admin.client_kill_filter(addr='%s:%d' % sock.getsockname())
        one.server.enter_room(client.sid, 'room')
        wait_until(lambda: admin.exists(key))
    assert session.is_held


def test_claim_uses_latest_session(make_node: MakeNode) -> None:
    """A client returns to its server while the session is being written:
    the claim gets the last state of the old connection."""
    one = make_node()
    client = one.client().connect()
    wait_until(lambda: one.writer.local.of_pid(client.pid).stored)
    swap, claims = one.writer.sessions.swap, []

    def late(swaps: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise Unavailable('no reply from Redis in time')
        claims.append(swaps)
        return [CHANGED] if len(claims) == 1 else swap(swaps)

    one.writer.sessions.swap = late
    one.server.enter_room(client.sid, 'late')
    again = one.client().connect({'pid': client.pid})
    assert len(claims) >= 2
    assert again.sid == client.sid
    assert 'late' in one.server.rooms(again.sid)
