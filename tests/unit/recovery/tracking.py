"""Fakes for tests of the tracker."""
import logging
import threading
from typing import Any, Callable, List

from redis_streams_adapter.options import RecoveryOptions
from redis_streams_adapter.recovery.admission import Visit
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.recovery.tracker import ClientTracker

from .parts import FakeDeliveries, Parts

ME = threading.get_ident()

#: The identifier of another task.
OTHER = ME + 1


class Fakes(Parts):
    """A tracker and the parts that it uses."""

    def __init__(self, logger: Callable[[], logging.Logger]) -> None:
        super().__init__(logger)
        self.runtime.deliveries = FakeDeliveries(self)
        self.tracker = ClientTracker(
            self.manager, self.server, self.delivery, RecoveryOptions(60.0),
            lambda: self.runtime, lambda *_: None)

    def visit(self, missed: Any = (), **state: Any) -> Visit:
        """The visit of a registered client during its connect handler."""
        client = self.client()
        visit = self.tracker.begin('e', '/', {'pid': 'p', 'offset': '4-0'})
        visit.admitted = True
        visit.client, visit.sid = client, client.sid
        visit.missed, visit.offset = missed, '4-0'
        for name, value in state.items():
            setattr(visit, name, value)
        return visit

    def connected(self, sid: str = 's', namespace: str = '/',
                  eio_sid: str = 'e', **kept: Any) -> ClientSession:
        client = self.client(sid, namespace, eio_sid, **kept)
        self.local.settle(client)
        return client

    def gone(self, client: ClientSession) -> None:
        self.manager.clients.pop((client.namespace, client.sid))
        self.local.unregister(client)

    @property
    def connection(self) -> Any:
        return self.server.eio.sockets['e']

    @property
    def given(self) -> List[Any]:
        """The missed packets that were delivered."""
        return [record for call in self.timeline().calls
                if call[0] == 'again' for record in call[3]]
