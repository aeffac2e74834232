"""Sharded listeners connect to all masters that have one of their channels."""
import logging
from typing import Any, Callable, Dict, Iterator, List

import pytest
import redis

from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.transport import Way
from redis_streams_adapter.stream.listener import Heard
from redis_streams_adapter.stream.sharded_listeners import ATTEMPTS, \
    ShardedListeners
from redis_streams_adapter.testing.pubsub import FakeConnection, FakePubSub

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..conftest import Log

#: Enough channels that each master has some.
CHANNELS = [f'c{number}' for number in range(20)]


class Running:
    """The listeners and their tasks."""

    def __init__(self, server: FakePubSub, logger: Any) -> None:
        self.heard, self.changed = Log(), Log()
        self.tasks: Dict[str, Task] = {}
        self._logger = logger
        self.listeners = ShardedListeners(
            server.driver(cluster=True), ThreadEngine(), self.heard, logger,
            self.start, self.changed)
        self.start(self.listeners.name, self.listeners.work, True)

    def start(self, name: str, work: Any, matters: bool) -> None:
        assert matters
        if name not in self.tasks:
            self.tasks[name] = Task(
                name, work, ThreadEngine(), None, self._logger)
            self.tasks[name].start()

    def close(self) -> None:
        for task in self.tasks.values():
            task.stop()
        self.listeners.interrupt()
        for task in self.tasks.values():
            assert task.join(DEADLINE)


def ask_differently(monkeypatch: pytest.MonkeyPatch,
                    listeners: ShardedListeners, places: Any) -> None:
    """Change the servers that the cluster reports."""
    driver = listeners._driver
    assert driver.cluster is not None
    monkeypatch.setattr(listeners, '_driver', driver._replace(
        cluster=driver.cluster._replace(places=places)))


@pytest.fixture
def server() -> FakePubSub:
    return FakePubSub()


@pytest.fixture
def running(server: FakePubSub, logger: Callable[[], logging.Logger],
            ) -> Iterator[Running]:
    running = Running(server, logger)
    yield running
    running.close()
    assert server.connections == []


@pytest.fixture
def listeners(running: Running) -> ShardedListeners:
    """Listeners on all channels."""
    running.listeners.listen_to(CHANNELS)
    wait_until(lambda: all(map(running.listeners.hears, CHANNELS)))
    return running.listeners


def check(server: FakePubSub, running: Running,
          channels: List[str]) -> None:
    """Check that each channel has one subscription, and no other channel."""
    wait_until(lambda: all(map(running.listeners.hears, channels)),
               what=lambda: f'{[each.places for each in server.connections]}')
    for channel in CHANNELS:
        server.wait_listening(channel, int(channel in channels), b's')
    before = len(running.heard.calls)
    for channel in channels:
        server.publish(channel, channel.encode(), b's')
    wait_for_value(lambda: sorted(running.heard.calls[before:]), sorted(
        Heard(Way.SHARDED, each.encode()) for each in channels))


def test_one_connection_for_each_master(
        server: FakePubSub, running: Running,
        listeners: ShardedListeners) -> None:
    check(server, running, CHANNELS)
    assert server.on_masters() == ['one', 'three', 'two']
    assert len(server.connections) == 3
    assert server.asked == 1


def test_change_of_channels(server: FakePubSub, running: Running,
                            listeners: ShardedListeners) -> None:
    connections = list(server.connections)
    listeners.listen_to(CHANNELS[5:])
    check(server, running, CHANNELS[5:])
    assert server.connections == connections
    listeners.listen_to(CHANNELS[:1])
    check(server, running, CHANNELS[:1])
    wait_for_value(lambda: len(server.connections), 1)
    listeners.listen_to(())
    wait_for_value(lambda: server.connections, [])
    asked = server.asked
    listeners.listen_to(CHANNELS)
    check(server, running, CHANNELS)
    assert server.asked == asked + 1
    assert len(running.tasks) == 4


def test_channel_that_moves(server: FakePubSub, running: Running,
                            listeners: ShardedListeners) -> None:
    """Other channels keep their subscriptions and connections."""
    connections = list(server.connections)
    channel = CHANNELS[0]
    here = server.master_of(channel)
    server.move(channel, next(each for each in server.masters
                              if each != here))
    check(server, running, CHANNELS)
    assert server.connections == connections


