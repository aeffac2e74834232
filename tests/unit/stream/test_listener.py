"""Listening to channels on one connection."""
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
    """A listener on two channels."""
    listener = make_listener()
    run(listener)
    listener.listen_to(['a', 'b'])
    return listener


# -- listening ---------------------------------------------------------------

def test_plain_and_sharded_channels(server: FakePubSub, listener: Listener,
                                    log: Log) -> None:
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


def test_others_run_after_a_large_message(
        server: FakePubSub, listener: Listener, log: Log,
        monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: List[int] = []
    monkeypatch.setattr(
        listener, '_pause', lambda: pauses.append(len(log.calls)))
    server.wait_listening('a')
    for size in 1, listener_module.LARGE, 2:
        server.publish('a', b'x' * size)
    wait_for_value(lambda: len(log.calls), 3)
    assert pauses == [2]


@pytest.mark.parametrize('error', [UNKNOWN, NO_PERMISSION])
def test_refusal_of_an_optional_way(server: FakePubSub, listener: Listener,
                                    log: Log, run: Run, make_listener: Any,
                                    condition: Availability,
                                    error: Exception) -> None:
    server.errors[b'SSUBSCRIBE'] = error
    server.break_all()
    other = make_listener()
    run(other)
    other.listen_to(['c'])
    server.wait_listening('c')
    assert server.listening('c', b's') == 0
    # Other channels are not requested for the refused way.
    other.listen_to(['c', 'd'])
    server.wait_listening('d')
    assert server.listening('d', b's') == 0
    wait_until(lambda: condition.ok)


@pytest.mark.parametrize('command, error', [
    (b'SUBSCRIBE', NO_PERMISSION),
    (b'SSUBSCRIBE', redis.exceptions.MovedError('1 127.0.0.1:1')),
    (b'SSUBSCRIBE', redis.exceptions.ClusterDownError('not served'))])
def test_refusal_of_a_required_way(server: FakePubSub, make_listener: Any,
                                   run: Run, condition: Availability,
                                   command: bytes, error: Exception) -> None:
    """The listener retries until it is allowed."""
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


def test_change_of_channels(server: FakePubSub, listener: Listener,
                            log: Log) -> None:
    """The connection stays, so no message is missed."""
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


def test_messages_during_subscription(server: FakePubSub, listener: Listener,
                                      log: Log) -> None:
    server.wait_listening('b', kind=b'')
    with server.changed:
        listener.listen_to(['b', 'c'])
        server.publish('b', b'1')
        server.publish('b', b'2', b's')
    server.wait_listening('c')
    server.publish('c', b'3')
    wait_for_value(lambda: log.calls, [
        Heard(PLAIN, b'1'), Heard(SHARDED, b'2'), Heard(PLAIN, b'3')])


def test_broken_connection(server: FakePubSub, listener: Listener,
                           log: Log) -> None:
    for _ in range(5):
        server.wait_listening('b')
        server.break_all()
    server.wait_listening('b')
    server.publish('b', b'here')
    wait_for_value(lambda: log.calls, [Heard(PLAIN, b'here')])


def test_channel_that_moves(server: FakePubSub, listener: Listener) -> None:
    """The server reports the move, and keeps the connection."""
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
    """The listener sends a PING, and reconnects if no reply arrives."""
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
    """TLS has records without data. The socket is then readable without a
    message."""
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
    """An idle listener checks for data only when some arrives, and after a
    long silence."""
    server.wait_listening('b')
    server.publish('b', b'1')
    wait_for_value(lambda: len(log.calls), 1)
    before = server.reads
    time.sleep(2.0)
    # It may not sleep yet.
    assert server.reads <= before + 1
    listener.listen_to(['c'])
    server.wait_listening('c')
    server.wait_listening('b', 0)


def test_no_channels_is_no_fault(server: FakePubSub, make_listener: Any,
                                 run: Run, condition: Availability) -> None:
    """This holds even if it could not listen before."""
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


def test_message_whose_handler_raises(
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
