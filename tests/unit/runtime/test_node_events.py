"""How a process handles each event of its node."""
import threading
from types import SimpleNamespace
from typing import Any, List, Tuple

import pytest

from redis_streams_adapter import OutboxFullError
from redis_streams_adapter.log_events import NODE_JOINED, NODE_LEFT, \
    NODE_SILENT
from redis_streams_adapter.protocol.codec import Packed
from redis_streams_adapter.protocol.events import Acknowledged, Act, \
    Completed, Learned, NodeJoined, NodeLeft, Send
from redis_streams_adapter.protocol.messages import Broadcast, Heartbeat
from redis_streams_adapter.protocol.transport import Way
from redis_streams_adapter.runtime.node_events import NodeEvents


class World:
    """The parts that the events are given, which note what is called."""

    def __init__(self) -> None:
        self.calls: List[Tuple[Any, ...]] = []
        #: What the node makes of a message, or of a tick.
        self.events: List[Any] = []
        self.core = threading.Lock()
        self.channel = SimpleNamespace(
            knowledge='knowledge', set_window=self.note('set_window'),
            writer=SimpleNamespace(backpressure=SimpleNamespace(
                node_reported=self.note('node_reported'))))
        self.node = SimpleNamespace(
            hear=self.under_core('hear'), tick=self.under_core('tick'),
            next_tick=lambda now: 1.5, is_known=self.is_known)
        self.node_events = NodeEvents(
            self.node, self.core,  # type: ignore[arg-type]
            SimpleNamespace(spawn=self.note('spawn')),  # type: ignore
            [self.channel, self.channel],  # type: ignore[list-item]
            self.noting('say', 'serve', 'log_about'), SimpleNamespace(
                is_connected=True, log_more=self.note('log_more'),
                watchdog=self.noting('beat'),
                no_room=lambda what, error: self.calls.append(
                    ('no_room', what, str(error)))),
            self.noting('start_again'), self.note('act'),
            lambda: self.noting('learned'))

    def is_known(self, uid: str) -> bool:
        assert self.core.locked()
        return uid == 'elsewhere'

    def note(self, name: str) -> Any:
        def called(*args: Any) -> None:
            assert not self.core.locked()
            self.calls.append((name, *args))

        return called

    def noting(self, *names: str) -> Any:
        return SimpleNamespace(**{name: self.note(name) for name in names})

    def under_core(self, name: str) -> Any:
        def called(*args: Any) -> List[Any]:
            assert self.core.locked()
            self.calls.append((name, *args))
            return self.events

        return called

    @property
    def names(self) -> List[str]:
        return [name for name, *_ in self.calls]


@pytest.fixture
def world() -> World:
    return World()


def test_heartbeat_is_written(world: World) -> None:
    event = Send('/', Heartbeat())
    world.node_events.carry_out(event)
    assert world.calls == [('say', event)]


def test_complete_request_wakes_its_task(world: World) -> None:
    waiter = threading.Event()
    world.node_events.carry_out(Completed(waiter))  # type: ignore[arg-type]
    assert waiter.is_set() and world.calls == []


def test_acknowledgement_runs_in_separate_task(world: World) -> None:
    world.node_events.carry_out(Acknowledged(print, (1, 2)))
    assert world.calls == [('spawn', print, 1, 2)]


def test_learned_members_are_noted(world: World) -> None:
    world.node_events.carry_out(Learned())
    assert world.calls == [('learned',)]


def test_joining_node_changes_shares(world: World) -> None:
    """The writers of more nodes share a stream."""
    world.node_events.carry_out(NodeJoined('/', 'other'))
    assert world.names == ['set_window', 'set_window', 'log_about']


@pytest.mark.parametrize('silent', [False, True])
def test_leaving_node_is_not_awaited(world: World, silent: bool) -> None:
    """No writer waits for its reader."""
    world.node_events.carry_out(NodeLeft('/', 'other', silent))
    *reports, log = world.calls
    assert reports == 2 * [('node_reported', 'other', None, False)]
    text = f'node %s {"fell silent" if silent else "left"} [%s]'
    assert log[1:] == (
        NODE_SILENT if silent else NODE_LEFT, text, 'other', '/', 0)


def test_node_that_leaves_one_namespace_is_awaited(world: World) -> None:
    """It still reads the streams."""
    world.node_events.carry_out(NodeLeft('/', 'elsewhere', False))
    log, = world.calls
    assert log[1:] == (NODE_LEFT, 'node %s left [%s]', 'elsewhere', '/', 0)


@pytest.mark.parametrize('event, kind', [
    (NodeJoined('/', 'other', 4999), NODE_JOINED),
    (NodeLeft('/', 'other', True, 4999), NODE_SILENT)])
def test_several_namespaces_take_one_line(world: World, event: Any,
                                          kind: Any) -> None:
    world.node_events.carry_out(event)
    lines = [call for call in world.calls if call[0] == 'log_about']
    assert [line[-2:] for line in lines] == [('/', 4999)]
    assert lines[0][1] is kind


def test_message_over_pubsub_is_executed(world: World) -> None:
    message = Broadcast(('hi',))
    packed = Packed('other', '/', message)
    act = Act('/', 'other', message, Way.PLAIN)
    world.events = [act, Learned()]
    world.node_events.receive(packed, Way.PLAIN)
    assert world.calls == [
        ('hear', packed, Way.PLAIN), ('act', act), ('learned',)]


def test_there_is_no_room_for_what_a_message_brings_about(
        world: World) -> None:
    """The node that sent it waits in vain, and says so. What comes with it is
    carried out."""
    def act(act: Act) -> None:
        raise OutboxFullError('the outbox is full')

    world.node_events._act = act
    message = Broadcast(('hi',))
    world.events = [Act('/', 'other', message, Way.PLAIN), Learned()]
    world.node_events.receive(Packed('other', '/', message), Way.PLAIN)
    assert world.calls[1:] == [
        ('no_room', 'a request', 'the outbox is full'), ('learned',)]


def test_tick_updates_namespaces_before_expiry(world: World) -> None:
    """The served namespaces are up to date before members expire."""
    rests: List[float] = []
    task: Any = SimpleNamespace(stopping=False)

    def rest(seconds: float) -> None:
        rests.append(seconds)
        task.stopping = True

    task.rest = rest
    world.events = [Learned()]
    world.node_events.keep_time(task)
    assert world.names == [
        'start_again', 'beat', 'serve', 'set_window', 'set_window', 'tick',
        'log_more', 'learned']
    _, _, connected, knowledge = world.calls[5]
    assert (connected, knowledge) == (True, 2 * ['knowledge'])
    assert rests == [1.5]
