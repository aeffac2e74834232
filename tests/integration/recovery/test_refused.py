"""Clients that return and are not recovered."""
import itertools
import threading
from typing import Any, Callable

import pytest

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery import admission, claims
from redis_streams_adapter.recovery.session import Outcome

from ...support.ports import free_port
from ...support.wait import DEADLINE, wait_for_value, wait_until
from ...unit.nodes import Call, session_writer
from .harness import check_refused, forget_history, hold_reader, MakeNode, \
    Node, pid_of, received, StoredSession


def wait_for_readers(node: Node, *others: Node) -> None:
    """Wait until each of these servers has read all that the first one has
    emitted: a new client gets what its server reads later."""
    def cursor(each: Node) -> Position:
        channel, = each.manager._live().channels
        return channel.reader.cursor

    wait_until(lambda: not node.remains()['waiting'])
    position = cursor(node)
    for each in others:
        wait_until(lambda: cursor(each) >= position)


@pytest.mark.parametrize('pid', [
    'unknown', '', 'x' * 5000, None, 5, ['p'], {'a': 1}, True, '\ud800',
    '*', '\0'], ids=lambda pid: repr(pid)[:20])
def test_unknown_session(node: Node, pid: Any) -> None:
    client = node.connect(auth={'pid': pid, 'offset': '5-0'})
    check_refused(node, client, 'unknown-session')
    assert pid_of(client) != pid


@pytest.mark.parametrize('how', ['expired', 'taken', 'malformed', 'other'])
@pytest.mark.parametrize('where', ['here', 'there'])
def test_deleted_session(node: Node, other: Node, redis: Any, stream: str,
                         how: str, where: str) -> None:
    client = node.connect()
    key = f'{stream}:{pid_of(client)}'
    client.lose()
    wait_until(lambda: not node.remains()['leaving'])
    if how == 'malformed':
        redis.set(key, b'x')
    elif how == 'other':
        redis.set(key, redis.get(f'{stream}:{pid_of(other.connect())}'))
    else:
        redis.delete(key)
    target = node if where == 'here' else other
    again = target.reconnect(client)
    check_refused(target, again, 'unknown-session')
    assert again.sid != client.reply()['sid']


def test_session_of_another_namespace(node: Node) -> None:
    client = node.connect('/chat')
    for _ in range(2):
        again = node.connect(auth={'pid': pid_of(client, '/chat')})
        assert again.reply()['sid'] != client.reply('/chat')['sid']
        client.lose()
    assert node.manager.stats()['not_recovered_unknown_session'] == 2
    # It remains for the client that has it.
    third = node.reconnect(client, '/chat')
    assert third.reply('/chat') == client.reply('/chat')


@pytest.mark.parametrize('how', [
    'client', 'server', 'ignore_queue', 'sockets', 'close', 'elsewhere'])
@pytest.mark.parametrize('where', ['here', 'there'])
def test_client_that_was_disconnected_on_purpose(node: Node, other: Node,
                                                 stored_session: StoredSession,
                                                 how: str, where: str) -> None:
    client = node.connect()
    sid = client.sid
    if how == 'client':
        client.say_goodbye()
    elif how in ('server', 'ignore_queue'):
        node.server.disconnect(sid, ignore_queue=how == 'ignore_queue')
    elif how == 'elsewhere':
        other.server.disconnect(sid)
    else:
        node.manager.disconnect_sockets(to=sid, close=how == 'close')
    wait_for_value(lambda: stored_session(client), None)
    # Its handler runs in a separate task.
    wait_for_value(lambda: len(node.disconnects), 1)
    target = node if where == 'here' else other
    check_refused(target, target.reconnect(client), 'unknown-session')


@pytest.mark.parametrize('offset', [
    '', 'x', '5', '5-', 5, ['5-0'], {'a': 1}, '1-0-0', True, '$',
    '99999999999999999999-0'])
def test_malformed_offset(node: Node, offset: Any) -> None:
    client = node.connect()
    client.lose()
    again = node.reconnect(client, offset=offset)
    check_refused(node, again, 'invalid-offset')
    # The session's owner may still return.
    third = node.reconnect(client)
    assert node.outcome(third) == Outcome(True)


@pytest.mark.parametrize('where', ['here', 'there'])
@pytest.mark.parametrize('offset', [
    '5-0', '0-0', '18446744073709551615-18446744073709551615', 'future'])
