"""The Redis protocol, RESP2, on the way that every message takes.

redis-py connects and authenticates. After that, the entries of the stream go
to the socket and come from it directly: its layers took 66 function calls for
each entry that was written, and half of the time of a single read.
https://redis.io/docs/latest/develop/reference/protocol-spec/
"""
import math
from typing import Any, Iterable, List, Sequence, Tuple

import hiredis

from .driver import Driver

#: How many bytes are read from the socket at once.
READ_SIZE = 65536

#: Values of more bytes than this are not copied once more.
LARGE = 65536

#: How many names and values most entries have (``uid nsp type data wid seq
#: since``), and the places of the two values that differ from entry to entry.
_LENGTH = 14
_DATA, _NUMBER = 7, 11

_NOT_ENOUGH = object()


def pack_command(*parts: bytes) -> bytes:
    """Encode a command."""
    return b'*%d\r\n%b' % (len(parts), pack(parts))


def pack(parts: Sequence[bytes]) -> bytes:
    """Encode parts of a command, without their number."""
    return b''.join([b'$%d\r\n%b\r\n' % (len(part), part) for part in parts])


class EntryPacker:
    """Encodes the commands that add entries to a stream.

    Most entries differ in their data and their number only. The other parts
    are encoded once for all entries in a row that share them, also from batch
    to batch: at a low rate a batch is one entry, and takes 3 us instead of 6.

    One task uses it.
    """

    def __init__(self) -> None:
        #: The parts of the last entry, and each of them encoded. Written in
        #: one step, so that an exception cannot leave some of them old.
        self._last: Tuple[Any, ...] = (None, b'', None, b'', None, b'', None,
                                       b'')

    def pack(self, command: Sequence[bytes],
             entries: Iterable[Sequence[bytes]]) -> List[bytes]:
        """Encode the commands that add entries: the pieces, in order.

        :param command: what each command begins with.
        :param entries: the fields of each entry.
        """
        pieces: List[bytes] = []
        count = len(command)
        known, begin, before, head, after, middle, last, tail = self._last
        if command != known:
            begin, before = pack(command), None
        for fields in entries:
            if len(fields) != _LENGTH or fields[_DATA - 1] != b'data':
                pieces.append(b'*%d\r\n%b%b' % (
                    count + len(fields), begin, pack(fields)))
                continue
            data, number = fields[_DATA], fields[_NUMBER]
            if fields[:_DATA] != before:
                before = fields[:_DATA]
                head = b'*%d\r\n%b%b' % (
                    count + _LENGTH, begin, pack(before))
            if fields[_DATA + 1:_NUMBER] != after:
                after = fields[_DATA + 1:_NUMBER]
                middle = b'\r\n%b' % pack(after)
            if fields[_NUMBER + 1:] != last:
                last = fields[_NUMBER + 1:]
                tail = b'\r\n%b' % pack(last)
            size = len(data)
            if size > LARGE:
                pieces += (
                    b'%b$%d\r\n' % (head, size), data,
                    b'%b$%d\r\n%b%b' % (middle, len(number), number, tail))
            else:
                pieces.append(b'%b$%d\r\n%b%b$%d\r\n%b%b' % (
                    head, size, data, middle, len(number), number, tail))
        self._last = (command, begin, before, head, after, middle, last, tail)
        return pieces


def send(sock: Any, data: bytes) -> None:
    """Send all of something.

    A socket almost always takes it at once. Without ``sendall()``, gevent
    takes 8.1 us rather than 10.7 for a command and its reply.
    """
    sent = sock.send(data)
    if sent < len(data):
        sock.sendall(memoryview(data)[sent:])


class Replies:
    """The replies that come over a connection, once it is made.

    One task uses it.

    :param connection: a connection of redis-py, or of valkey-py.
    :param driver: how it was made.
    """

    def __init__(self, connection: Any, driver: Driver) -> None:
        self._sock = connection._sock
        reader = hiredis.Reader(
            protocolError=driver.module.exceptions.InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_NOT_ENOUGH)
        self._feed, self._gets = reader.feed, reader.gets
        self._buffer = bytearray(READ_SIZE)
        #: How many bytes have come, and how many may.
        self.received = 0
        self.limit = math.inf

    def read(self) -> Any:
        """The next reply. An error is returned, not raised.

        :raises OSError: the connection is broken, or the server was silent
                         for longer than the socket timeout.
        """
        reply = self._gets()
        while reply is _NOT_ENOUGH:
            self._receive()
            reply = self._gets()
        return reply

    def read_while(self, usual: bytes, count: int) -> List[Any]:
        """Replies up to and including the first that is not the usual one.

        :param count: how many at most.
        :raises OSError: see :meth:`read`.
        """
        replies: List[Any] = []
        gets = self._gets
        for _ in range(count):
            reply = gets()
            if reply is _NOT_ENOUGH:
                reply = self.read()
            replies.append(reply)
            if reply != usual:
                break
        return replies

    def _receive(self) -> None:
        try:
            size = self._sock.recv_into(self._buffer)
        except TimeoutError as exc:
            raise TimeoutError(
                f'no reply within {self._sock.gettimeout():g} s') from exc
        if not size:
            raise ConnectionError('the server closed the connection')
        self.received += size
        if self.received > self.limit:
            raise ConnectionError('a page of the stream is too large')
        # The type is ignored: hiredis takes a bytearray, without a copy, and
        # its stub does not say so.
        self._feed(self._buffer, 0, size)  # type: ignore[arg-type]