def test_move_that_the_cluster_does_not_report_yet(
        server: FakePubSub, running: Running, listeners: ShardedListeners,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener retries, and keeps its connection."""
    connections = list(server.connections)
    channel = CHANNELS[0]
    here = server.master_of(channel)
    there = next(each for each in server.masters if each != here)
    know = server.master_of
    stale = lambda each: here if each == channel else know(each)  # noqa: E731
    asked: List[int] = []

    def places() -> Any:
        asked.append(1)
        return stale if len(asked) < 3 else know

    ask_differently(monkeypatch, listeners, places)
    server.move(channel, there)
    check(server, running, CHANNELS)
    assert len(asked) == 3
    assert server.connections == connections
    assert running.tasks[listeners.name].restarts == 0


@pytest.mark.parametrize('old', [False, True])
def test_one_of_many_channels_has_moved(server: FakePubSub, running: Running,
                                        monkeypatch: pytest.MonkeyPatch,
                                        old: bool) -> None:
    """Other channels keep their subscriptions. redis-py 5.0 has no classes for
    the errors of a cluster."""
    channel, know = CHANNELS[0], server.master_of
    there = next(each for each in server.masters if each != know(channel))
    if old:
        elsewhere = FakeConnection._elsewhere
        monkeypatch.setattr(
            FakeConnection, '_elsewhere', lambda *args: redis.ResponseError(
                f'MOVED {elsewhere(*args)}') if elsewhere(*args) else None)
    listeners = running.listeners
    ask_differently(
        monkeypatch, listeners,
        lambda: lambda each: there if each == channel else know(each))
    listeners.listen_to(CHANNELS)
    wait_until(lambda: running.tasks[listeners.name].restarts >= 1)
    assert all(map(listeners.hears, CHANNELS[1:]))
    assert [task.restarts for name, task in running.tasks.items()
            if name != listeners.name] == [0, 0, 0]


def test_slot_that_no_master_has(server: FakePubSub, running: Running,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """The missing master is reported. Other channels keep their
    subscriptions."""
    listeners, lost = running.listeners, CHANNELS[0]
    know = server.master_of
    there = [False]
    ask_differently(
        monkeypatch, listeners, lambda: lambda each: know(each)
        if each != lost or there[0] else None)
    listeners.listen_to(CHANNELS)
    task = running.tasks[listeners.name]
    wait_until(lambda: all(map(listeners.hears, CHANNELS[1:])))
    wait_until(lambda: task.restarts >= 1)
    assert not listeners.hears(lost)
    there[0] = True
    check(server, running, CHANNELS)
    assert ATTEMPTS > 1


def test_replaced_master(server: FakePubSub, running: Running,
                         listeners: ShardedListeners) -> None:
    """A server at another address replaces the master."""
    with server.changed:
        server.masters[0] = ('four', 4)
        for each in list(server.connections):
            if each.address == ('one', 1):
                each.end()
    check(server, running, CHANNELS)
    wait_for_value(server.on_masters, ['four', 'three', 'two'])
    wait_until(lambda: len(server.connections) == 3)


def test_broken_connections(server: FakePubSub, running: Running,
                            listeners: ShardedListeners) -> None:
    for _ in range(3):
        server.break_all()
        wait_until(lambda: all(map(listeners.hears, CHANNELS)))
    check(server, running, CHANNELS)
    assert server.on_masters() == ['one', 'three', 'two']


def test_cluster_that_is_away(server: FakePubSub, running: Running) -> None:
    server.away = True
    listeners = running.listeners
    listeners.listen_to(CHANNELS)
    wait_until(lambda: listeners.fails(CHANNELS[0]))
    wait_until(lambda: running.tasks[listeners.name].restarts >= 2)
    assert len(running.changed.calls) >= 1
    server.away = False
    check(server, running, CHANNELS)
    assert not listeners.fails(CHANNELS[0])


def test_no_rights(server: FakePubSub, running: Running) -> None:
    """The listeners report the refusal. It would affect all channels."""
    server.errors[b'SSUBSCRIBE'] = redis.exceptions.NoPermissionError('no')
    listeners = running.listeners
    listeners.listen_to(CHANNELS)
    wait_until(lambda: f'{listeners.name} 1' in running.tasks)
    wait_until(
        lambda: running.tasks[f'{listeners.name} 1'].restarts >= 2)
    assert listeners.fails(CHANNELS[0])
    server.errors.clear()
    check(server, running, CHANNELS)


def test_renew(server: FakePubSub, running: Running,
               listeners: ShardedListeners) -> None:
    """One connection is replaced, and the others stay."""
    before = list(server.connections)
    listeners.renew(CHANNELS[0])
    wait_until(lambda: len(set(before) - set(server.connections)) == 1)
    check(server, running, CHANNELS)
    assert len(set(before) & set(server.connections)) == 2