def test_offset_that_never_existed(node: Node, other: Node, where: str,
                                   offset: str) -> None:
    client = node.connect()
    node.server.emit('hello')
    (first,), = client.wait_for('hello')
    wait_for_readers(node, other)
    client.lose()
    if offset == 'future':
        milliseconds, _, number = first.partition('-')
        offset = f'{milliseconds}-{int(number) + 1}'
    target = node if where == 'here' else other
    check_refused(target, target.reconnect(client, offset=offset),
                  'offset-not-found')
    third = target.reconnect(client)
    assert target.outcome(third) == Outcome(True)


def test_trimmed_offset(node: Node, other: Node, redis: Any,
                        stream: str) -> None:
    client = node.connect()
    for number in range(3):
        node.server.emit('hello', number)
    first, *_ = client.wait_for('hello', 3)
    client.lose()
    node.server.emit('missed')
    wait_for_readers(node, other)
    redis.xtrim(stream, 1, approximate=False)
    wait_until(lambda: not other.remains()['waiting'])
    with other.manager._live().order:
        timeline: Any = other.manager._live().delivery('/')
        forget_history(timeline)
    again = other.reconnect(client, offset=first[-1])
    check_refused(other, again, 'offset-not-found')


def test_client_that_received_less_than_was_sent(node: Node) -> None:
    """It has no offset, although one was sent. The server cannot know what
    it has received, so it continues from its beginning."""
    client = node.connect()
    node.server.emit('hello')
    client.wait_for('hello')
    client.lose()
    again = node.connect(auth={'pid': pid_of(client)})
    again.wait_for('hello')
    assert node.outcome(again) == Outcome(True)


@pytest.mark.parametrize('limit, recovered', [(5, True), (4, False)])
@pytest.mark.parametrize('where', ['here', 'there'])
def test_too_many_missed_events(make: MakeNode, stored_session: StoredSession,
                                limit: int, recovered: bool,
                                where: str) -> None:
    node, other = (make(recovery={'max_missed_packets': limit})
                   for _ in range(2))
    client = node.connect()
    client.lose()
    for number in range(5):
        node.server.emit('missed', number)
        node.server.emit('missed by others', to='x')
    wait_for_readers(node, other)
    target = node if where == 'here' else other
    again = target.reconnect(client)
    if recovered:
        again.wait_for('missed', 5)
        assert target.outcome(again) == Outcome(True)
    else:
        check_refused(target, again, 'too-many-missed')
        # No other server could do better.
        assert stored_session(client) is None


def test_outage(make_redis: Callable[..., Any], make: MakeNode) -> None:
    """It connects as new at once, as any other client does; when Redis is
    back, these clients can be recovered."""
    redis = make_redis(append_only=True).start()
    node = make(url=redis.url)
    client = node.connect()
    client.lose()
    redis.kill()
    wait_until(lambda: not node.manager.health()['connected'])
    again = node.reconnect(client)
    check_refused(node, again, 'redis-unavailable')
    new = node.connect()
    assert node.outcome(new) == Outcome(False)
    assert pid_of(new) != pid_of(again) != pid_of(client)
    node.server.enter_room(again.sid, 'x')
    redis.start()
    wait_until(lambda: node.manager.health()['connected'])
    wait_until(node.is_written)
    again.lose()
    third = node.reconnect(again)
    assert node.outcome(third) == Outcome(True)
    assert set(node.server.rooms(third.sid)) == {third.sid, 'x'}
    # So can the client from before the outage.
    fourth = node.reconnect(client)
    assert node.outcome(fourth) == Outcome(True)


def test_redis_that_was_never_reached(make: MakeNode) -> None:
    node = make(url=f'redis://127.0.0.1:{free_port()}')
    client = node.connect(auth={'pid': 'p', 'offset': '5-0'})
    check_refused(node, client, 'redis-unavailable')
    client.lose()
    # The unwritten session stays, and ends with the process.
    node.clients.clear()
    session_writer(node.manager).local._by_pid.clear()


def test_session_too_large_for_this_node(make: MakeNode) -> None:
    node, other = make(), make(recovery={'max_session_bytes': 400})
    client = node.connect()
    node.server.save_session(client.sid, {'a': 'x' * 1000})
    client.lose()
    wait_until(lambda: not node.remains()['leaving'])
    check_refused(other, other.reconnect(client), 'unknown-session')
    # It remains for a node that allows it.
    again = node.reconnect(client)
    assert node.outcome(again) == Outcome(True)


