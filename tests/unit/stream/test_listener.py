"""The connections over which requests travel: one that listens, one that
publishes."""
import logging
import threading
import time
from typing import Any, Callable, Iterator, List

import pytest
import redis

from redis_streams_adapter.stream import listener as listener_module
from redis_streams_adapter.stream.publisher import Publisher, MAX_LINKS, \
    MAX_WAITING
from redis_streams_adapter.stream.listener import Heard, Listener
from redis_streams_adapter.concurrency.availability import Availability
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.transport import Way

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..conftest import Log
from redis_streams_adapter.testing.pubsub import FakePubSub
from ..nodes import Call

Logger = Callable[[], logging.Logger]
Run = Callable[..., Task]

#: Seconds that no test waits for.
AMPLE = DEADLINE * 3

PLAIN, SHARDED = Way.PLAIN, Way.SHARDED

UNKNOWN = redis.ResponseError("unknown command 'SSUBSCRIBE'")
NO_PERMISSION = redis.exceptions.NoPermissionError(
    'this user has no permissions to access one of the channels')


@pytest.fixture
def server() -> FakePubSub:
    return FakePubSub()


@pytest.fixture
def condition(logger: Logger) -> Availability:
    return Availability('PUB/SUB', logger, str)


@pytest.fixture
def run(logger: Logger, condition: Availability) -> Iterator[Run]:
    """Runs the task of a listener or a publisher; ends it."""
    running: List[Any] = []

    def start(part: Any) -> Task:
        task = Task(f'task {len(running)}', part.work, ThreadEngine(),
                    condition, logger)
        running.append((task, part))
        task.start()
        return task

    yield start
    for task, part in running:
        task.stop()
        part.interrupt()
        assert task.join(DEADLINE)


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


@pytest.fixture
def publisher(server: FakePubSub, run: Run) -> Publisher:
    publisher = Publisher(server.driver(), ThreadEngine())
    run(publisher)
    return publisher


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
    """It asks for a sign of life, and connects anew where none comes."""
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
    """Also where it could not be listened to before."""
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
                   ['a request could not be carried out'] * 2)
    assert task.restarts == 0


# -- it publishes ------------------------------------------------------------

def listen(server: FakePubSub, channel: str, kind: bytes = b'') -> Any:
    """Somebody else listens."""
    connection = server.driver().make(1.0, 'other')
    connection.connect()
    connection.places.add((kind, channel.encode()))
    return connection


@pytest.mark.parametrize('way, kind', [(PLAIN, b''), (SHARDED, b's')])
def test_publish_and_count(server: FakePubSub, publisher: Publisher, way: Way,
                           kind: bytes) -> None:
    assert publisher.count(way, ['a', 'b'], DEADLINE) == [0, 0]
    others = [listen(server, 'a', kind), listen(server, 'a', kind),
              listen(server, 'b', kind)]
    assert publisher.count(way, ['b', 'a', 'c'], DEADLINE) == [1, 2, 0]
    for number in b'1', b'2':
        publisher.publish(way, 'a', number)
    for other in others[:2]:
        wait_for_value(lambda: [each[2] for each in other.replies],
                       [b'1', b'2'])
    assert not others[2].replies
    assert publisher.dropped == 0


def test_count_while_it_connects(server: FakePubSub, run: Run) -> None:
    """The first one is not told that nothing can be known."""
    publisher = Publisher(server.driver(), ThreadEngine())
    with server.changed:
        task = run(publisher)
        call = Call(publisher.count, PLAIN, ['a'], AMPLE)
        wait_until(lambda: '' in publisher._links)
        # Now it tries to connect, and somebody else counts.
        late = Call(publisher.count, PLAIN, ['a'], AMPLE)
        wait_until(lambda: len(publisher._jobs) == 2)
    assert call.result() == late.result() == [0]
    assert task.restarts == 0


def test_first_message_after_a_break(server: FakePubSub,
                                     publisher: Publisher) -> None:
    for _ in range(3):
        # Now it is connected.
        assert publisher.count(PLAIN, ['b'], DEADLINE) == [0]
        server.break_all()
        other = listen(server, 'a')
        publisher.publish(PLAIN, 'a', b'first')
        wait_for_value(lambda: len(other.replies), 1)
    assert publisher.dropped == 0


def test_server_that_is_away(server: FakePubSub, publisher: Publisher,
                             condition: Availability) -> None:
    """Nobody waits, nothing gathers, and what is of today is sent."""
    assert publisher.count(PLAIN, ['a'], DEADLINE) == [0]
    server.away = True
    server.break_all()
    assert publisher.count(PLAIN, ['a'], DEADLINE) is None
    wait_until(lambda: not condition.ok)
    publisher.publish(PLAIN, 'a', b'old')
    wait_for_value(lambda: publisher.dropped, 1)
    assert publisher.count(PLAIN, ['a'], DEADLINE) is None
    server.away = False
    wait_until(lambda: condition.ok)
    other = listen(server, 'a')
    publisher.publish(PLAIN, 'a', b'new')
    wait_for_value(lambda: [each[2] for each in other.replies], [b'new'])


