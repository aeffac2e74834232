"""The deliveries of a process with recovery, one for each stream."""
import threading
from types import SimpleNamespace
from typing import Any, Dict, List

import pytest

from redis_streams_adapter.protocol.messages import EVERYONE, SocketsJoin
from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.recovery.deliveries import StreamOrderDeliveries
from redis_streams_adapter.recovery.session import Origin
from redis_streams_adapter.recovery.stream_order import StreamOrderDelivery
from redis_streams_adapter.stream.outbox import Capacity, Pending


class Fakes:
    """Fakes of the parts that the deliveries use. They record their calls."""

    def __init__(self) -> None:
        self.calls: List[Any] = []
        #: The delivery of each namespace.
        self.by_namespace: Dict[str, Any] = {}
        self.order = threading.RLock()
        self.writer: Any = SimpleNamespace(
            sessions=SimpleNamespace(work='store task',
                                     abandon=self.note('abandon')),
            work='writer task', **{name: self.note(name) for name in (
                'begin', 'history_is_gone', 'close', 'catch_up',
                'interrupt')})
        unused: Any = None
        self.deliveries = StreamOrderDeliveries(
            self.writer, SimpleNamespace(  # type: ignore[arg-type]
                log_lines=lambda order: None),
            SimpleNamespace(abandon=lambda: None),  # type: ignore[arg-type]
            self.append, self.order, unused, Capacity(10, 1000),
            threading.Event, unused, self.by_namespace.__getitem__)

    @staticmethod
    def append(namespace: str, fields: Any) -> Pending:
        return Pending(fields, 1, 7, True)

    def make(self, writer_id: bytes) -> StreamOrderDelivery:
        return self.deliveries.of_stream(writer_id, lambda: START)

    def note(self, name: str) -> Any:
        return lambda *args: self.calls.append((name, *args))


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


def test_each_stream_has_its_delivery(fakes: Fakes) -> None:
    one, other = map(fakes.make, (b'one', b'other'))
    assert isinstance(one, StreamOrderDelivery) and one is not other
    one.began(Position(5))
    assert one.has_begun and not other.has_begun


def test_command_goes_to_writer_of_its_stream(fakes: Fakes) -> None:
    one, other = map(fakes.make, (b'one', b'other'))
    for each in (one, other):
        each.is_read = True
        each.began(Position(5))
    one.command('/', SocketsJoin(EVERYONE, ('room',)), (), lambda: None)
    assert (one.commanded, other.commanded) == (Origin(b'one', 7), None)


def test_namespace_has_delivery_of_its_stream(fakes: Fakes) -> None:
    deliveries = fakes.deliveries
    one, other = map(fakes.make, (b'one', b'other'))
    fakes.by_namespace.update({'/': one, '/chat': other})
    assert deliveries.of_namespace('/') is one
    assert deliveries.of_namespace('/chat') is other


def test_other_kind_of_delivery_raises(fakes: Fakes) -> None:
    fakes.by_namespace['/'] = object()
    with pytest.raises(RuntimeError, match='recovery is off'):
        fakes.deliveries.of_namespace('/')


def test_clients_begin_at_position_of_reader(fakes: Fakes) -> None:
    one, other = map(fakes.make, (b'one', b'other'))
    fakes.by_namespace.update({'/': one, '/chat': other})
    one.began(Position(5))
    (name, place, is_there), = fakes.calls
    assert name == 'begin'
    assert place == one.place
    assert is_there('/') and not is_there('/chat')


def test_lost_history_reaches_its_sessions(fakes: Fakes) -> None:
    delivery = fakes.make(b'one')
    delivery.began(Position(5))
    fakes.calls.clear()
    delivery.history_lost()
    assert fakes.calls == [('history_is_gone',)]


def test_all_streams_are_read_once_the_process_has_joined(
        fakes: Fakes) -> None:
    streams = [fakes.make(each) for each in (b'1', b'2')]
    assert [each.is_read for each in streams] == [False, False]
    fakes.deliveries.joined()
    assert [each.is_read for each in streams] == [True, True]


def test_deliveries_name_their_tasks(fakes: Fakes) -> None:
    assert list(fakes.deliveries.tasks()) == [
        ('sessions', 'store task', True),
        ('session writer', 'writer task', False)]


@pytest.mark.parametrize('name, args', [
    ('close', (2.0,)), ('catch_up', (3.0,)), ('interrupt', ()),
    ('abandon', ())])
def test_calls_about_sessions_are_forwarded(fakes: Fakes, name: str,
                                            args: Any) -> None:
    """Calls go to the session writer. A child process does not own the
    sessions: only its store is abandoned."""
    getattr(fakes.deliveries, name)(*args)
    assert fakes.calls == [(name, *args)]
