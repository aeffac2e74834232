"""What the application's handlers see of a returning client."""
from typing import Any, List

import pytest

from ..support.controlled import RemoteError
from ..support.wait import wait_for_value
from .helpers import catch_up, check_recovered, check_new, check_reason, \
    check_received, ConnectJs, found_by_handler, LOSSES, numbers, Pair, \
    Start, stored_session, Unique


def sessions(redis: Any, prefix: str) -> List[bytes]:
    """The keys of the sessions in Redis."""
    return list(redis.scan_iter(f'{prefix}*', count=1000))


def test_first_connection(pair: Pair, connect_js: ConnectJs) -> None:
    """A client that does not ask for recovery has no outcome."""
    client = connect_js(pair.a, auth={'token': 'mine'})
    found = found_by_handler(pair.a, client.sid)
    assert found['environ'] == [False, None]
    assert found['manager'] is None
    assert found['auth'] == {'token': 'mine'}
    assert pair.a.invoke('manager', 'recovery', 'nobody') is None


def test_auth(pair: Pair, connect_js: ConnectJs) -> None:
    """The handler gets what the client's application set, without what the
    client adds for recovery, and nothing if it set nothing."""
    for given, seen in (({'token': 'mine', 'more': [1]},) * 2, ({}, None)):
        client = connect_js(pair.a, auth=given)
        sids = dict(client.sids)
        first = found_by_handler(pair.a, client.sid)['auth']
        client.drop()
        check_recovered(client, client.move(pair.b.url), sids)
        again = found_by_handler(pair.b, client.sid)['auth']
        assert again == first or not (again or first)
        if seen is not None:
            assert again == seen
        else:
            assert not again


def test_handler_without_auth(start: Start, connect_js: ConnectJs,
                              unique: Unique) -> None:
    """A handler with two arguments works, though the client sends a pid,
    which python-socketio would take for auth."""
    first, second = start(2, with_auth=False)
    client, event = connect_js(first), unique('event')
    sids = dict(client.sids)
    client.drop()
    first.emit_range(event, range(10))
    check_recovered(client, client.move(second.url), sids)
    check_received([client], [first], unique, **{event: 10})
    check_reason(second, client.sid, None)


@pytest.mark.parametrize('how', ['return', 'raise'])
@pytest.mark.parametrize('always_connect', [False, True])
def test_refused_client_loses_its_session(
        start: Start, connect_js: ConnectJs, redis_server: Any,
        unique: Unique, how: str, always_connect: bool) -> None:
    """It receives nothing of what it missed, not even when it returns again
    and is accepted."""
    prefix = unique('refused')
    first, second = start(2, session_key_prefix=prefix,
                          server={'always_connect': always_connect})
    client, missed, sid = connect_js(first), unique('missed'), ''
    sid = client.sid
    pid = client.state()[0]
    first.emit('before')
    client.wait_for('before')
    client.drop()
    first.emit_range(missed, range(10), to=sid)
    assert first.flush()
    second.refuse(how)
    if always_connect:
        # It gets a reply and then a DISCONNECT, with a reason that it does
        # not expect there (python-socketio 5.18).
        client.move(second.url)
        wait_for_value(lambda: len(client.disconnects()), 2,
                       what='the number of disconnects')
    else:
        with pytest.raises(RemoteError) as refusal:
            client.move(second.url)
        assert ('refused by the test' in str(refusal.value)
                or 'Connection' in str(refusal.value)
                or 'refused' in str(refusal.value))
    # For the handler, the client was recovered.
    check_reason(second, sid, None)
    with redis_server.client() as redis:
        wait_for_value(lambda: sessions(redis, prefix), [],
                       what='the sessions')
    assert sid not in [each['sid'] for each in second.fetch_sockets()]
    second.refuse(None)
    if client.state()[0] is None:
        # The client has dropped its pid. An attacker would not.
        client.set_state(pid, '0-1')
    connect, = client.move(second.url)
    check_new(connect, sid)
    check_reason(second, client.sid, 'unknown-session')
    catch_up([client], [first, second], unique)
    assert client.count(missed) == 0


def test_new_client_that_is_refused_has_no_session(
        start: Start, connect_js: ConnectJs, redis_server: Any,
        unique: Unique) -> None:
    prefix = unique('refused')
    node, = start(1, session_key_prefix=prefix)
    node.refuse('return')
    with pytest.raises(RemoteError):
        connect_js(node)
    with redis_server.client() as redis:
        assert sessions(redis, prefix) == []


def test_emit_in_connect_handler(start: Start, connect_js: ConnectJs,
                                 unique: Unique) -> None:
    """What the handler emits arrives after the missed events."""
    first, second = start(2)
    client, missed, greeting = (
        connect_js(first), unique('missed'), unique('greeting'))
    sids = dict(client.sids)
    second.greet(greeting)
    client.drop()
    first.emit_range(missed, range(50))
    check_recovered(client, client.move(second.url), sids)
    client.wait_for(greeting)
    assert client.names(missed, greeting) == [missed] * 50 + [greeting]
    check_received([client], [first], unique, **{missed: 50})


