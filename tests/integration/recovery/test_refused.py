"""A client returns, and is not recovered."""
import itertools
import threading
from typing import Any, Callable

import pytest

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery import admission, claims
from redis_streams_adapter.recovery.session import Outcome

from ...support.redis_server import free_port
from ...support.wait import DEADLINE, wait_for_value, wait_until
from ...unit.nodes import Call, session_writer
from .harness import forget_history, got, Kept, MakeNode, Node, pid_of, \
    refused


def wait_for_readers(node: Node, *others: Node) -> None:
    """Wait until each of these servers has read what the first one has
    emitted: a new client gets what its server reads later."""
    def cursor(each: Node) -> Position:
        channel, = each.manager._live().channels
        return channel.reader.cursor

    wait_until(lambda: not node.remains()['waiting'])
    position = cursor(node)
    for each in others:
        wait_until(lambda: cursor(each) >= position)


@pytest.mark.parametrize('pid', [
    'nobody', '', 'x' * 5000, None, 5, ['p'], {'a': 1}, True, '\ud800',
    '*', '\0'], ids=lambda pid: repr(pid)[:20])
def test_nobody_knows_it(node: Node, pid: Any) -> None:
    client = node.connect(auth={'pid': pid, 'offset': '5-0'})
    refused(node, client, 'unknown-session')
    assert pid_of(client) != pid


@pytest.mark.parametrize('how', ['expired', 'taken', 'malformed', 'other'])
@pytest.mark.parametrize('where', ['here', 'there'])
def test_its_session_is_gone(node: Node, other: Node, redis: Any,
                             stream: str, how: str, where: str) -> None:
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
    again = target.take(client)
    refused(target, again, 'unknown-session')
    assert again.sid != client.reply()['sid']


def test_it_is_of_another_namespace(node: Node) -> None:
    client = node.connect('/chat')
    for _ in range(2):
        again = node.connect(auth={'pid': pid_of(client, '/chat')})
        assert again.reply()['sid'] != client.reply('/chat')['sid']
        client.lose()
    assert node.manager.stats()['not_recovered_unknown_session'] == 2
    # It is there for who has it.
    third = node.take(client, '/chat')
    assert third.reply('/chat') == client.reply('/chat')


@pytest.mark.parametrize('how', [
    'client', 'server', 'ignore_queue', 'sockets', 'close', 'elsewhere'])
@pytest.mark.parametrize('where', ['here', 'there'])
def test_it_was_disconnected_on_purpose(
        node: Node, other: Node, kept: Kept, how: str, where: str) -> None:
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
    wait_for_value(lambda: kept(client), None)
    # Its handler runs in a task of its own.
    wait_for_value(lambda: len(node.disconnects), 1)
    target = node if where == 'here' else other
    refused(target, target.take(client), 'unknown-session')


@pytest.mark.parametrize('offset', [
    '', 'x', '5', '5-', 5, ['5-0'], {'a': 1}, '1-0-0', True, '$',
    '99999999999999999999-0'])
def test_its_offset_is_malformed(node: Node, offset: Any) -> None:
    client = node.connect()
    client.lose()
    again = node.take(client, offset=offset)
    refused(node, again, 'invalid-offset')
    # Whose session it is may still come.
    third = node.take(client)
    assert node.outcome(third) == Outcome(True)


@pytest.mark.parametrize('where', ['here', 'there'])
@pytest.mark.parametrize('offset', [
    '5-0', '0-0', '18446744073709551615-18446744073709551615', 'future'])
