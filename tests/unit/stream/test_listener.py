"""Listening to channels, on one connection."""
import logging
import os
import select
import time
from typing import Any, Callable, List

import pytest
import redis

from redis_streams_adapter.stream import listener as listener_module
from redis_streams_adapter.stream.listener import Heard, Listener
from redis_streams_adapter.concurrency.availability import Availability
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.transport import Way

from ...support.wait import wait_for_value, wait_until
from ..conftest import Log
from redis_streams_adapter.testing.pubsub import FakePubSub

Logger = Callable[[], logging.Logger]
Run = Callable[..., Task]

PLAIN, SHARDED = Way.PLAIN, Way.SHARDED

UNKNOWN = redis.ResponseError("unknown command 'SSUBSCRIBE'")
NO_PERMISSION = redis.exceptions.NoPermissionError(
    'this user has no permissions to access one of the channels')


@pytest.fixture
def make_listener(server: FakePubSub, log: Log, logger: Logger,
                  ) -> Callable[..., Listener]:
    def make(ways: Any = None, **options: Any) -> Listener:
        return Listener(server.driver(**options), ThreadEngine(), log,
                        ways or {SHARDED: True, PLAIN: False}, logger)

    return make


@pytest.fixture
def listener(make_listener: Callable[..., Listener], run: Run) -> Listener:
    """One that listens to two channels."""
    listener = make_listener()
    run(listener)
    listener.listen_to(['a', 'b'])
    return listener


# -- it listens --------------------------------------------------------------

def test_both_ways(server: FakePubSub, listener: Listener, log: Log) -> None:
    for kind in b'', b's':
        for channel in 'a', 'b':
            server.wait_listening(channel, kind=kind)
    server.publish('a', b'1')
    server.publish('b', b'2', b's')
    server.publish('c', b'3')
    server.publish('a', b'')
    wait_for_value(lambda: log.calls, [
        Heard(PLAIN, b'1'), Heard(SHARDED, b'2'), Heard(PLAIN, b'')])
    assert len(server.connections) == 1


@pytest.mark.parametrize('error', [UNKNOWN, NO_PERMISSION])
def test_a_way_that_is_dispensable(
        server: FakePubSub, listener: Listener, log: Log, run: Run,
        make_listener: Any, condition: Availability,
        error: Exception) -> None:
    server.errors[b'SSUBSCRIBE'] = error
    server.break_all()
    other = make_listener()
    run(other)
    other.listen_to(['c'])
    server.wait_listening('c')
    assert server.listening('c', b's') == 0
    # Other channels are not asked for the way that was refused.
    other.listen_to(['c', 'd'])
    server.wait_listening('d')
    assert server.listening('d', b's') == 0
    wait_until(lambda: condition.ok)


@pytest.mark.parametrize('command, error', [
    (b'SUBSCRIBE', NO_PERMISSION),
    (b'SSUBSCRIBE', redis.exceptions.MovedError('1 127.0.0.1:1')),
    (b'SSUBSCRIBE', redis.exceptions.ClusterDownError('not served'))])
def test_what_is_not_dispensable(
        server: FakePubSub, make_listener: Any, run: Run,
        condition: Availability, command: bytes, error: Exception) -> None:
    """It tries again until it may."""
    server.errors[command] = error
    listener = make_listener()
    task = run(listener)
    listener.listen_to(['a'])
    wait_until(lambda: task.restarts >= 2)
    assert not condition.ok
    assert type(error).__name__ in str(condition.last_error)
    del server.errors[command]
    server.wait_listening('a')
    server.wait_listening('a', kind=b's')
    wait_until(lambda: condition.ok)
    assert len(server.connections) == 1


def test_other_channels(server: FakePubSub, listener: Listener,
                        log: Log) -> None:
    """On the same connection: nothing is missed meanwhile."""
    server.wait_listening('b')
    (connection,) = server.connections
    listener.listen_to(['b', 'c'])
    for kind in b'', b's':
        server.wait_listening('c', kind=kind)
        server.wait_listening('a', 0, kind)
        assert server.listening('b', kind) == 1
    assert server.connections == [connection]
    listener.listen_to([])
    wait_until(lambda: not server.connections)
    listener.listen_to(['d'])
    server.wait_listening('d')


