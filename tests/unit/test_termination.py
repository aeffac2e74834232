"""The handler of SIGTERM."""
import os
import signal
import threading
from typing import Any, Callable, Iterator, List

import pytest

from redis_streams_adapter import termination
from redis_streams_adapter.protocol.messages import MessageType
from redis_streams_adapter.termination import graceful_sigterm
from redis_streams_adapter.testing.stream import FakeStream

from ..support.wait import DEADLINE
from .fake_server import FakeClient, make_server
from .nodes import messages

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """The signal has its default action before and after each test."""
    former = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, former)


@pytest.fixture
def server(make_manager: Make) -> Any:
    server = make_server(client_manager=make_manager(), monitor_clients=False)
    server.manager.start()
    return server


def wait_for_the_end() -> None:
    """As a server's loop: the handler raises SystemExit here."""
    threading.Event().wait(DEADLINE)


def test_signal_shuts_down(server: Any, stream: FakeStream) -> None:
    """Including what a disconnect handler emits."""
    server.on('disconnect', lambda sid, reason: server.emit('left', sid))
    client = FakeClient(server)
    with pytest.raises(SystemExit) as info, graceful_sigterm():
        for number in range(100):
            server.emit('news', number)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for_the_end()
    assert info.value.code == 0
    assert len(client.received('news')) == 100 and client.socket.closed
    assert len(messages(stream, MessageType.BROADCAST)) == 101
    assert messages(stream, MessageType.ADAPTER_CLOSE)


def test_server_that_returns_when_the_handler_raises(server: Any) -> None:
    """As eventlet's does."""
    with pytest.raises(SystemExit), graceful_sigterm():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            wait_for_the_end()
        except SystemExit:
            pass


def test_second_signal_does_not_interrupt_the_shutdown(
        server: Any, stream: FakeStream) -> None:
    with pytest.raises(SystemExit), graceful_sigterm():
        server.emit('news', 1)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        wait_for_the_end()
    assert len(messages(stream, MessageType.BROADCAST)) == 1
    assert messages(stream, MessageType.ADAPTER_CLOSE)


def test_server_that_ends_by_itself(server: Any,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """The task of the handler ends, too."""
    ended = threading.Event()
    run = termination._Termination.run

    def noted(end: Any) -> None:
        run(end)
        ended.set()

    monkeypatch.setattr(termination._Termination, 'run', noted)
    with graceful_sigterm():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert ended.wait(DEADLINE)
    assert server.manager.server_count() == 1


def test_handler_of_the_application_is_kept(server: Any) -> None:
    called: List[int] = []

    def handle(number: int, frame: Any) -> None:
        called.append(number)

    signal.signal(signal.SIGTERM, handle)
    with graceful_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        assert called == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == handle


def test_not_in_another_thread(server: Any) -> None:
    found: List[Any] = []

    def run() -> None:
        with graceful_sigterm():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(DEADLINE)
    assert found == [signal.SIG_DFL]


def test_child_process_is_terminated_as_ever(server: Any) -> None:
    """multiprocessing's terminate() sends this signal."""
    with graceful_sigterm():
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os._exit(3)
        status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM
