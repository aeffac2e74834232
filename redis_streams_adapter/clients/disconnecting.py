"""How local clients are disconnected by command.

The application's disconnect handlers run, so this takes a task of its own:
the task that reads the command must not wait for them.
"""
import logging
from typing import Any, Callable, Optional, Sequence

from socketio import packet

from ..log_events import DISCONNECT_HANDLER_FAILED
from ..runtime.delivery import Client
from . import closing


class Disconnector:
    """Disconnects clients of a server. It has no state.

    :param server: a server of python-socketio.
    """

    def __init__(self, server: Any,
                 logger: Callable[[], logging.Logger]) -> None:
        self._server = server
        self._logger = logger

    def start(self, namespace: str, clients: Sequence[Client], close: bool,
              on_close: Optional[Callable[[str], None]] = None) -> None:
        """Start a task that disconnects clients, one after the other.

        :param close: close the connection, and with it all namespaces.
        :param on_close: called with the id of each connection before it is
                         closed; on that task.
        """
        self._server.start_background_task(
            self._disconnect, namespace, clients, close, on_close)

    def _disconnect(self, namespace: str, clients: Sequence[Client],
                    close: bool,
                    on_close: Optional[Callable[[str], None]]) -> None:
        for client in clients:
            try:
                self._disconnect_one(namespace, client, close, on_close)
            except Exception:
                # Its disconnect handler failed. Disconnect the others all the
                # same.
                self._logger().exception(
                    'the disconnect handler of %s failed', client[0],
                    extra=DISCONNECT_HANDLER_FAILED(
                        namespace=namespace, sid=client[0]))

    def _disconnect_one(self, namespace: str, client: Client, close: bool,
                        on_close: Optional[Callable[[str], None]]) -> None:
        sid, eio_sid = client
        if not close:
            self._server.disconnect(sid, namespace, ignore_queue=True)
            return
        if on_close is not None:
            on_close(eio_sid)
        # As in Node.js (``_disconnect()`` in ``dist/client.js`` of the npm
        # package ``socket.io`` 4.8): a client that knows that it was
        # disconnected on purpose does not reconnect by itself.
        manager = self._server.manager
        for each in list(manager.get_namespaces()):
            if manager.sid_from_eio_sid(eio_sid, each) is not None:
                self._server._send_packet(eio_sid, self._server.packet_class(
                    packet.DISCONNECT, namespace=each))
        closing.close(self._server, eio_sid,
                      self._server.reason.SERVER_DISCONNECT)
