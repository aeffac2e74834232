"""Fakes for tests of claims."""
import logging
from typing import Any, Callable, List, Optional, Tuple

import pytest

from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.messages import Broadcast, Message
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry
from redis_streams_adapter.recovery.claims import Claim, Claims
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.recovery.session import Refusal, Session

from .parts import Parts

PID = 'pid of s'

#: The offset of the last event that the client received.
OFFSET = Position(9)

encoder = Encoder('uid')


class Fakes(Parts):
    """Claims, and the messages that they publish."""

    def __init__(self, logger: Callable[[], logging.Logger],
                 **options: Any) -> None:
        super().__init__(logger, **options)
        self.published: List[Tuple[str, Message]] = []
        self.claims = Claims(self.clients, self.publish)
        self.store.entries = [entry(number) for number in range(1, 30)]

    def publish(self, runtime: Any, namespace: str, message: Message) -> None:
        assert runtime is self.runtime and not self.order.held
        self.published.append((namespace, message))

    def claim(self, offset: Optional[Position] = OFFSET,
              accepts: Callable[[str], bool] = lambda sid: True,
              namespace: str = '/') -> Claim:
        return self.claims.claim(namespace, PID, offset, accepts)

    def refusal(self, *args: Any, **more: Any) -> str:
        with pytest.raises(Refusal) as caught:
            self.claim(*args, **more)
        return caught.value.reason

    def stored(self) -> Session:
        """The session in Redis."""
        session: Session = self.writer.codec.load(
            self.store.values[PID], PID, '/')
        return session

    def here(self, **kept: Any) -> ClientSession:
        """A client that is connected here. It is unregistered if its
        connection is dropped."""
        client = self.client(upto=Position(10), sent=OFFSET, **kept)
        self.local.settle(client)

        def unregister() -> None:
            self.manager.clients.pop((client.namespace, client.sid), None)
            self.local.unregister(client)

        self.server.eio.sockets['e'].on_close = unregister
        return client

    def is_dropped(self, eio_sid: str = 'e') -> bool:
        return bool(self.server.eio.sockets[eio_sid].closed)


def entry(number: int, namespace: str = '/',
          message: Message = Broadcast(('x',))) -> Entry:
    return Entry(Position(number), encoder.encode(namespace, message))
