"""Delivery with recovery, for all streams of a process: the order of each
stream, and the sessions of the local clients.

It is made once for each process. No task changes it afterwards. Its parts say
what protects their state.
"""
import logging
from typing import Any, Callable, Iterable, List

from ..clients.delivery import Delivery
from ..clients.direct_delivery import Append, DirectDelivery
from ..concurrency.engines import Event
from ..protocol.events import Act
from ..protocol.position import Position
from ..runtime.delivery import Delivery as AnyDelivery
from ..runtime.tasks import Part
from ..stream.outbox import Capacity
from .session_writer import SessionWriter
from .stream_order import StreamOrderDelivery


class StreamOrderDeliveries:
    """Implements
    :class:`~redis_streams_adapter.runtime.delivery.Deliveries`.

    :param session_writer: keeps the sessions of the local clients in Redis.
    :param delivery_of: returns the delivery of a namespace.

    The other parameters are those of
    :class:`~redis_streams_adapter.recovery.stream_order.\
StreamOrderDelivery`.
    """

    def __init__(self, session_writer: SessionWriter, local: Delivery,
                 direct: DirectDelivery, append: Append, order: Any,
                 act: Callable[[Act], None], capacity: Capacity,
                 make_event: Callable[[], Event],
                 logger: Callable[[], logging.Logger],
                 delivery_of: Callable[[str], AnyDelivery]) -> None:
        self.session_writer = session_writer
        self._direct = direct
        self._delivery_of = delivery_of
        self._make: Callable[[bytes, Callable[[], Position]],
                             StreamOrderDelivery] = \
            lambda writer_id, arrived: StreamOrderDelivery(
                writer_id, local, direct, append, order, act, capacity,
                make_event, logger, arrived, self._began,
                session_writer.history_is_gone)
        #: Appended to by the task that makes the runtime; only read after
        #: that.
        self._streams: List[StreamOrderDelivery] = []

    def of_stream(self, writer_id: bytes, arrived: Callable[[], Position]
                  ) -> StreamOrderDelivery:
        """See :class:`~redis_streams_adapter.runtime.delivery.\
Deliveries`."""
        delivery = self._make(writer_id, arrived)
        self._streams.append(delivery)
        return delivery

    def of_namespace(self, namespace: str) -> StreamOrderDelivery:
        """The delivery of the stream that a namespace goes to."""
        delivery = self._delivery_of(namespace)
        if not isinstance(delivery, StreamOrderDelivery):
            raise RuntimeError('recovery is off')
        return delivery

    def _began(self, delivery: StreamOrderDelivery) -> None:
        self.session_writer.begin(
            delivery.place,
            lambda namespace: self._delivery_of(namespace) is delivery)

    def tasks(self) -> Iterable[Part]:
        """See :class:`~redis_streams_adapter.runtime.delivery.\
Deliveries`."""
        return (Part('sessions', self.session_writer.sessions.work, True),
                Part('session writer', self.session_writer.work))

    def joined(self) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.\
Deliveries`."""
        for each in self._streams:
            each.is_read = True

    def close(self, timeout: float) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.\
Deliveries`."""
        self.session_writer.close(timeout)

    def catch_up(self, timeout: float) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.\
Deliveries`."""
        self.session_writer.catch_up(timeout)

    def renew(self) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.\
Deliveries`."""
        self.session_writer.sessions.renew()

    def interrupt(self) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.\
Deliveries`."""
        self.session_writer.interrupt()

    def abandon(self) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.\
Deliveries`."""
        self._direct.abandon()
        self.session_writer.sessions.abandon()
