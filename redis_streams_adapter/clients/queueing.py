"""How a packet gets into the queue of a client's connection.

That neither blocks nor runs code of the application, so it can be done on the
reader's task and under the order lock. Log handlers are code of the
application: lines for the log are kept until that lock is free.
"""
import logging
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, NamedTuple, \
    Optional, Sequence, Tuple

from engineio import packet as eio_packet

from ..runtime.delivery import Client
from .frames import SharedPacket
from .gevent_queue import GeventQueue


class Line(NamedTuple):
    """A line for the log.

    :param write: the method of a logger.
    :param extra: the fields of the record; ``None``: it is Engine.IO's.
    """

    write: Callable[..., None]
    text: str
    args: Tuple[Any, ...]
    extra: Optional[Dict[str, Any]] = None


def _is_on(logger: Any, level: int) -> bool:
    """Whether a logger writes lines of this level. Engine.IO's may be any
    object of the application with a method for each level."""
    is_enabled = getattr(logger, 'isEnabledFor', None)
    return is_enabled is None or is_enabled(level)


class Queueing:
    """The queues of the connections of a server.

    :param server: a server of python-socketio.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self._eio = server.eio
        #: Lines for the log, until the order lock is free. Any task adds
        #: lines, under the order lock, and removes them; each is one step.
        self.lines: Deque[Line] = deque()

    def put(self, clients: Iterable[Client],
            packets: Sequence[SharedPacket]) -> None:
        """Put packets into the queues of connections, as ``send_packet`` of
        python-engineio (4.11 and 4.15) does. That method also logs them, at
        once. Needs the order lock.

        No function of ours for each client: this runs for each event and
        client.
        """
        eio = self._eio
        sockets, logger = eio.sockets, eio.logger
        # Looked up once for all clients.
        is_enabled = getattr(logger, 'isEnabledFor', None)
        logs = is_enabled is None or is_enabled(logging.INFO)
        hub: Any = None
        marked: Dict[GeventQueue, None] = {}
        for _, eio_sid in clients:
            try:
                sock = sockets[eio_sid]
            except KeyError:
                sock = None
            if sock is None or sock.closed:
                self._log_gone(eio_sid, len(packets))
                continue
            # Read once: the connection's task clears it when the answer
            # comes.
            last_ping = sock.last_ping
            if last_ping and last_ping < time.time() - eio.ping_timeout:
                # Engine.IO closes a client that has not answered a ping, and
                # runs the application's disconnect handler, which may take
                # long. Not here: all other clients would wait.
                if not getattr(sock, 'closing', False):
                    for packet in packets:
                        self._server.start_background_task(
                            eio.send_packet, eio_sid, packet)
                continue
            queue = sock.queue
            if type(queue) is GeventQueue:
                # What its put() does.
                if queue.hub is not hub:
                    hub = queue.hub
                    marked = hub.marked
                    if hub.callback is None or not hub.callback.pending:
                        hub.schedule()
                queue.items.extend(packets)
                marked[queue] = None
                if not hub.callback.pending:
                    hub.schedule()
            else:
                for packet in packets:
                    queue.put(packet)
            if logs:
                self._log_sent(eio_sid, packets)

    def _log_gone(self, eio_sid: str, count: int) -> None:
        logger = self._eio.logger
        if _is_on(logger, logging.WARNING):
            self.lines.extend([Line(
                logger.warning, 'Cannot send to sid %s', (eio_sid,))] * count)

    def _log_sent(self, eio_sid: str, packets: Iterable[Any]) -> None:
        self.lines.extend(Line(
            self._eio.logger.info, '%s: Sending packet %s data %s',
            (eio_sid, eio_packet.packet_names[packet.packet_type],
             '<binary>' if packet.binary else packet.data))
            for packet in packets)

    def log_lines(self, order: Any) -> None:
        """Write the lines that were kept under the order lock. Does nothing
        while this task holds that lock: it calls this again later."""
        lines = self.lines
        while lines and not order._is_owned():
            try:
                write, text, args, extra = lines.popleft()
            except IndexError:
                # Another task was faster.
                return
            if extra is None:
                write(text, *args)
            else:
                write(text, *args, extra=extra)