def test_its_offset_was_never_there(node: Node, other: Node, where: str,
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
    refused(target, target.take(client, offset=offset), 'offset-not-found')
    third = target.take(client)
    assert target.outcome(third) == Outcome(True)


def test_its_offset_was_trimmed(node: Node, other: Node, redis: Any,
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
    again = other.take(client, offset=first[-1])
    refused(other, again, 'offset-not-found')


def test_it_had_received_less_than_was_sent(node: Node) -> None:
    """It has no offset, though it was given one: nobody knows what it
    has; so it goes on from where it began."""
    client = node.connect()
    node.server.emit('hello')
    client.wait_for('hello')
    client.lose()
    again = node.connect(auth={'pid': pid_of(client)})
    again.wait_for('hello')
    assert node.outcome(again) == Outcome(True)


@pytest.mark.parametrize('limit, recovered', [(5, True), (4, False)])
@pytest.mark.parametrize('where', ['here', 'there'])
def test_too_much_was_missed(make: MakeNode, kept: Kept, limit: int,
                             recovered: bool, where: str) -> None:
    node, other = (make(recovery={'max_missed_packets': limit})
                   for _ in range(2))
    client = node.connect()
    client.lose()
    for number in range(5):
        node.server.emit('missed', number)
        node.server.emit('missed by others', to='x')
    wait_for_readers(node, other)
    target = node if where == 'here' else other
    again = target.take(client)
    if recovered:
        again.wait_for('missed', 5)
        assert target.outcome(again) == Outcome(True)
    else:
        refused(target, again, 'too-many-missed')
        # Nobody else could do better.
        assert kept(client) is None


def test_redis_is_away(make_redis: Callable[..., Any],
                       make: MakeNode) -> None:
    """It connects as new at once, and so does any other; when Redis is
    back, these can be recovered."""
    redis = make_redis(append_only=True).start()
    node = make(url=redis.url)
    client = node.connect()
    client.lose()
    redis.kill()
    wait_until(lambda: not node.manager.health()['connected'])
    again = node.take(client)
    refused(node, again, 'redis-unavailable')
    new = node.connect()
    assert node.outcome(new) == Outcome(False)
    assert pid_of(new) != pid_of(again) != pid_of(client)
    node.server.enter_room(again.sid, 'x')
    redis.start()
    wait_until(lambda: node.manager.health()['connected'])
    wait_until(node.is_written)
    again.lose()
    third = node.take(again)
    assert node.outcome(third) == Outcome(True)
    assert set(node.server.rooms(third.sid)) == {third.sid, 'x'}
    # And the one of before the outage.
    fourth = node.take(client)
    assert node.outcome(fourth) == Outcome(True)


def test_redis_was_never_there(make: MakeNode) -> None:
    node = make(url=f'redis://127.0.0.1:{free_port()}')
    client = node.connect(auth={'pid': 'p', 'offset': '5-0'})
    refused(node, client, 'redis-unavailable')
    client.lose()
    # What cannot be written stays, and is let go with the process.
    node.clients.clear()
    session_writer(node.manager).local._by_pid.clear()


def test_this_node_allows_only_smaller_ones(make: MakeNode) -> None:
    node, other = make(), make(recovery={'max_session_bytes': 400})
    client = node.connect()
    node.server.save_session(client.sid, {'a': 'x' * 1000})
    client.lose()
    wait_until(lambda: not node.remains()['leaving'])
    refused(other, other.take(client), 'unknown-session')
    # It is there for one that allows it.
    again = node.take(client)
    assert node.outcome(again) == Outcome(True)


def test_its_disconnect_handler_does_not_end(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clients with one sid cannot be."""
    monkeypatch.setattr(claims, 'PATIENCE', 0.1)
    client, hangs = node.connect(), threading.Event()
    node.server.on('disconnect', lambda sid, reason: hangs.wait(DEADLINE))
    call = Call(client.lose)
    wait_until(lambda: client.socket.closing)
    again = node.take(client)
    refused(node, again, 'unknown-session')
    hangs.set()
    call.result()


@pytest.mark.parametrize('where', ['here', 'there'])
def test_the_reader_is_behind(node: Node, other: Node, where: str,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    """For too long. Its session is there for the next time."""
    client = node.connect()
    client.lose()
    target = node if where == 'here' else other
    reader = target.manager._live().channels[0].reader
    gate, take_in = threading.Event(), reader._handle

    def wait(*args: Any) -> None:
        assert gate.wait(DEADLINE)
        take_in(*args)

    monkeypatch.setattr(reader, '_handle', wait)
    node.server.emit('missed')
    node.manager.flush()
    with monkeypatch.context() as patch:
        patch.setattr(admission, 'PATIENCE', 0.1)
        refused(target, target.take(client), 'redis-unavailable')
    gate.set()
    again = target.take(client)
    again.wait_for('missed')
    assert target.outcome(again) == Outcome(True)


@pytest.mark.parametrize('never', ['after', 'floor', 'registered'])
def test_it_can_never_be_registered(node: Node, kept: Kept, never: str,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """What it missed is forgotten again and again, or its old connection is
    registered again and again: the client is new, and its session stays."""
    client = node.connect()
    node.server.emit('a')
    client.wait_for('a')
    lost = client.sid
    client.lose()
    wait_until(lambda: kept(client) is not None and node.is_clean)
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
        # All is forgotten as soon as it is read.
        manager: Any = node.manager
        monkeypatch.setattr(history, 'floor',
                            lambda namespace: runtime.delivery('/').position)
        backlog = manager._parts.tracker._admission._backlog
        monkeypatch.setattr(backlog, '_read',
                            lambda *args: next(calls))
    else:
        of_sid = sessions.of_sid

        def appears(sid: str, namespace: str) -> Any:
            # Not when its session is claimed; then at each second look.
            number = next(calls) if sid == lost else 0
            return object() if number and number % 2 == 0 \
                else of_sid(sid, namespace)

        monkeypatch.setattr(sessions, 'of_sid', appears)
    again = Call(node.take, client).result()
    monkeypatch.undo()
    assert next(calls) > 1
    assert node.outcome(again) == Outcome(False, 'redis-unavailable')
    assert again.sid != lost
    assert kept(client) is not None


def test_what_does_not_belong_in_the_stream(node: Node, other: Node,
                                            redis: Any, stream: str) -> None:
    """Nor in the way of who has missed what is around it."""
    client = node.connect()
    client.lose()
    for number in range(3):
        node.server.emit('missed', number)
        node.server.emit('elsewhere', number, namespace='/chat')
        node.manager.flush()
        # What a lost reply may leave, and what anybody may write.
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
    again = other.take(client)
    again.wait_for('missed', 4)
    assert got(again) == [('missed', number) for number in range(4)]
