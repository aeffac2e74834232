"""An exception that strikes a task of the package, such as that of a signal
handler, which strikes the running green thread: its next round finds
consistent state."""
import sys
from types import SimpleNamespace
from typing import Any, Callable, Dict, List

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.concurrency import tasks
from redis_streams_adapter.runtime import runtime
from redis_streams_adapter.protocol.messages import MessageType
from redis_streams_adapter.concurrency.engines import ThreadEngine

from ...support.wait import DEADLINE, wait_for_value, wait_until
from redis_streams_adapter.testing.stream import FakeStream, Fault
from ..nodes import Call, messages, Node
from ..striking import held_locks, STEP, strike, Striker, Struck

Make = Callable[..., RedisStreamsManager]
Streams = Dict[str, FakeStream]
Target = Callable[[str, Striker], None]


@pytest.fixture
def strike_task(monkeypatch: pytest.MonkeyPatch) -> Target:
    """Makes an exception strike the next task of a name."""
    target: List[Any] = []

    def start(engine: Any, loop: Callable[[], Any]) -> Any:
        # Like the report of a greenlet.
        handle = SimpleNamespace(dead=False)

        def run() -> None:
            name, striker = target[-1]
            if loop.__self__.name == name:  # type: ignore[attr-defined]
                sys.setprofile(striker)
            try:
                loop()
            except Struck:
                # Before it had begun.
                pass
            finally:
                sys.setprofile(None)
                handle.dead = True

        engine.spawn(run)
        return handle

    monkeypatch.setattr(ThreadEngine, 'start', start)
    return lambda *args: target.append(args)


@pytest.fixture(autouse=True)
def goes_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, 'BACKOFF_FIRST', 0.001)
    monkeypatch.setattr(runtime, 'START_PATIENCE', 0.2)


def numbers(stream: FakeStream) -> List[int]:
    return [message.args[1]
            for message in messages(stream, MessageType.BROADCAST)]


@pytest.mark.parametrize('faults', [
    (), (Fault.NONE, Fault.BREAK_AFTER), (Fault.NONE, Fault.BREAK_BEFORE)],
    ids=['', 'with a lost reply', 'with a lost batch'])
def test_writer(streams: Streams, make_manager: Make, strike_task: Target,
                faults: Any) -> None:
    """Each emitted event is stored once, and counted once."""
    def emit(striker: Striker) -> None:
        stream = streams['socket.io'] = FakeStream()
        stream.plan('append', *faults)
        strike_task('writer of socket.io', striker)
        manager = make_manager(write_only=True, publish='background')
        for number in range(3):
            manager.emit('number', number)
        assert Call(manager.flush, DEADLINE).result(), striker.where
        for number in range(3, 6):
            manager.emit('number', number)
        assert Call(manager.flush, DEADLINE).result(), striker.where
        assert numbers(stream) == [0, 1, 2, 3, 4, 5], striker.where
        stats = manager.stats()
        assert (stats['sent'], stats['outbox'], stats['outbox_bytes']) == (
            6, 0, 0), striker.where
        wait_for_value(lambda: stream.connections, 1)
        assert not held_locks(manager), striker.where
        Call(manager.close, 1).result()
        wait_for_value(lambda: stream.connections, 0)

    strike(emit, kind=Struck, step=STEP)


@pytest.mark.parametrize('options', [
    {}, {'connection_state_recovery': True}], ids=['plain', 'recovery'])
def test_reader(streams: Streams, make_manager: Make,
                make_node: Callable[..., Node], strike_task: Target,
                options: Any) -> None:
    """An entry is passed on once. A struck one counts as failed: it may have
    been handled in part, and is not handled again."""
    def receive(striker: Striker) -> None:
        stream = streams['socket.io'] = FakeStream()
        strike_task('reader of socket.io', striker)
        emitter = make_manager(write_only=True)
        node = make_node(**options)
        node.manager.start()
        client = node.connect()
        # The reader may have to begin at the time of the start.
        stream.advance(1)
        for number in range(5):
            emitter.emit('number', number)
        reader = node.manager._live().channels[0].reader
        wait_until(lambda: reader.cursor == stream.entries[-1].id,
                   what=striker.where)
        got = [args[0] for args in client.received('number')]
        stats = node.manager.stats()
        assert got == sorted(set(got)), striker.where
        missing = 5 - len(got)
        assert missing <= stats['failed'] + stats['messages_lost'], \
            striker.where
        assert missing <= 1
        assert not held_locks(node.manager), striker.where
        for manager in (node.manager, emitter):
            Call(manager.close, 1).result()
        wait_for_value(lambda: stream.connections, 0)

    strike(receive, kind=Struck, step=6 * STEP)


def test_heartbeat(streams: Streams, make_node: Callable[..., Node],
                   strike_task: Target) -> None:
    """It continues: the node remains a member, and announces it."""
    def beat(striker: Striker) -> None:
        stream = streams['socket.io'] = FakeStream()
        strike_task('heartbeat', striker)
        node = make_node(heartbeat_interval=0.02)
        node.manager.start()
        task = node.manager._live().tasks.by_name['heartbeat']
        for _ in range(2):
            count = len(messages(stream, MessageType.HEARTBEAT))
            wait_until(lambda: len(messages(
                stream, MessageType.HEARTBEAT)) > count, what=striker.where)
        assert not task.stopping
        assert not held_locks(node.manager), striker.where
        Call(node.manager.close, 1).result()
        assert messages(stream, MessageType.ADAPTER_CLOSE), striker.where
        wait_for_value(lambda: stream.connections, 0)

    strike(beat, kind=Struck, step=8 * STEP)