def test_server_that_is_frozen(server: FakePubSub, run: Run) -> None:
    """Who counts waits no longer than told."""
    publisher = Publisher(server.driver(), ThreadEngine())
    run(publisher)
    server.frozen = True
    assert publisher.count(PLAIN, ['a'], 0.05) is None


def test_closed_while_somebody_counts(server: FakePubSub, run: Run) -> None:
    publisher = Publisher(server.driver(), ThreadEngine())
    task = run(publisher)
    server.frozen = True
    calls = [Call(publisher.count, PLAIN, ['a'], DEADLINE * 3)
             for _ in range(3)]
    wait_until(lambda: server.commands(b'PUBSUB'))
    task.stop()
    publisher.interrupt()
    assert [call.result() for call in calls] == [None] * 3
    assert task.join(DEADLINE)
    # And nobody waits afterwards.
    assert publisher.count(PLAIN, ['a'], DEADLINE * 3) is None


def test_nobody_counts_on_a_courier_that_was_never_started(
        server: FakePubSub) -> None:
    publisher = Publisher(server.driver(), ThreadEngine())
    publisher.interrupt()
    assert publisher.count(PLAIN, ['a'], DEADLINE * 3) is None


def test_refusal(server: FakePubSub, publisher: Publisher,
                 condition: Availability) -> None:
    """It is told of until something gets through."""
    assert publisher.count(PLAIN, ['a'], DEADLINE) == [0]
    server.errors[b'PUBLISH'] = redis.exceptions.NoPermissionError(
        "no permissions to run the 'publish' command")
    publisher.publish(PLAIN, 'a', b'1')
    wait_for_value(lambda: publisher.dropped, 1)
    wait_until(lambda: not condition.ok)
    assert 'publish' in str(condition.last_error)
    # It is connected again, which says nothing.
    wait_until(lambda: not publisher._down)
    assert not condition.ok
    del server.errors[b'PUBLISH']
    publisher.publish(PLAIN, 'a', b'2')
    wait_until(lambda: condition.ok)
    assert publisher.dropped == 1


def test_too_many_wait(server: FakePubSub) -> None:
    """Of a publisher that does not come to work."""
    publisher = Publisher(server.driver(), ThreadEngine())
    for _ in range(MAX_WAITING + 5):
        publisher.publish(PLAIN, 'a', b'')
    assert publisher.dropped == 5


# -- in a cluster ------------------------------------------------------------

@pytest.fixture
def cluster_courier(server: FakePubSub, run: Run) -> Publisher:
    publisher = Publisher(server.driver(cluster=True), ThreadEngine())
    run(publisher)
    return publisher


def test_where_channels_are(server: FakePubSub,
                            cluster_courier: Publisher) -> None:
    cluster_courier.publish(PLAIN, 'a', b'1')
    cluster_courier.publish(SHARDED, 'b', b'2')
    cluster_courier.publish(SHARDED, 'b', b'3')
    assert cluster_courier.count(SHARDED, ['a', 'b'], DEADLINE) == [0, 0]
    assert [each.key for each in server.commands(
        b'PUBLISH', b'SPUBLISH')] == ['', 'b', 'b']
    assert [each.key for each in server.commands(b'PUBSUB')] == ['master']
    # The one to a master was for this once.
    assert len(server.connections) == 2


def test_connections_are_bounded(server: FakePubSub,
                                 cluster_courier: Publisher) -> None:
    for number in range(3 * MAX_LINKS):
        cluster_courier.publish(SHARDED, f'{number}', b'')
    wait_for_value(lambda: len(server.commands(b'SPUBLISH')), 3 * MAX_LINKS)
    assert cluster_courier.count(PLAIN, ['a'], DEADLINE) == [0]
    assert len(server.connections) <= MAX_LINKS


def test_channel_that_has_moved(server: FakePubSub,
                                cluster_courier: Publisher) -> None:
    """What was refused is sent again, once, to where it is now."""
    cluster_courier.publish(SHARDED, 'a', b'1')
    assert cluster_courier.count(SHARDED, ['a'], DEADLINE) == [0]
    moved = redis.exceptions.MovedError('1 127.0.0.1:1')
    reconnected = threading.Event()

    class Once(dict):  # type: ignore[type-arg]
        def __getitem__(self, name: Any) -> Any:
            reconnected.set()
            return self.pop(name)

    server.errors = Once({b'SPUBLISH': moved})
    other = listen(server, 'a', b's')
    cluster_courier.publish(SHARDED, 'a', b'2')
    wait_for_value(lambda: [each[2] for each in other.replies], [b'2'])
    assert reconnected.is_set()
    assert cluster_courier.dropped == 0