def test_emit_in_first_connect_handler(start: Start, connect_js: ConnectJs,
                                       unique: Unique) -> None:
    """The event arrives once, and is not replayed."""
    first, second = start(2)
    greeting = unique('greeting')
    first.greet(greeting)
    client = connect_js(first)
    sids = dict(client.sids)
    client.wait_for(greeting)
    client.drop()
    check_recovered(client, client.move(second.url), sids)
    catch_up([client], [first, second], unique)
    assert client.count(greeting) == 1


def test_connects_and_disconnects(start: Start, connect_js: ConnectJs,
                                  unique: Unique) -> None:
    """The disconnect handler runs once for each loss of a connection, and the
    connect handler once for each return."""
    nodes = first, second = start(2)
    client = connect_js(first)
    sids = dict(client.sids)
    route = [second, first, first, second, second, first] * 2
    for node in route:
        client.drop()
        check_recovered(client, client.move(node.url), sids)
    client.drop()
    for node in nodes:
        connects = 1 + route.count(node) if node is first \
            else route.count(node)
        wait_for_value(lambda: len(node.disconnects_of(client.sid)),
                       connects, what='the calls of the disconnect handler')
    # No more handlers are about to run.
    catch_up([connect_js(node) for node in nodes], nodes, unique)
    for node in nodes:
        disconnects = node.disconnects_of(client.sid)
        assert len(disconnects) == len(node.connected(client.sid))
        assert {reason for _, reason in disconnects} <= set(LOSSES)


@pytest.mark.parametrize('initiator', ['client', 'server', 'cluster'])
def test_intended_disconnect_ends_the_session(
        start: Start, connect_js: ConnectJs, redis_server: Any,
        unique: Unique, initiator: str) -> None:
    """A client that has disconnected, or was disconnected by the application,
    is a new one when it returns."""
    prefix = unique('intended')
    first, second = start(2, session_key_prefix=prefix)
    client = connect_js(first)
    sid, missed, event = client.sid, unique('missed'), unique('event')
    first.emit('before')
    client.wait_for('before')
    pid, offset = client.state()
    if initiator == 'client':
        client.close()
    elif initiator == 'server':
        # What was emitted before still arrives.
        first.script(('server', 'emit', [event, 0], {'to': sid}),
                     ('server', 'disconnect', [sid], {}))
    else:
        second.disconnect_sockets(to=sid)
    reason = client.wait_disconnected()
    assert reason == ('io client disconnect' if initiator == 'client'
                      else 'io server disconnect')
    assert client.count(event) == (initiator == 'server')
    wait_for_value(lambda: first.disconnects_of(sid), [
        ('/', 'client disconnect' if initiator == 'client'
         else 'server disconnect')],
        what='the disconnect handler')
    with redis_server.client() as redis:
        wait_for_value(lambda: sessions(redis, prefix), [],
                       what='the sessions')
    second.emit(missed, to=sid)
    client.set_state(pid, offset)
    connect, = client.move(second.url)
    check_new(connect, sid)
    check_reason(second, client.sid, 'unknown-session')
    catch_up([client], [first, second], unique)
    assert client.count(missed) == 0


def test_session_changes(start: Start, connect_js: ConnectJs,
                         redis_server: Any, unique: Unique) -> None:
    """A client whose node was killed has the rooms and data that it had
    last."""
    prefix = unique('changes')
    first, second = start(2, session_key_prefix=prefix)
    client = connect_js(first, reconnection=True)
    sids, sid = dict(client.sids), client.sid
    for room in ('a', 'b', 'c'):
        first.enter_room(sid, room)
    first.save_session(sid, {'step': 1})
    second.sockets_join(['d'], to=[sid])
    wait_for_value(lambda: first.rooms(sid), ['a', 'b', 'c', 'd'],
                   what='the rooms')
    first.leave_room(sid, 'a')
    first.close_room('b')
    first.save_session(sid, {'step': 2, 'bytes': b'\x00\xff'})
    wait_for_value(lambda: first.rooms(sid), ['c', 'd'], what='the rooms')
    with redis_server.client() as redis:
        # Each change is written in the background.
        wait_for_value(lambda: stored_session(redis, prefix, client), {
            'sid': sid, 'pid': client.state()[0],
            'rooms': sorted([sid, 'c', 'd']),
            'data': {'step': 2, 'bytes': b'\x00\xff'}},
            what='the stored session')
    client.set_server(second.url)
    first.kill()
    check_recovered(client, client.wait_connects(2)[1:], sids)
    assert second.rooms(sid) == ['c', 'd']
    assert found_by_handler(second, sid)['session'] == {
        'step': 2, 'bytes': b'\x00\xff'}


def test_rooms_while_away(start: Start, connect_js: ConnectJs,
                          unique: Unique) -> None:
    """A client misses only events of rooms that it was in when it was lost.
    """
    first, second = start(2)
    client = connect_js(first)
    sids, sid, event = dict(client.sids), client.sid, unique('event')
    first.enter_room(sid, 'old')
    first.enter_room(sid, 'new')
    first.leave_room(sid, 'old')
    client.drop()
    second.emit(f'{event}-old', to='old')
    second.emit_range(event, range(10), to='new')
    # The client gets it once, though it is in both rooms.
    second.emit(event, 10, to=['new', sid])
    check_recovered(client, client.move(second.url), sids)
    check_received([client], [second], unique, **{event: 11})
    assert client.count(f'{event}-old') == 0
    assert numbers(client, event) == list(range(11))
