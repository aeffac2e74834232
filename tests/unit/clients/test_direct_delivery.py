"""Delivery without recovery: local clients get an event at once."""
import threading
from typing import Any, List

import pytest

from redis_streams_adapter.clients.direct_delivery import DirectDelivery
from redis_streams_adapter.errors import OutboxFullError
from redis_streams_adapter.protocol.events import Act
from redis_streams_adapter.protocol.messages import Broadcast, EVERYONE, \
    SocketsJoin
from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.stream.outbox import Pending

HELLO = Broadcast(('hello', 1))
FIELDS = (b'name', b'value')
PENDING = Pending(FIELDS, 0, 1, True)


class Order:
    """The order lock. Each step is noted, and whether the lock is held."""

    def __init__(self) -> None:
        self.held = False
        self.steps: List[Any] = []

    def __enter__(self) -> None:
        self.held = True

    def __exit__(self, *args: Any) -> None:
        self.held = False

    def note(self, name: str) -> None:
        self.steps.append((name, self.held))


class Local:
    """The local clients."""

    def __init__(self, order: Order) -> None:
        self._order = order
        #: To be logged when the lock is free.
        self.lines: List[str] = ['a line']
        self.loads: List[Any] = ['a load']
        self.delivered: List[Any] = []

    def pack(self, *args: Any) -> Any:
        self._order.note('pack')
        return self.loads

    def pack_with_acks(self, *args: Any) -> Any:
        self._order.note('pack')
        return self.loads

    def hand_over(self, loads: Any) -> None:
        self._order.note('deliver')
        self.delivered.extend(loads)

    def log_lines(self, order: Any) -> None:
        self._order.note('log')


class World:
    """A delivery and what it calls."""

    def __init__(self, write_only: bool = False) -> None:
        self.order = Order()
        self.local = Local(self.order)
        self.acts: List[Any] = []
        self.full = False
        self.delivery = DirectDelivery(
            self.append, self.order, self.acts.append, write_only)
        self.delivery.local = self.local  # type: ignore[assignment]

    def append(self, *args: Any) -> Pending:
        if self.full:
            raise OutboxFullError('the outbox is full')
        self.order.note('append')
        return PENDING


@pytest.fixture
def world() -> World:
    return World()


def test_event_is_stored_and_delivered_in_one_step(world: World) -> None:
    """The application's packet class and the log run without the lock."""
    assert world.delivery.emit('/', HELLO, FIELDS) is PENDING
    assert world.order.steps == [
        ('pack', False), ('append', True), ('deliver', True),
        ('log', False)]
    assert world.local.delivered == ['a load']


def test_refused_event_is_not_delivered(world: World) -> None:
    world.full = True
    with pytest.raises(OutboxFullError):
        world.delivery.emit('/', HELLO, FIELDS)
    with pytest.raises(OutboxFullError):
        world.delivery.command('/', HELLO, FIELDS, lambda: pytest.fail('ran'))
    assert world.local.delivered == []
    assert not world.order.held


@pytest.mark.parametrize('write_only', [False, True])
def test_event_without_local_clients_is_stored(write_only: bool) -> None:
    """A write-only manager has none, nor has one without a server."""
    world = World(write_only)
    if not write_only:
        world.delivery.local = None
    assert world.delivery.emit('/', HELLO, FIELDS) is PENDING
    assert world.order.steps == [('append', False)]


def test_command_is_applied_and_stored(world: World) -> None:
    done: List[bool] = []
    assert world.delivery.command(
        '/', HELLO, FIELDS,
        lambda: done.append(world.order.held)) is PENDING
    # For other servers alone.
    world.delivery.command('/', HELLO, FIELDS, None)
    assert done == [True]


def test_local_event_is_not_stored(world: World) -> None:
    world.delivery.locally('/', ('hello',), EVERYONE)
    assert world.local.delivered == ['a load']
    assert ('append', True) not in world.order.steps
    # The target matches no client: the lock is not taken.
    world.local.loads = []
    world.order.steps.clear()
    world.delivery.locally('/', ('hello',), EVERYONE)
    assert world.order.steps == [('pack', False)]


def test_event_with_callback_is_stored_and_delivered(world: World) -> None:
    pending = world.delivery.ask(
        '/', ('hello',), [('sid', 'eio')], lambda sid: 1, world.append,
        False)
    assert pending is PENDING
    assert world.order.steps == [
        ('pack', False), ('append', True), ('deliver', True),
        ('log', False)]
    assert world.delivery.ask('/', ('hello',), [], lambda sid: 1, None,
                              True) is None


def test_event_of_other_process_is_delivered(world: World) -> None:
    """It is delivered directly, without calls of other parts."""
    entry: Any = object()
    world.delivery.received(entry, Act('/', 'other', HELLO))
    assert world.acts == []
    assert world.local.delivered == ['a load']
    assert world.order.steps == [
        ('pack', False), ('deliver', True), ('log', False)]


@pytest.mark.parametrize('message', [
    SocketsJoin(EVERYONE, ('room',)), Broadcast(('hi',), EVERYONE, 'r1')])
def test_other_messages_are_passed_on(world: World, message: Any) -> None:
    """A command, or an event that asks for an answer."""
    entry: Any = object()
    act = Act('/', 'other', message)
    world.delivery.received(entry, act)
    assert world.acts == [act]
    assert world.local.delivered == []
    # If a client may not enter a room, the log has it at once.
    assert world.order.steps == [('log', False)]


def test_direct_delivery_follows_no_stream(world: World) -> None:
    """The reader makes no calls for entries of this process: their events
    were delivered when they were emitted."""
    assert world.delivery.follower is None


def test_all_streams_share_delivery(world: World) -> None:
    """All events of the process have one order."""
    assert world.delivery.of_stream(b'w', lambda: START) is world.delivery
    assert list(world.delivery.tasks()) == []


def test_concurrent_emits_keep_order_of_outbox() -> None:
    """The order holds, whatever the tasks do between the steps."""
    world = World()
    lock = threading.RLock()
    appended: List[int] = []

    def append(namespace: str, fields: Any) -> Pending:
        appended.append(threading.get_ident())
        return PENDING

    delivery = DirectDelivery(append, lock, world.acts.append, False)
    delivered: List[int] = []
    world.local.hand_over = lambda loads: delivered.append(  # type: ignore
        threading.get_ident())
    world.local.log_lines = lambda order: None  # type: ignore
    delivery.local = world.local  # type: ignore[assignment]
    threads = [threading.Thread(target=lambda: [
        delivery.emit('/', HELLO, FIELDS) for _ in range(200)])
        for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert appended == delivered and len(delivered) == 800
