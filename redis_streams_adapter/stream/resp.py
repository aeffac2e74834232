"""The Redis protocol, RESP2, on the way that every message takes.

redis-py connects and authenticates. After that, the entries of the stream go
to the socket and come from it directly: its layers took 66 function calls for
each entry that was written, and half of the time of a single read.
https://redis.io/docs/latest/develop/reference/protocol-spec/
"""
from functools import lru_cache
from typing import Any, Callable, List, Sequence, Tuple

import hiredis

from .driver import Driver

#: How many bytes are read from the socket at once.
READ_SIZE = 65536

#: How many encoded constant parts are kept: one for each namespace and
#: type of message, and two for a writer.
CACHED_PARTS = 1024

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


#: The same, for parts that many entries share. Any writer's task calls it:
#: the cache of functools has a lock of its own, and its values do not change.
pack_constant: Callable[[Tuple[bytes, ...]], bytes] = lru_cache(
    maxsize=CACHED_PARTS)(pack)


def pack_fields(fields: Sequence[bytes]) -> List[bytes]:
    """Encode the fields of an entry: the pieces, in order."""
    if len(fields) != _LENGTH or fields[_DATA - 1] != b'data':
        return [pack(fields)]
    data, number = fields[_DATA], fields[_NUMBER]
    head, size = pack_constant(tuple(fields[:_DATA])), len(data)
    tail = b'\r\n%b$%d\r\n%b\r\n%b' % (
        pack_constant(tuple(fields[_DATA + 1:_NUMBER])), len(number), number,
        pack_constant(tuple(fields[_NUMBER + 1:])))
    if size > LARGE:
        return [b'%b$%d\r\n' % (head, size), data, tail]
    return [b'%b$%d\r\n%b%b' % (head, size, data, tail)]


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
        gets, reply = self._gets, usual
        while len(replies) < count and reply == usual:
            reply = gets()
            if reply is _NOT_ENOUGH:
                reply = self.read()
            replies.append(reply)
        return replies

    def _receive(self) -> None:
        try:
            size = self._sock.recv_into(self._buffer)
        except TimeoutError as exc:
            raise TimeoutError(
                f'no reply within {self._sock.gettimeout():g} s') from exc
        if not size:
            raise ConnectionError('the server closed the connection')
        # Its stub does not know of bytearray, which it takes without a copy.
        self._feed(self._buffer, 0, size)  # type: ignore[arg-type]
