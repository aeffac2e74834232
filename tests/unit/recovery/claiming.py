"""Claims, in a world of small fakes."""
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

#: What the client received last, in the session of these tests.
OFFSET = Position(9)

encoder = Encoder('uid')


class World(Parts):
    """Claims, and what they put into the outbox."""

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

    def kept(self) -> Session:
        """What Redis has."""
        session: Session = self.writer.codec.load(
            self.store.values[PID], PID, '/')
        return session

    def here(self, **kept: Any) -> ClientSession:
        """A client that is connected here, and goes if it is dropped."""
        client = self.client(upto=Position(10), sent=OFFSET, **kept)
        self.local.settle(client)

        def go() -> None:
            self.manager.clients.pop((client.namespace, client.sid), None)
            self.local.unregister(client)

        self.server.eio.sockets['e'].on_close = go
        return client

    def is_dropped(self, eio_sid: str = 'e') -> bool:
        return bool(self.server.eio.sockets[eio_sid].closed)


def entry(number: int, namespace: str = '/',
          message: Message = Broadcast(('x',))) -> Entry:
    return Entry(Position(number), encoder.encode(namespace, message))
