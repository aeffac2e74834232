"""Sessions, whatever becomes of Redis and of what is kept in them."""
import threading
import time
from typing import Any

import pytest

from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.stream.session_store import CHANGED

from ...support.recovering import RecoveringNode
from ...support.wait import wait_until
from .harness import emit, Make


def test_cut_session_connection_is_renewed(node: Make,
                                           redis_server: Any) -> None:
    """A server that was idle finds its connection for sessions dead."""
    one = node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    two = node()
    two.manager.start()
    # As a time limit of the server's or of the network's does it.
    sessions = two.keeper.sessions
    wait_until(lambda: sessions.connections)
    sock = sessions._servers._links[None]._connection._sock
    with redis_server.client() as admin:
        admin.client_kill_filter(addr='%s:%d' % sock.getsockname())
    client.lose()
    again = two.client().connect(client.back())
    assert again.sid == client.sid


def test_session_cleared_by_disconnect_handler_is_kept(node: Make) -> None:
    """What a disconnect handler clears away is kept all the same."""
    one, two = node(), node()

    @one.server.event
    def disconnect(sid: str, reason: str) -> None:
        with one.server.session(sid) as session:
            session.clear()

    client = one.client().connect()
    one.server.save_session(client.sid, {'name': 'me'})
    client.lose()
    wait_until(lambda: one.keeper.local.of_pid(client.pid) is None)
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    assert two.server.get_session(again.sid) == {'name': 'me'}


def test_unserializable_session_spares_others(node: Make) -> None:
    """A session that cannot be described, whatever it raises, is one
    client's trouble."""
    one = node(recovery={'max_disconnection_duration': 4.0})
    bad, good = one.client().connect(), one.client().connect()
    wait_until(lambda: not one.keeper.local.of_pid(good.pid).has_changed)
    circle: Any = {}
    circle['circle'] = circle
    # As Flask-SocketIO keeps it.
    one.server.environ[bad.eio_sid]['saved_session'] = circle
    good_stay = one.keeper.local.of_pid(good.pid)
    written = good_stay.written
    wait_until(lambda: good_stay.written > written, 10,
               'the other session to be written again')


def test_client_with_unserializable_session_is_new(node: Make) -> None:
    """A client returns to the server that still has it, and what is kept
    for it cannot be serialised: it is new, and not left without an
    answer."""
    one = node()
    client = one.client().connect()
    one.server.get_session(client.sid)['lock'] = threading.Lock()
    again = one.client().connect(client.back())
    assert again.sid and again.sid != client.sid
    outcome = one.manager.recovery(again.sid)
    assert outcome is not None and outcome.reason == 'unknown-session'


def test_sessions_survive_full_redis(node: Make, make_redis: Any,
                                     caplog: Any) -> None:
    """Where Redis refuses to write, what is there is kept alive, and the
    log tells."""
    server = make_redis()
    server.start()
    one = RecoveringNode(server.url,
                         recovery={'max_disconnection_duration': 3.0})
    try:
        client = one.client().connect()
        emit(one, 'a')
        client.await_names('a')
        stay = one.keeper.local.of_pid(client.pid)
        wait_until(lambda: not stay.has_changed and stay.stored)
        key = 'sio:session:' + client.pid
        with server.client() as admin:
            admin.config_set('maxmemory', 1)
            one.server.enter_room(client.sid, 'room')
            begun = time.monotonic()
            wait_until(lambda: time.monotonic() - begun > 5.0
                       or not admin.exists(key))
            assert admin.exists(key)
            admin.config_set('maxmemory', 0)
            wait_until(lambda: not stay.has_changed and stay.is_held)
            assert admin.exists(key)
        # Redis 6.2 quotes it in an error of the script.
        assert any('session' in line
                   and ('OutOfMemory' in line or 'OOM' in line)
                   for line in caplog.messages)
    finally:
        one.close()


def test_unsent_writes_do_not_accumulate(make_redis: Any) -> None:
    """While Redis is away the keeper tries again and again, and remembers
    of that what Redis may have, once."""
    server = make_redis()
    server.start()
    one = RecoveringNode(server.url)
    try:
        client = one.client().connect()
        stay = one.keeper.local.of_pid(client.pid)
        wait_until(lambda: not stay.has_changed and stay.stored)
        server.kill()
        one.server.enter_room(client.sid, 'room')
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() - begun > 3)
        assert len(stay.doubtful) <= 2
    finally:
        one.close()


def test_client_is_recovered_while_node_reconnects(
        node: Make, redis_server: Any) -> None:
    """A client that returns in the moment in which a node's connections to
    Redis were cut is recovered."""
    one, two = node(), node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    two.manager.start()
    runtime = two.manager._live()
    with redis_server.client() as admin:
        admin.execute_command('CLIENT', 'KILL', 'TYPE', 'normal',
                              'SKIPME', 'yes')
    wait_until(lambda: not runtime.is_hearing)
    again = two.client().connect(client.back())
    assert again.sid == client.sid


def test_client_is_recovered_after_flushall(make_redis: Any) -> None:
    """Redis has lost everything, and clients stay connected: from then on
    they can be recovered again."""
    server = make_redis()
    server.start()
    if not server.counts_entries():
        pytest.skip('this Redis does not show that its stream is another one')
    one, two = RecoveringNode(server.url), RecoveringNode(server.url)
    try:
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
    finally:
        one.close()
        two.close()


def test_outage_with_many_clients_shares_memory(make_redis: Any) -> None:
    """What waits in an outage does not cost memory by clients, and comes to
    all but those who were disconnected, who get it at once."""
    server = make_redis(append_only=True)
    server.start()
    one = RecoveringNode(server.url)
    try:
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
    finally:
        one.close()


def test_deleted_session_is_written_again(make_redis: Any) -> None:
    """A session that is written on a connection that was just made anew, to
    a Redis that has started empty, is written, not taken for claimed."""
    server = make_redis()
    server.start()
    one = RecoveringNode(server.url)
    try:
        client = one.client().connect()
        stay = one.keeper.local.of_pid(client.pid)
        wait_until(lambda: stay.stored and not stay.has_changed)
        key = 'sio:session:' + client.pid
        # As the reader has not noticed it yet.
        one.keeper.history_is_gone = lambda: None
        with server.client() as admin:
            admin.delete(key)
            sock = one.keeper.sessions._servers._links[None]._connection._sock
            admin.client_kill_filter(addr='%s:%d' % sock.getsockname())
            one.server.enter_room(client.sid, 'room')
            wait_until(lambda: admin.exists(key))
        assert stay.is_held
    finally:
        one.close()


def test_claim_uses_latest_session(node: Make) -> None:
    """A client returns to its server, whose keeper writes the session while
    it is claimed: what the old connection left counts."""
    one = node()
    client = one.client().connect()
    wait_until(lambda: one.keeper.local.of_pid(client.pid).stored)
    swap, claims = one.keeper.sessions.swap, []

    def late(swaps: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise Unavailable('no reply from Redis in time')
        claims.append(swaps)
        return [CHANGED] if len(claims) == 1 else swap(swaps)

    one.keeper.sessions.swap = late
    one.server.enter_room(client.sid, 'late')
    again = one.client().connect({'pid': client.pid})
    assert len(claims) >= 2
    assert again.sid == client.sid
    assert 'late' in one.server.rooms(again.sid)
