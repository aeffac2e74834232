"""A client that returns is handed what it has missed, and what was emitted
while it came.

On the task of the client's connection. Another connection may take the client
over at any moment: then what is known under its sid is the other one's. So
each step checks under the order lock whether the client is still here.
"""
from typing import Sequence

from ..clients import hooks
from .client_session import ClientSession
from .local_clients import LocalClients
from ..clients.receipts import when_read
from .replay import Record

#: After how many missed packets other tasks get a turn.
YIELD_EVERY = 100

#: How long a client may take to read its reply, in seconds, if nothing else
#: can be done before it has. By default, a connection that does not answer at
#: all survives at least as long.
PATIENCE = 20.0


class Handover:
    """Hands clients their packets."""

    def __init__(self, clients: LocalClients) -> None:
        self._clients = clients

    def is_here(self, client: ClientSession) -> bool:
        return self._clients.sessions.of_sid(
            client.sid, client.namespace) is client

    def give_missed(self, client: ClientSession,
                    missed: Sequence[Record]) -> bool:
        """Give a client what it has missed. Nothing blocks between the last
        packets and what the caller sends next.

        :return: ``False`` if it is gone. Another connection may have taken
                 it over: what is known under its sid is not this one's.
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
        """Give a client what was held until it has its reply.

        :return: as :meth:`give_missed`.
        """
        with self._clients.live().order:
            if not self.is_here(client):
                return False
            self._clients.delivery.release((client.sid, client.eio_sid))
        self._clients.log_lines()
        return True

    def note_reading(self, client: ClientSession) -> None:
        """Note it when a client has read its reply."""
        def has_read() -> None:
            client.ahead = None
            self._clients.sessions.change(client)

        when_read(self._clients.server, client.eio_sid, has_read)

    def let_it_count(self, client: ClientSession) -> None:
        """Drop a client as soon as it has read its reply, and all is in the
        offset that it will show. What was emitted meanwhile it has missed.
        """
        server = self._clients.server

        def drop() -> None:
            # Its connection may outlive it, for clients in other namespaces.
            if not client.gone.is_set():
                hooks.drop(server, client.eio_sid)

        def has_read() -> None:
            client.ahead = None
            drop()

        def give_up() -> None:
            client.gone.wait(PATIENCE)
            drop()

        if when_read(server, client.eio_sid, has_read):
            self._clients.log('%s has to come again, for it may have some of '
                              'what it had missed', client.sid)
            server.start_background_task(give_up)
        else:
            hooks.drop(server, client.eio_sid)
