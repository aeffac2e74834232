"""Frames are written completely, and one after the other."""
import contextlib
import gc
import socket
import threading
import weakref
from types import SimpleNamespace
from typing import Any, Iterator, List, Tuple

import pytest

from redis_streams_adapter.clients.frame_socket import FrameSocket, \
    FrameWriter
from redis_streams_adapter.clients.frames import Joined
from redis_streams_adapter.concurrency.limiter import Limiter

from ...support.wait import wait_until
from ..striking import strike, Striker

#: More than the buffers of a pair of sockets hold.
LARGE = 4 * 2**20


@pytest.fixture
def pair() -> Iterator[Tuple[FrameSocket, socket.socket]]:
    """The server's socket, and the client's end."""
    near, far = socket.socketpair()
    with near, far:
        # Engine.IO does the same. send() then may write only a part.
        near.settimeout(10.0)
        yield FrameSocket(near, Limiter(1, threading.Event)), far


def write(frames: FrameSocket, *data: bytes) -> threading.Thread:
    """Write frames in a thread, one after the other."""
    def send() -> None:
        for each in data:
            frames.send(each)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def read(sock: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        data += sock.recv(min(65536, length - len(data)))
    return bytes(data)


def test_all_bytes_are_written(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    frames, far = pair
    thread = write(frames, b'x' * LARGE)
    assert read(far, LARGE) == b'x' * LARGE
    thread.join(10.0)
    assert frames.send(b'more') == 4
    assert far.recv(100) == b'more'


def test_concurrent_frames_are_not_mixed(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    """A waiting task is next."""
    frames, far = pair
    write(frames, b'x' * LARGE, b'y' * LARGE)
    far.recv(1, socket.MSG_PEEK)
    write(frames, b'pong')
    wait_until(lambda: len(frames._limiter.queue) == 2)
    assert read(far, 2 * LARGE + 4) == b''.join(
        [b'x' * LARGE, b'pong', b'y' * LARGE])


def test_partial_frame_closes_socket(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    """The other end notices that the connection is closed."""
    frames, far = pair
    frames.settimeout(0.1)
    with pytest.raises(BrokenPipeError, match='timed out'):
        frames.send(b'x' * LARGE)
    with pytest.raises(BrokenPipeError, match='gone'):
        frames.send(b'pong')
    came = b''.join(iter(lambda: far.recv(65536), b''))
    assert 0 < len(came) < LARGE
    assert set(came) == {ord('x')}
    assert frames.recv(1) == b''


def test_struck_write_closes_socket(pair: Tuple[FrameSocket, socket.socket],
                                    monkeypatch: Any) -> None:
    """A gevent timeout is not a socket error."""
    class Struck(BaseException):
        pass

    class Socket:
        def gettimeout(self) -> None:
            return None

        def send(self, data: bytes) -> int:
            return 1

        def sendall(self, data: bytes) -> None:
            raise Struck

        def shutdown(self, how: int) -> None:
            raise OSError('gone already')

    frames = FrameSocket(Socket(), Limiter(1, threading.Event))
    with pytest.raises(Struck):
        frames.send(b'frame')
    with pytest.raises(BrokenPipeError):
        frames.send(b'frame')


def test_other_attributes_are_those_of_socket(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    frames, far = pair
    far.send(b'request')
    assert frames.recv(100) == b'request'
    frames.settimeout(3.0)
    assert frames.gettimeout() == 3.0
    assert frames.fileno() > 0
    frames.close()
    assert far.recv(100) == b''


# -- unfinished frames -------------------------------------------------------

def test_rest_precedes_what_follows(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    """The reading task's PONG, too, follows a whole frame."""
    frames, far = pair
    frames.unfinished = b'x' * LARGE
    thread = write(frames, b'pong', b'', b'more')
    assert read(far, LARGE + 8) == b'x' * LARGE + b'pongmore'
    thread.join(10.0)
    assert not frames.unfinished
    frames.unfinished = b'rest'
    frames.send(b'')
    assert far.recv(100) == b'rest'


def test_connection_that_ends_with_unfinished_frame(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    """The client sees half a frame, and the end of the connection."""
    frames, far = pair
    frames.send(b'half')
    frames.unfinished = b'a frame'
    frames.close()
    assert b''.join(iter(lambda: far.recv(65536), b'')) == b'half'


def test_struck_tearing_leaves_nothing_to_others() -> None:
    """The hub does not write while a task is in the list."""
    def struck(how: int) -> None:
        raise KeyboardInterrupt

    class Socket:
        def gettimeout(self) -> None: ...

        def send(self, data: bytes) -> int:
            raise OSError('timed out')

        shutdown = staticmethod(struck)

    frames = FrameSocket(Socket(), Limiter(1, threading.Event))
    with pytest.raises(KeyboardInterrupt):
        frames.send(b'frame')
    assert frames.tasks


def test_only_sockets_of_gevent_write_without_waiting() -> None:
    near, far = socket.socketpair()
    green: Any = SimpleNamespace(_sock=near)

    def make(sock: Any) -> FrameSocket:
        return FrameSocket(sock, Limiter(1, threading.Event))

    with near, far:
        for timeout in (None, 1.0):
            near.settimeout(timeout)
            assert make(near).at_once is make(green).at_once is None
        near.settimeout(0.0)
        at_once = make(green).at_once
        assert at_once is not None and at_once(b'now') == 3
        assert far.recv(100) == b'now'
        with pytest.raises(BlockingIOError):
            while at_once(b'x' * LARGE):
                pass
        # gevent's encrypted sockets have one like that, too.
        green.cipher = None
        assert make(green).at_once is None


def test_struck_send_tears_or_writes_whole_frames() -> None:
    def send(striker: Striker) -> None:
        near, far = socket.socketpair()
        with near, far:
            near.settimeout(0.01)
            frames = FrameSocket(near, Limiter(1, threading.Event))
            frames.unfinished = b'rest,'
            striker.run(lambda: frames.send(b'frame'))
            with contextlib.suppress(BrokenPipeError):
                frames.send(b'next')
            frames.close()
            assert far.recv(100) in (
                b'', b'rest,frame', b'rest,next', b'rest,framenext')

    strike(send, step=1)


# -- writers -----------------------------------------------------------------

def make_writer(frames: FrameSocket, is_open: bool = True
                ) -> Tuple[FrameWriter, Any, Any, List[Any]]:
    sent: List[Any] = []
    ws = SimpleNamespace(send=sent.append)
    sock = SimpleNamespace(upgraded=True)
    return FrameWriter(
        frames, lambda: is_open, True, 100, ws, sock), ws, sock, sent


def test_writer_sends_frames_and_messages(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    frames, far = pair
    writer, ws, sock, sent = make_writer(frames)
    ws.send(Joined(b'frames'))
    assert far.recv(100) == b'frames'
    ws.send('message')
    assert sent == ['message']


def test_ended_writer_is_in_no_reference_cycle(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    class WebSocket:
        upgraded = True

        def send(self, message: Any) -> None:
            pass

    ws, sock = WebSocket(), WebSocket()
    writer = FrameWriter(pair[0], lambda: True, True, 100, ws, sock)
    assert writer.is_used
    writer.end()
    assert not writer.is_used
    known: List[Any] = [weakref.ref(each) for each in (ws, sock, writer)]
    gc.disable()
    try:
        del ws, sock, writer
        assert [each() for each in known] == [None] * 3
    finally:
        gc.enable()


def test_closed_connection_gets_no_frame(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    """The frame that closes it is the last one."""
    frames, far = pair
    _, ws, _, _ = make_writer(frames, is_open=False)
    with pytest.raises(OSError, match='closed'):
        ws.send(Joined(b'frames'))
    frames.close()
    assert far.recv(100) == b''


def test_writer_is_used_from_upgrade_until_send_is_replaced(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    writer, ws, sock, sent = make_writer(pair[0])
    assert writer.is_used
    sock.upgraded = False
    assert not writer.is_used
    sock.upgraded = True
    ws.send = sent.append
    assert not writer.is_used
