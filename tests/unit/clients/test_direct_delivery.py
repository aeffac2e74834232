"""Without recovery, local clients get an event at once."""
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
    """The order lock. It records each step, and whether the lock is held."""

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
        #: The lines to be logged without the lock.
        self.lines: List[str] = ['a line']
        self.loads: List[Any] = ['a load']
        self.clients: List[Any] = [('sid', 'eio')]
        #: What was handed over.
        self.handed: List[Any] = []
        self.delivered = 0

    def pack(self, *args: Any) -> Any:
        self._order.note('pack')
        return self.loads

    def recipients(self, *args: Any) -> Any:
        return self.clients

    def encode(self, *args: Any) -> Any:
        self._order.note('encode')
        return 'encoded'

    def encode_plain(self, *args: Any) -> Any:
        self._order.note('encode')
        return ['packet']

    def put(self, clients: Any, packets: Any) -> None:
        self._order.note('deliver')
        self.handed.append((list(clients), packets))

    def pack_with_acks(self, *args: Any) -> Any:
        self._order.note('pack')
        return self.loads

    def hand_over(self, loads: Any) -> None:
        self._order.note('deliver')
        self.handed.extend(loads)

    def log_lines(self, order: Any) -> None:
        self._order.note('log')


class Fakes:
    """A delivery and fakes of its parts."""

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
def fakes() -> Fakes:
    return Fakes()


def test_event_is_stored_and_delivered_in_one_step(fakes: Fakes) -> None:
    """The application's packet class and the log run without the lock."""
    assert fakes.delivery.emit('/', HELLO, FIELDS) is PENDING
    assert fakes.order.steps == [
        ('pack', False), ('append', True), ('deliver', True),
        ('log', False)]
    assert fakes.local.handed == ['a load']


def test_refused_event_is_not_delivered(fakes: Fakes) -> None:
    fakes.full = True
    with pytest.raises(OutboxFullError):
        fakes.delivery.emit('/', HELLO, FIELDS)
    with pytest.raises(OutboxFullError):
        fakes.delivery.command('/', HELLO, FIELDS, lambda: pytest.fail('ran'))
    assert fakes.local.handed == []
    assert not fakes.order.held


@pytest.mark.parametrize('write_only', [False, True])
def test_event_without_local_clients_is_stored(write_only: bool) -> None:
    """A write-only manager and a manager without a server have no local
    clients."""
    fakes = Fakes(write_only)
    if not write_only:
        fakes.delivery.local = None
    assert fakes.delivery.emit('/', HELLO, FIELDS) is PENDING
    assert fakes.order.steps == [('append', False)]


def test_event_for_no_local_client_needs_no_order(fakes: Fakes) -> None:
    fakes.local.loads = []
    assert fakes.delivery.emit('/', HELLO, FIELDS) is PENDING
    assert fakes.order.steps == [('pack', False), ('append', False)]


def test_command_is_applied_and_stored(fakes: Fakes) -> None:
    done: List[bool] = []
    assert fakes.delivery.command(
        '/', HELLO, FIELDS,
        lambda: done.append(fakes.order.held)) is PENDING
    # The command is only for other servers.
    fakes.delivery.command('/', HELLO, FIELDS, None)
    assert done == [True]


def test_local_event_is_not_stored(fakes: Fakes) -> None:
    fakes.delivery.locally('/', Broadcast(('hello',)))
    assert fakes.local.handed == ['a load']
    assert ('append', True) not in fakes.order.steps
    # The target matches no client: the lock is not taken.
    fakes.local.loads = []
    fakes.order.steps.clear()
    fakes.delivery.locally('/', Broadcast(('hello',)))
    assert fakes.order.steps == [('pack', False)]


def test_event_with_callback_is_stored_and_delivered(fakes: Fakes) -> None:
    pending = fakes.delivery.ask(
        '/', ('hello',), [('sid', 'eio')], lambda sid: 1, fakes.append,
        False)
    assert pending is PENDING
    assert fakes.order.steps == [
        ('pack', False), ('append', True), ('deliver', True),
        ('log', False)]
    assert fakes.delivery.ask('/', ('hello',), [], lambda sid: 1, None,
                              True) is None


def test_event_of_other_process_is_delivered(fakes: Fakes) -> None:
    """It is delivered directly, without calls of other parts."""
    entry: Any = object()
    fakes.delivery.received(entry, Act('/', 'other', HELLO))
    assert fakes.acts == []
    assert fakes.local.handed == [([('sid', 'eio')], ['packet'])]
    assert fakes.local.delivered == 1
    assert fakes.order.steps == [
        ('encode', False), ('deliver', True), ('log', False)]
    # Nothing is encoded for no client, and the lock is not taken.
    fakes.local.clients = []
    fakes.order.steps.clear()
    fakes.delivery.received(entry, Act('/', 'other', HELLO))
    assert fakes.order.steps == []


@pytest.mark.parametrize('message', [
    SocketsJoin(EVERYONE, ('room',)), Broadcast(('hi',), EVERYONE, 'r1')])
def test_other_messages_are_passed_on(fakes: Fakes, message: Any) -> None:
    """The message is a command, or an event that requests an answer."""
    entry: Any = object()
    act = Act('/', 'other', message)
    fakes.delivery.received(entry, act)
    assert fakes.acts == [act]
    assert fakes.local.handed == []
    # If a client may not enter a room, this is logged at once.
    assert fakes.order.steps == [('log', False)]


def test_direct_delivery_follows_no_stream(fakes: Fakes) -> None:
    """The reader makes no calls for entries of this process. Their events were
    delivered by the emit."""
    assert fakes.delivery.follower is None


def test_all_streams_share_delivery(fakes: Fakes) -> None:
    """All events of the process have one order."""
    assert fakes.delivery.of_stream(b'w', lambda: START) is fakes.delivery
    assert list(fakes.delivery.tasks()) == []


def test_concurrent_emits_keep_order_of_outbox() -> None:
    """The order holds, whenever the tasks switch."""
    fakes = Fakes()
    lock = threading.RLock()
    appended: List[int] = []

    def append(namespace: str, fields: Any) -> Pending:
        appended.append(threading.get_ident())
        return PENDING

    delivery = DirectDelivery(append, lock, fakes.acts.append, False)
    delivered: List[int] = []
    fakes.local.hand_over = lambda loads: delivered.append(  # type: ignore
        threading.get_ident())
    fakes.local.log_lines = lambda order: None  # type: ignore
    delivery.local = fakes.local  # type: ignore[assignment]
    threads = [threading.Thread(target=lambda: [
        delivery.emit('/', HELLO, FIELDS) for _ in range(200)])
        for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert appended == delivered and len(delivered) == 800
