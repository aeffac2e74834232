"""The inboxes of servers: where answers to requests over the stream go.

A request names the uid of the server that has the inbox. Servers in Python
answer there; servers in Node.js, and those of older versions, ignore the name
and answer in the stream. A server offers its inbox only while it reads it.

The answers have no place in the order of the stream. What that means for the
requests is said in :mod:`redis_streams_adapter.protocol.requests`.
"""
import logging
from typing import Callable, Optional

from ..concurrency.engines import Engine
from ..errors import DecodeError
from ..options import Options
from ..protocol.codec import decode, Fields, open_envelope, Packed
from ..protocol.messages import RESPONSES
from ..protocol.routing import inbox_key
from ..protocol.transport import Entry, Way
from ..stream.driver import Driver
from ..stream.inbox import Inbox
from ..stream.inbox_writer import InboxWriter
from ..stream.link import open_link
from ..stream.sharded_listeners import StartTask


class Inboxes:
    """The inbox of this server, and what it sends to those of others.

    Both have a task and a connection, which begin when they are first needed.

    :param uid: that of this server.
    :param hear: called with each answer, on the task of the inbox.
    :param malformed: called with the error if an entry is not valid.
    :param start: starts tasks.
    """

    def __init__(self, options: Options, driver: Driver, engine: Engine,
                 logger: Callable[[], logging.Logger], uid: str,
                 hear: Callable[[Packed, Way], None],
                 malformed: Callable[[DecodeError], None],
                 start: StartTask) -> None:
        self._stream_name = options.stream_name
        self._uid = uid
        self._hear = hear
        self._malformed = malformed
        self._start = start
        key = inbox_key(options.stream_name, uid)
        self._inbox = Inbox(
            lambda: open_link(driver, key, 0, options.block_time),
            engine, logger, self._take_in, options.block_time)
        self._writer = InboxWriter(driver, engine, logger)

    @property
    def dropped(self) -> int:
        """How many answers were not sent, or not known to be."""
        return self._writer.dropped

    @property
    def idle(self) -> bool:
        """Whether no answer to another server waits."""
        return self._writer.idle

    @property
    def crowded(self) -> bool:
        """Whether so many answers wait that more should be made later."""
        return self._writer.crowded

    @property
    def accept(self) -> bool:
        """Whether this server may write into inboxes, as far as is known."""
        return self._writer.accepts

    def offer(self, patience: float) -> Optional[str]:
        """What to say in a request, so that it is answered into the inbox.

        :param patience: how many seconds to wait until the inbox is open, at
                         most; only the first request waits.
        :return: ``None``: it is not open.
        """
        self._start('inbox', self._inbox.work, matters=False)
        return self._uid if self._inbox.await_open(patience) else None

    def answer(self, uid: str, fields: Fields,
               otherwise: Callable[[], object]) -> None:
        """Send an answer into the inbox of another server.

        :param otherwise: sends it in another way; called if Redis refuses it.
        """
        self._start('inbox writer', self._writer.work, matters=False)
        self._writer.put(inbox_key(self._stream_name, uid), fields, otherwise)

    def flush(self, deadline: float) -> bool:
        """Wait until Redis has all answers: :meth:`.InboxWriter.flush`."""
        return self._writer.flush(deadline)

    def _take_in(self, entry: Entry) -> None:
        try:
            envelope = open_envelope(entry.fields)
            message = decode(envelope)
        except DecodeError as exc:
            self._malformed(exc)
            return
        if isinstance(message, RESPONSES):
            self._hear(Packed(envelope.uid, envelope.namespace, message),
                       Way.PLAIN)

    # -- connections ------------------------------------------------------

    def renew(self) -> None:
        """Replace the connections: another server has taken over."""
        self._inbox.interrupt()
        self._writer.renew()

    def interrupt(self) -> None:
        """End the waits of the tasks, which stop then."""
        self._inbox.interrupt()
        self._writer.interrupt()

    def abandon(self) -> None:
        """In a child process after a fork: drop the copies of connections."""
        self._inbox.abandon()
        self._writer.abandon()
