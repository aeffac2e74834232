"""Hands a returning client what it missed, and what was emitted while it
connected.

This runs on the task of the client's connection. Another connection may take
the client over at any moment. Then what is known under its sid belongs to that
one. So each step checks under the order lock whether the client is still here.
"""
from typing import Sequence

from ..clients import hooks
from .client_session import ClientSession
from .local_clients import LocalClients
from ..log_events import CLIENT_HAS_TO_RECONNECT
from ..clients.receipts import when_read
from .replay import Record

#: After how many missed packets other tasks may run.
YIELD_EVERY = 100

#: How long a client may take to read its reply, in seconds, if its connection
#: is dropped after that. By default, a connection that does not answer at all
#: survives at least as long.
PATIENCE = 20.0


class Handover:
    """Hands clients their packets. It has no state of its own."""

    def __init__(self, clients: LocalClients) -> None:
        self._clients = clients

    def is_here(self, client: ClientSession) -> bool:
        """Whether a client is registered here, on this connection."""
        return self._clients.sessions.of_sid(
            client.sid, client.namespace) is client

    def send_missed(self, client: ClientSession,
                    missed: Sequence[Record]) -> bool:
        """Hand a client what it missed. Nothing blocks between the last
        packets and what the caller sends next.

        :return: ``False`` if the client is gone, or taken over by another
                 connection.
        """
        address, runtime = (client.sid, client.eio_sid), self._clients.live()
        timeline = self._clients.timeline(client.namespace)
        for start in range(0, len(missed) or 1, YIELD_EVERY):
            if start:
                runtime.engine.pause()
            if not timeline.deliver_again(
                    address, client.namespace,
                    missed[start:start + YIELD_EVERY],
                    lambda: self.is_here(client)):
                return False
        return True

    def release(self, client: ClientSession) -> bool:
        """Hand a client what was held until it had its reply.

        :return: as :meth:`send_missed`.
        """
        with self._clients.live().order:
            if not self.is_here(client):
                return False
            self._clients.delivery.release((client.sid, client.eio_sid))
        self._clients.log_lines()
        return True

    def note_reading(self, client: ClientSession) -> None:
        """Once a client has read its reply, its offset shows all that it
        has."""
        def has_read() -> None:
            client.ahead = None
            self._clients.sessions.change(client)

        when_read(self._clients.server, client.eio_sid, has_read)

    def drop_when_read(self, client: ClientSession) -> None:
        """Drop a client as soon as it has read its reply: then the offset
        that it will show covers all that it has. It misses what was emitted
        meanwhile, and gets that when it returns."""
        server = self._clients.server

        def drop() -> None:
            # Its connection may live on for clients in other namespaces.
            if not client.gone.is_set():
                hooks.drop(server, client.eio_sid)

        def has_read() -> None:
            client.ahead = None
            drop()

        def give_up() -> None:
            client.gone.wait(PATIENCE)
            drop()

        if when_read(server, client.eio_sid, has_read):
            self._clients.log('%s has to reconnect: it may already have some '
                              'of the packets that it missed', client.sid,
                              extra=CLIENT_HAS_TO_RECONNECT(
                                  namespace=client.namespace, sid=client.sid))
            server.start_background_task(give_up)
        else:
            hooks.drop(server, client.eio_sid)