def test_what_comes_while_it_subscribes(
        server: FakePubSub, listener: Listener, log: Log) -> None:
    server.wait_listening('b', kind=b'')
    with server.changed:
        listener.listen_to(['b', 'c'])
        server.publish('b', b'1')
        server.publish('b', b'2', b's')
    server.wait_listening('c')
    server.publish('c', b'3')
    wait_for_value(lambda: log.calls, [
        Heard(PLAIN, b'1'), Heard(SHARDED, b'2'), Heard(PLAIN, b'3')])


def test_connection_breaks(server: FakePubSub, listener: Listener,
                           log: Log) -> None:
    for _ in range(5):
        server.wait_listening('b')
        server.break_all()
    server.wait_listening('b')
    server.publish('b', b'here')
    wait_for_value(lambda: log.calls, [Heard(PLAIN, b'here')])


def test_channel_moves(server: FakePubSub, listener: Listener) -> None:
    """The server says so, and keeps the connection."""
    server.wait_listening('b')
    (connection,) = server.connections
    with server.changed:
        connection.replies.append([b'sunsubscribe', b'a', 3])
        server.changed.notify_all()
    wait_until(lambda: server.connections not in ([], [connection]))
    server.wait_listening('a', kind=b's')


def test_silence(server: FakePubSub, make_listener: Any, run: Run,
                 monkeypatch: pytest.MonkeyPatch,
                 condition: Availability) -> None:
    """It asks for a sign of life, and reconnects if none comes."""
    monkeypatch.setattr(listener_module, 'QUIET', 0.1)
    listener = make_listener(socket_timeout=0.2)
    task = run(listener)
    listener.listen_to(['a'])
    wait_until(lambda: len(server.commands(b'PING')) >= 2)
    assert task.restarts == 0
    server.frozen = True
    wait_until(lambda: task.restarts >= 2)
    assert not condition.ok
    server.frozen = False
    server.wait_listening('a')
    wait_until(lambda: condition.ok)


def test_record_without_a_message(
        server: FakePubSub, make_listener: Any, run: Run, log: Log) -> None:
    """TLS has records of its own: the socket can be read, and yet there is
    nothing to wait for."""
    listener = make_listener(socket_timeout=0.2)
    task = run(listener)
    listener.listen_to(['a'])
    server.wait_listening('a')
    (connection,) = server.connections
    readable = connection.replies
    wait_until(lambda: listener.hears('a'))
    can_read, taken = connection.can_read, []

    def take_record(timeout: float) -> bool:
        with server.changed:
            if not readable and not taken and select.select(
                    [readable.file], (), (), 0)[0]:
                taken.append(os.read(readable.file, 1))
        return bool(can_read(timeout))

    connection.can_read = take_record
    readable.end()
    wait_until(lambda: taken)
    time.sleep(0.5)
    server.publish('a', b'1')
    wait_for_value(lambda: log.calls, [Heard(PLAIN, b'1')])
    assert task.restarts == 0
    assert server.connections == [connection]


def test_idle_listener_sleeps(server: FakePubSub, listener: Listener,
                              log: Log) -> None:
    """It looks for data when there is some, and when the silence lasts."""
    server.wait_listening('b')
    server.publish('b', b'1')
    wait_for_value(lambda: len(log.calls), 1)
    before = server.reads
    time.sleep(2.0)
    # It may just be about to fall asleep.
    assert server.reads <= before + 1
    listener.listen_to(['c'])
    server.wait_listening('c')
    server.wait_listening('b', 0)


def test_nothing_to_listen_to_is_no_fault(
        server: FakePubSub, make_listener: Any, run: Run,
        condition: Availability) -> None:
    """Also if it could not be listened to before."""
    server.away = True
    listener = make_listener()
    task = run(listener)
    wait_until(lambda: condition.ok)
    assert server.connections == []
    listener.listen_to(['a'])
    wait_until(lambda: task.restarts >= 2)
    assert not condition.ok
    listener.listen_to([])
    wait_until(lambda: condition.ok)


def test_message_that_cannot_be_carried_out(
        server: FakePubSub, run: Run, logger: Logger,
        logged: Callable[[int], List[str]]) -> None:
    heard: List[Heard] = []

    def hear(each: Heard) -> None:
        heard.append(each)
        raise ValueError('no')

    listener = Listener(server.driver(), ThreadEngine(), hear,
                        {PLAIN: False}, logger)
    task = run(listener)
    listener.listen_to(['a'])
    server.wait_listening('a')
    for number in b'1', b'2':
        server.publish('a', number)
    wait_for_value(lambda: [each.message for each in heard], [b'1', b'2'])
    wait_for_value(lambda: logged(logging.ERROR),
                   ['a request could not be processed'] * 2)
    assert task.restarts == 0
