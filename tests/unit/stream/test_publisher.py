"""The publisher sends to channels and counts their subscribers."""
import logging
from typing import Any, Callable

import pytest
import redis

from redis_streams_adapter.concurrency.availability import Availability
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.transport import Way
from redis_streams_adapter.stream.publisher import MAX_WAITING, Publisher
from redis_streams_adapter.testing.pubsub import FakeConnection, FakePubSub

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..nodes import Call

Logger = Callable[[], logging.Logger]
Run = Callable[..., Task]

#: Seconds: longer than any test.
AMPLE = DEADLINE * 3

PLAIN, SHARDED = Way.PLAIN, Way.SHARDED


@pytest.fixture
def publisher(server: FakePubSub, run: Run) -> Publisher:
    publisher = Publisher(server.driver(), ThreadEngine())
    run(publisher)
    return publisher


def listen(server: FakePubSub, channel: str, kind: bytes = b'') -> Any:
    """Add another listener."""
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
    """The first caller waits for the connection, and gets a count."""
    publisher = Publisher(server.driver(), ThreadEngine())
    with server.changed:
        task = run(publisher)
        call = Call(publisher.count, PLAIN, ['a'], AMPLE)
        wait_until(lambda: None in publisher._links)
        # It connects now, while another task counts.
        late = Call(publisher.count, PLAIN, ['a'], AMPLE)
        wait_until(lambda: len(publisher._jobs) == 2)
    assert call.result() == late.result() == [0]
    assert task.restarts == 0


def test_first_message_after_a_break(server: FakePubSub,
                                     publisher: Publisher) -> None:
    for _ in range(3):
        # It is connected now.
        assert publisher.count(PLAIN, ['b'], DEADLINE) == [0]
        server.break_all()
        other = listen(server, 'a')
        publisher.publish(PLAIN, 'a', b'first')
        wait_for_value(lambda: len(other.replies), 1)
    assert publisher.dropped == 0


def test_renewed_connections(server: FakePubSub,
                             publisher: Publisher) -> None:
    """Nothing is lost, and counting goes on."""
    for number in range(3):
        assert publisher.count(PLAIN, ['a'], DEADLINE) == [number]
        link = publisher._links[None]
        publisher.renew()
        listen(server, 'a')
        assert publisher.count(PLAIN, ['a'], DEADLINE) == [number + 1]
        assert publisher._links[None] is not link
    assert publisher.dropped == 0


def test_server_that_is_away(server: FakePubSub, publisher: Publisher,
                             condition: Availability) -> None:
    """No caller waits, old messages are dropped, and recent ones are sent
    later."""
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
    """A count waits no longer than its timeout."""
    publisher = Publisher(server.driver(), ThreadEngine())
    run(publisher)
    server.frozen = True
    assert publisher.count(PLAIN, ['a'], 0.05) is None


def test_close_while_a_task_counts(server: FakePubSub, run: Run) -> None:
    publisher = Publisher(server.driver(), ThreadEngine())
    task = run(publisher)
    assert task.tried.wait(DEADLINE)
    server.frozen = True
    calls = [Call(publisher.count, PLAIN, ['a'], DEADLINE * 3)
             for _ in range(3)]
    wait_until(lambda: server.commands(b'PUBSUB'))
    task.stop()
    publisher.interrupt()
    assert [call.result() for call in calls] == [None] * 3
    assert task.join(DEADLINE)
    # Later calls do not wait.
    assert publisher.count(PLAIN, ['a'], DEADLINE * 3) is None


def test_count_of_an_unstarted_publisher(server: FakePubSub) -> None:
    publisher = Publisher(server.driver(), ThreadEngine())
    publisher.interrupt()
    assert publisher.count(PLAIN, ['a'], DEADLINE * 3) is None


def test_refusal(server: FakePubSub, publisher: Publisher,
                 condition: Availability) -> None:
    """The refusal is reported until a message is accepted."""
    assert publisher.count(PLAIN, ['a'], DEADLINE) == [0]
    server.errors[b'PUBLISH'] = redis.exceptions.NoPermissionError(
        "no permissions to run the 'publish' command")
    publisher.publish(PLAIN, 'a', b'1')
    wait_for_value(lambda: publisher.dropped, 1)
    wait_until(lambda: not condition.ok)
    assert 'publish' in str(condition.last_error)
    # A new connection does not end the report.
    wait_until(lambda: not publisher._down)
    assert not condition.ok
    del server.errors[b'PUBLISH']
    publisher.publish(PLAIN, 'a', b'2')
    wait_until(lambda: condition.ok)
    assert publisher.dropped == 1


def test_too_many_waiting_messages(server: FakePubSub) -> None:
    """The publisher's task does not run."""
    publisher = Publisher(server.driver(), ThreadEngine())
    for _ in range(MAX_WAITING + 5):
        publisher.publish(PLAIN, 'a', b'')
    assert publisher.dropped == 5


# -- in a cluster ------------------------------------------------------------

@pytest.fixture
def in_cluster(server: FakePubSub, run: Run) -> Publisher:
    publisher = Publisher(server.driver(cluster=True), ThreadEngine())
    run(publisher)
    return publisher