def test_disconnect_handler_that_does_not_end(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clients cannot have the same sid."""
    monkeypatch.setattr(claims, 'PATIENCE', 0.1)
    client, hangs = node.connect(), threading.Event()
    node.server.on('disconnect', lambda sid, reason: hangs.wait(DEADLINE))
    call = Call(client.lose)
    wait_until(lambda: client.socket.closing)
    again = node.reconnect(client)
    check_refused(node, again, 'unknown-session')
    hangs.set()
    call.result()


@pytest.mark.parametrize('where', ['here', 'there'])
def test_reader_that_lags(node: Node, other: Node, where: str,
                          monkeypatch: pytest.MonkeyPatch) -> None:
    """The delay is too long. Its session remains for the next attempt."""
    client = node.connect()
    client.lose()
    target = node if where == 'here' else other
    gate = hold_reader(target, monkeypatch)
    node.server.emit('missed')
    node.manager.flush()
    with monkeypatch.context() as patch:
        patch.setattr(admission, 'PATIENCE', 0.1)
        check_refused(target, target.reconnect(client), 'redis-unavailable')
    gate.set()
    again = target.reconnect(client)
    again.wait_for('missed')
    assert target.outcome(again) == Outcome(True)


@pytest.mark.parametrize('never', ['after', 'floor', 'registered'])
def test_client_that_can_never_be_registered(
        node: Node, stored_session: StoredSession, never: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Missed events are trimmed again and again, or its old connection is
    registered again and again: the client is new, and its session stays."""
    client = node.connect()
    node.server.emit('a')
    client.wait_for('a')
    lost = client.sid
    client.lose()
    wait_until(lambda: stored_session(client) is not None and node.is_clean)
    node.server.emit('b')
    node.manager.flush()
    runtime: Any = node.manager._live()
    history = runtime.delivery('/').history
    sessions = session_writer(node.manager).local
    calls = itertools.count()
    if never == 'after':
        monkeypatch.setattr(
            history, 'after', lambda *args: [next(calls)].clear())
    elif never == 'floor':
        # Everything is trimmed as soon as it is read.
        manager: Any = node.manager
        monkeypatch.setattr(history, 'floor',
                            lambda namespace: runtime.delivery('/').position)
        backlog = manager._parts.tracker._admission._backlog
        monkeypatch.setattr(backlog, '_read',
                            lambda *args: next(calls))
    else:
        of_sid = sessions.of_sid

        def appears(sid: str, namespace: str) -> Any:
            # Not when its session is claimed; then at every second check.
            number = next(calls) if sid == lost else 0
            return object() if number and number % 2 == 0 \
                else of_sid(sid, namespace)

        monkeypatch.setattr(sessions, 'of_sid', appears)
    again = Call(node.reconnect, client).result()
    monkeypatch.undo()
    assert next(calls) > 1
    assert node.outcome(again) == Outcome(False, 'redis-unavailable')
    assert again.sid != lost
    assert stored_session(client) is not None


def test_invalid_entries_in_the_stream(node: Node, other: Node, redis: Any,
                                       stream: str) -> None:
    """Nor do they disturb the recovery of valid entries around them."""
    client = node.connect()
    client.lose()
    for number in range(3):
        node.server.emit('missed', number)
        node.server.emit('elsewhere', number, namespace='/chat')
        node.manager.flush()
        # Remains of a lost reply, and entries of unknown writers.
        for entry_id, fields in redis.xrevrange(stream, count=2):
            redis.xadd(stream, fields)
        redis.xadd(stream, {'uid': 'x', 'nsp': '/', 'type': '3',
                            'data': '{"broken'})
        redis.xadd(stream, {'a': 'b'})
    node.server.emit('missed', 3)
    node.manager.flush()
    wait_until(lambda: not node.remains()['waiting'])
    timeline: Any = other.manager._live().delivery('/')
    timeline.reach(Position.parse(
        redis.xrevrange(stream, count=1)[0][0]), DEADLINE)
    with other.manager._live().order:
        forget_history(timeline)
    again = other.reconnect(client)
    again.wait_for('missed', 4)
    assert received(again) == [('missed', number) for number in range(4)]
