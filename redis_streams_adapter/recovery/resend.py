"""How an event that a client missed is encoded and sent again.

It is made of the entry's data, which the application cannot change. It is
encoded once for all clients that missed it.
"""
import logging
from typing import Any, Callable, Iterable, Optional

from ..clients.delivery import Delivery
from ..clients.encoding import Encoded
from ..log_events import RESEND_FAILED
from ..protocol import codec
from ..protocol.messages import MessageType
from ..runtime.delivery import Client
from .replay import Record


class Resender:
    """Sends missed events to the local clients. It has no state of its own.

    :param local: the local clients.
    :param order: the order lock.
    """

    def __init__(self, local: Delivery, order: Any,
                 logger: Callable[[], logging.Logger]) -> None:
        self._local = local
        self._order = order
        self._logger = logger

    def encode(self, namespace: str, record: Record) -> Optional[Encoded]:
        """Encode an event that clients missed; without the order lock.

        :return: ``None``: it cannot be delivered.
        """
        if record.encoded is None:
            try:
                message: Any = codec.decode(codec.Envelope(
                    '', namespace, MessageType.BROADCAST, record.data, None,
                    0))
                record.encoded = self._local.encode(namespace, message)
            except Exception:
                # The server's packet class, which is the application's,
                # cannot encode it. So no client here got it when it came.
                self._logger().exception(
                    'entry %s could not be delivered again', record.id,
                    extra=RESEND_FAILED(
                        namespace=namespace, entry=str(record.id)))
                return None
        encoded: Encoded = record.encoded
        return encoded

    def send(self, client: Client, namespace: str, records: Iterable[Record],
             is_here: Callable[[], bool]) -> bool:
        """Send missed events to a client whose deliveries are held.

        :param is_here: whether the client still is; called under the order
                        lock.
        :return: ``False`` if it is gone.
        """
        ready = []
        for record in records:
            encoded = self.encode(namespace, record)
            if encoded is not None:
                encoded.prepare(record.id)
                ready.append((encoded, record.id))
        with self._order:
            if not is_here():
                return False
            for encoded, position in ready:
                self._local.send_again(client, encoded, position)
        self._local.log_lines(self._order)
        return True
