"""A connection to Redis that can be cut, for one node alone."""
import socket
import threading
from typing import List, Optional


class Proxy:
    """Passes bytes on between its own port and another one.

    It refuses connections until :meth:`open` and after :meth:`cut`.

    :param target_port: a port of the loopback interface; it may be set to
                        another one, for connections that come after.
    """

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self.target_port = target_port
        self._listener: Optional[socket.socket] = None
        #: Protects the two below, which the threads use too.
        self._lock = threading.Lock()
        self._sockets: List[socket.socket] = []
        self._lose_reply_to: Optional[bytes] = None
        self._lost = threading.Event()

    @property
    def url(self) -> str:
        """The URL of the Redis behind it."""
        return f'redis://127.0.0.1:{self.port}/0'

    def open(self) -> None:
        """Accept connections."""
        self._listener = socket.create_server(('127.0.0.1', self.port))
        threading.Thread(target=self._accept, args=(self._listener,),
                         daemon=True).start()

    def cut(self) -> None:
        """Close every connection, and accept no more."""
        if self._listener is not None:
            # Wakes the thread that accepts, which close() does not.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self._cut_connections()

    def lose_reply_to(self, command: bytes) -> threading.Event:
        """Let the next command of this name through, once; cut all
        connections before its reply is passed on.

        :return: set when that has happened.
        """
        with self._lock:
            self._lost = threading.Event()
            self._lose_reply_to = command
            return self._lost

    def __enter__(self) -> 'Proxy':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cut()

    # -- threads ------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(
                    ('127.0.0.1', self.target_port))
            except OSError:
                near.close()
                continue
            doomed = threading.Event()
            with self._lock:
                self._sockets += [near, far]
            for target, args in ((self._pass_commands, (near, far, doomed)),
                                 (self._pass_replies, (far, near, doomed))):
                threading.Thread(target=target, args=args,
                                 daemon=True).start()

    def _pass_commands(self, near: socket.socket, far: socket.socket,
                       doomed: threading.Event) -> None:
        try:
            while chunk := near.recv(65536):
                with self._lock:
                    wanted = self._lose_reply_to
                    if wanted is not None and wanted in chunk:
                        self._lose_reply_to = None
                        doomed.set()
                far.sendall(chunk)
        except OSError:
            pass  # cut
        self._close(near, far)

    def _pass_replies(self, far: socket.socket, near: socket.socket,
                      doomed: threading.Event) -> None:
        try:
            while chunk := far.recv(65536):
                if doomed.is_set():
                    self._cut_connections()
                    self._lost.set()
                    return
                near.sendall(chunk)
        except OSError:
            pass  # cut
        self._close(near, far)

    def _cut_connections(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, []
        self._close(*sockets)

    @staticmethod
    def _close(*sockets: socket.socket) -> None:
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed by the other thread
            each.close()
