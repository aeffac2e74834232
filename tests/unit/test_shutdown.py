"""The shutdown of a server process."""
import threading
from typing import Any, Callable, Dict, List

import pytest

from redis_streams_adapter import shutdown

from .fake_server import FakeClient, make_server
from redis_streams_adapter.testing.stream import FakeStream

BROADCAST, GOODBYE = b'3', b'13'

Make = Callable[..., Any]


def kinds(stream: FakeStream) -> List[bytes]:
    return [entry.fields[5] for entry in stream.history]


@pytest.mark.parametrize('recovery', [False, True])
def test_events_of_handlers_are_sent_before_the_goodbye(
        make_manager: Make, stream: FakeStream, recovery: bool) -> None:
    manager = make_manager(connection_state_recovery=recovery)
    server = make_server(client_manager=manager, monitor_clients=False)
    server.on('disconnect', lambda sid, reason: server.emit('left', sid))
    manager.start()
    clients = [FakeClient(server) for _ in range(3)]
    shutdown.watch(manager._lifecycle)
    shutdown.disconnect_clients([manager._lifecycle])
    assert all(client.socket.closed for client in clients)
    assert manager.server_count() == 1
    # A request in progress emits like this.
    manager.emit('done', 1)
    shutdown.close([manager._lifecycle])
    found = [kind for kind in kinds(stream) if kind in (BROADCAST, GOODBYE)]
    assert found[:4] == [BROADCAST] * 4
    assert set(found[4:]) == {GOODBYE}


@pytest.mark.parametrize('recovery', [False, True])
def test_clients_receive_events_emitted_before(make_manager: Make,
                                               recovery: bool) -> None:
    """With recovery the event is first read from the stream."""
    manager = make_manager(connection_state_recovery=recovery)
    server = make_server(client_manager=manager, monitor_clients=False)
    client = FakeClient(server)
    for number in range(100):
        server.emit('news', number)
    shutdown.disconnect_clients([manager._lifecycle])
    assert [args[0] for args in client.received('news')] == list(range(100))


def test_managers_without_clients_are_closed_only(
        make_manager: Make, stream: FakeStream) -> None:
    emitter, asker = make_manager(write_only=True), make_manager()
    asker.start()
    emitter.emit('hello', 1)
    shutdown.watch(emitter._lifecycle)
    both = [emitter._lifecycle, asker._lifecycle]
    shutdown.disconnect_clients(both)
    emitter.emit('hello', 2)
    shutdown.close(both)
    assert kinds(stream).count(BROADCAST) == 2
    assert stream.connections == 0


def test_managers_are_closed_at_the_same_time(
        make_manager: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lifecycles = [make_manager()._lifecycle for _ in range(3)]
    together = threading.Barrier(3, timeout=10)
    closed: Dict[int, float] = {}

    def close(timeout: float) -> None:
        closed[together.wait()] = timeout

    for lifecycle in lifecycles:
        monkeypatch.setattr(lifecycle.manager, 'close', close)
    shutdown.close(lifecycles, 1.5)
    assert closed == dict.fromkeys(range(3), 1.5)
    monkeypatch.undo()


def test_wait_for_a_hanging_manager_is_limited(
        make_manager: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, go_on = make_manager(), threading.Event()
    monkeypatch.setattr(shutdown, 'MARGIN', 0.1)
    monkeypatch.setattr(manager, 'close', lambda timeout: go_on.wait(20))
    shutdown.close([manager._lifecycle], 0.1)
    assert not go_on.is_set()
    go_on.set()
    monkeypatch.undo()


def test_answers_that_go_on_are_ended() -> None:
    class Answers:
        ended = 0

        def end_answers(self) -> None:
            self.ended += 1

    answers, gone = Answers(), Answers()
    shutdown.ENDLESS.add(answers)
    shutdown.ENDLESS.add(gone)
    del gone
    shutdown.disconnect_clients([])
    assert answers.ended == 1
    assert len([each for each in shutdown.ENDLESS
                if isinstance(each, Answers)]) == 1