def test_servers_of_channels(server: FakePubSub,
                             in_cluster: Publisher) -> None:
    here = server.master_of('b')
    in_cluster.publish(PLAIN, 'a', b'1')
    in_cluster.publish(SHARDED, 'b', b'2')
    in_cluster.publish(SHARDED, 'b', b'3')
    assert in_cluster.count(SHARDED, ['a', 'b'], DEADLINE) == [0, 0]
    assert [each.key for each in server.commands(
        b'PUBLISH', b'SPUBLISH')] == ['', here[0], here[0]]
    assert [each.key for each in server.commands(b'PUBSUB')] == ['master']
    # The connection for the count was closed.
    assert len(server.connections) == 2


def test_one_connection_for_each_master(server: FakePubSub,
                                        in_cluster: Publisher) -> None:
    """The number of channels does not matter. The cluster is asked once."""
    for number in range(100):
        in_cluster.publish(SHARDED, f'{number}', b'')
    assert in_cluster.count(PLAIN, ['a'], DEADLINE) == [0]
    assert len(server.commands(b'SPUBLISH')) == 100
    assert sorted(each.address[0] if each.address else ''
                  for each in server.connections) == [
                      '', 'one', 'three', 'two']
    assert server.asked == 1
    assert in_cluster.dropped == 0


def test_channel_that_has_moved(server: FakePubSub,
                                in_cluster: Publisher) -> None:
    """The refused message is sent once more, to the new server."""
    in_cluster.publish(SHARDED, 'a', b'1')
    assert in_cluster.count(SHARDED, ['a'], DEADLINE) == [0]
    here = server.master_of('a')
    there = next(each for each in server.masters if each != here)
    server.move('a', there)
    other = listen(server, 'a', b's')
    in_cluster.publish(SHARDED, 'a', b'2')
    wait_for_value(lambda: [each[2] for each in other.replies], [b'2'])
    assert [each.key for each in server.commands(b'SPUBLISH')] == [
        here[0], here[0], there[0]]
    assert server.asked == 2
    assert in_cluster.dropped == 0


def test_master_that_was_replaced(server: FakePubSub,
                                  in_cluster: Publisher) -> None:
    """Its connection has ended, so the cluster is asked again."""
    in_cluster.publish(SHARDED, 'a', b'1')
    assert in_cluster.count(SHARDED, ['a'], DEADLINE) == [0]
    server.masters[server.masters.index(server.master_of('a'))] = ('four', 4)
    server.errors[b'SPUBLISH'] = redis.exceptions.ConnectionError('gone')
    in_cluster.publish(SHARDED, 'a', b'2')
    wait_for_value(lambda: in_cluster.dropped, 1)
    server.errors.clear()
    wait_until(lambda: not in_cluster._down)
    other = listen(server, 'a', b's')
    in_cluster.publish(SHARDED, 'a', b'3')
    wait_for_value(lambda: [each[2] for each in other.replies], [b'3'])
    assert server.commands(b'SPUBLISH')[-1].key == 'four'


def test_first_message_after_a_failover(server: FakePubSub,
                                        in_cluster: Publisher) -> None:
    """The message goes to the new master, on a new connection."""
    in_cluster.publish(SHARDED, 'a', b'1')
    assert in_cluster.count(SHARDED, ['a'], DEADLINE) == [0]
    old = server.master_of('a')
    with server.changed:
        server.masters[server.masters.index(old)] = ('four', 4)
        for each in list(server.connections):
            if each.address == old:
                each.end()
    other = listen(server, 'a', b's')
    in_cluster.publish(SHARDED, 'a', b'2')
    wait_for_value(lambda: [each[2] for each in other.replies], [b'2'])
    assert [each.key for each in server.commands(b'SPUBLISH')] == [
        old[0], 'four']
    assert in_cluster.dropped == 0


def test_master_that_is_gone_before_its_first_use(
        server: FakePubSub, in_cluster: Publisher,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster is asked again, and no message is lost."""
    in_cluster.publish(SHARDED, 'a', b'1')
    assert in_cluster.count(SHARDED, ['a'], DEADLINE) == [0]
    channel = next(each for each in 'bcdefgh'
                   if server.master_of(each) != server.master_of('a'))
    gone = server.master_of(channel)
    connect = FakeConnection.connect

    def refuse(connection: FakeConnection) -> None:
        if connection.address == gone:
            raise redis.exceptions.ConnectionError('refused')
        connect(connection)

    monkeypatch.setattr(FakeConnection, 'connect', refuse)
    server.masters[server.masters.index(gone)] = ('four', 4)
    other = listen(server, channel, b's')
    in_cluster.publish(SHARDED, channel, b'2')
    wait_for_value(lambda: [each[2] for each in other.replies], [b'2'])
    assert in_cluster.dropped == 0


def test_slot_that_no_master_has(server: FakePubSub,
                                 in_cluster: Publisher,
                                 condition: Availability,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """The missing master is reported, and other messages are sent."""
    know = server.master_of
    monkeypatch.setattr(
        server, 'master_of', lambda channel, *state: None
        if channel == 'lost' else know(channel, *state))
    assert in_cluster.count(SHARDED, ['a'], DEADLINE) == [0]
    in_cluster.publish(SHARDED, 'lost', b'1')
    wait_for_value(lambda: in_cluster.dropped, 1)
    wait_until(lambda: not in_cluster._down)
    other = listen(server, 'a', b's')
    in_cluster.publish(SHARDED, 'a', b'2')
    wait_for_value(lambda: len(other.replies), 1)
    assert 'no master' in str(condition.last_error)
