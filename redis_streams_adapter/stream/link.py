"""One connection to Redis, as :mod:`redis_streams_adapter.protocol.transport`
describes it.

Only this module decides what each error means. An error *reply* means that a
command was not carried out; a broken connection leaves open whether it was.
"""
from typing import Any, List, Optional, Sequence, Tuple

from ..protocol.position import Position
from ..protocol.transport import Ends, Entry, EntryRefused, Fields, Identity, \
    Link, NO_STREAM, NotReplicated, Result, Unavailable
from .driver import Driver
from .connection import describe, Connection
from .resp import pack, pack_command, pack_fields, Replies

#: How long a read may take beyond its waiting time, in seconds, before the
#: connection is taken for dead.
READ_MARGIN = 5.0

#: Parts of the replies to an entry that the server will never take, from
#: ``networking.c`` (which then closes the connection) and ``t_stream.c`` of
#: Redis 6.2 to 7.4. Every other error may pass, or be fixed by an operator:
#: the entry is kept. (Not all of "Protocol error": a server that needs a
#: password says so in these words too.)
TOO_LONG = 'invalid bulk length'
ENTRY_ERRORS = (TOO_LONG, 'Elements are too large')

MULTI, EXEC = pack_command(b'MULTI'), pack_command(b'EXEC')
QUEUED = b'QUEUED'

_new = tuple.__new__


def open_link(driver: Driver, stream: str, max_len: int, block: float = 0.0,
              min_replicas: int = 0) -> Link:
    """A link to a stream, not connected yet: see :class:`RedisLink`."""
    if driver.link is not None:
        return driver.link(stream, max_len)
    return RedisLink(driver, stream, max_len, block, min_replicas)


class RedisLink(Connection):
    """A :class:`~redis_streams_adapter.protocol.transport.Link` over Redis.

    :param driver: how to connect.
    :param stream: the key of the stream.
    :param max_len: about how many entries the stream keeps.
    :param block: the longest time to wait in a read, in seconds; 0 for a
                  link that appends.
    :param min_replicas: how many replicas must have what is appended.
    """

    def __init__(self, driver: Driver, stream: str, max_len: int,
                 block: float = 0.0, min_replicas: int = 0) -> None:
        super().__init__(driver, stream, max(
            driver.socket_timeout, block + READ_MARGIN if block else 0))
        self._stream = stream.encode()
        self._cap = (b'MAXLEN', b'~', b'%d' % max_len)
        self._appends = not block
        self._min_replicas = min_replicas
        # The reply must arrive before the connection is taken for dead.
        self._replica_wait = int(driver.socket_timeout * 1000 / 2)
        self._identity: Optional[Identity] = None
        #: Made by :meth:`connect`.
        self._replies: Replies
        #: The last arguments of XREAD, and the command up to the position.
        self._last_read: Tuple[Any, bytes] = (None, b'')

    @property
    def identity(self) -> Optional[Identity]:
        return self._identity

    def connect(self) -> None:
        super().connect()
        self._replies = Replies(self._connection, self._driver)
        # Without transactions, an entry of a batch would be stored even if
        # one before it was not.
        probe = ((b'MULTI',), (b'EXEC',)) if self._appends else ()
        info, *begun = self._commands((b'CLIENT', b'INFO'), *probe)
        for reply in begun:
            self._check(reply)
        if isinstance(info, bytes):
            # A server that restarts begins to number anew: only the number
            # and the address identify this connection.
            known = dict(each.partition(b'=')[::2] for each in info.split())
            self._identity = known[b'id'], known[b'addr']

    def append(self, batch: Sequence[Fields],
               oldest: Optional[int] = None) -> List[Result]:
        connection = self._open()
        # An XADD takes only one trimming rule.
        rule = self._cap if oldest is None else (
            b'MINID', b'~', b'%d' % oldest)
        add = (b'XADD', self._stream, *rule, b'*')
        count, head = len(add), pack(add)
        pieces: List[bytes] = []
        for fields in batch:
            pieces.append(b'*%d\r\n%b' % (count + len(fields), head))
            pieces += pack_fields(fields)
        if len(batch) > 1:
            # All or nothing: one refused command stops them all, so that no
            # later one overtakes it.
            pieces = [MULTI, *pieces, EXEC]
        if self._min_replicas:
            pieces.append(pack_command(
                b'WAIT', b'%d' % self._min_replicas,
                b'%d' % self._replica_wait))
        try:
            # A single entry may be large: do not copy it once more.
            if len(batch) > 1 or len(pieces) <= 3:
                pieces = [b''.join(pieces)]
            for piece in pieces:
                connection._sock.sendall(piece)
            replies = [self._reply(0)] if len(batch) == 1 \
                else self._executed(len(batch))
            replicas = self._reply(0) if self._min_replicas else None
        except self._broken as exc:
            raise self._lost(exc, in_doubt=True) from exc
        results = self._results(replies)
        if replicas is not None:
            self._check_replicas(replicas)
        return results

    def _check_replicas(self, reply: Any) -> None:
        if isinstance(reply, self._error_reply):
            raise NotReplicated(describe(reply)) from reply
        if reply < self._min_replicas:
            raise NotReplicated(
                f'only {reply} of {self._min_replicas} replicas have the '
                f'entries (min_replicas)')

    def _executed(self, count: int) -> List[Any]:
        """The replies to a transaction of this many commands."""
        begun = self._reply(-1)
        queued: List[Any] = []
        while len(queued) < count:
            queued += self._replies.read_while(QUEUED, count - len(queued))
            queued[-1] = self._taken(queued[-1], len(queued) - 1)
        replies = self._reply(count)
        if isinstance(replies, list):
            return replies
        if isinstance(begun, self._error_reply):
            # MULTI may become forbidden at any time: then the commands were
            # carried out one by one.
            return queued
        errors = (reply for reply in queued
                  if isinstance(reply, self._error_reply))
        return [next(errors, replies)]

    def _reply(self, index: int) -> Any:
        """One reply; an error among them is returned, not raised.

        :param index: the entry's place in the batch.
        """
        return self._taken(self._answer(), index)

    def _taken(self, reply: Any, index: int) -> Any:
        """A reply, unless it refuses an entry and ends the connection."""
        if isinstance(reply, Exception):
            self._raise_if_broken(reply)
            if TOO_LONG in str(reply):
                raise EntryRefused(str(reply), index) from reply
        return reply

    def _answer(self) -> Any:
        """The next reply, read without the layers of redis-py."""
        reply = self._replies.read()
        if isinstance(reply, Exception):
            self._raise_if_broken(reply)
        return reply

    def _raise_if_broken(self, reply: Exception) -> None:
        # LOADING and NOAUTH, say: redis-py gives up a connection over them.
        if not isinstance(reply, self._error_reply):
            raise reply

    def _results(self, replies: List[Any]) -> List[Result]:
        if set(map(type, replies)) == {bytes}:
            return replies
        for reply in replies:
            if not isinstance(reply, (bytes, self._error_reply)):
                # No id: LOADING within a transaction, or no transaction.
                self.close()
                raise Unavailable(f'unexpected reply: {reply!r}', True)
        errors = [reply for reply in replies
                  if isinstance(reply, self._error_reply)]
        if len(errors) == len(replies) and not any(
                text in str(errors[0]) for text in ENTRY_ERRORS):
            raise Unavailable(describe(errors[0])) from errors[0]
        return [EntryRefused(str(reply), index)
                if isinstance(reply, self._error_reply) else reply
                for index, reply in enumerate(replies)]

    def read(self, after: Position, count: int,
             block: Optional[float]) -> List[Entry]:
        arguments, command = self._last_read
        if arguments != (count, block):
            command = self._read_command(count, block)
            self._last_read = (count, block), command
        connection = self._open()
        position = bytes(after)
        try:
            connection._sock.sendall(
                b'%b$%d\r\n%b\r\n' % (command, len(position), position))
            reply = self._check(self._answer())
        except self._broken as exc:
            raise self._lost(exc) from exc
        if not reply:
            return []
        # As Position.parse() does, without its checks: Redis made these ids,
        # and every entry of every page passes here.
        entries = []
        for entry_id, fields in reply[0][1]:
            milliseconds, number = entry_id.split(b'-')
            entries.append(_new(Entry, (_new(
                Position, (int(milliseconds), int(number))), fields)))
        return entries

    def _read_command(self, count: int, block: Optional[float]) -> bytes:
        """The command XREAD, without the position at its end."""
        wait = () if block is None else (
            # BLOCK 0 would wait forever.
            b'BLOCK', b'%d' % max(1, int(block * 1000)))
        parts = (b'XREAD', b'COUNT', b'%d' % count, *wait, b'STREAMS',
                 self._stream)
        return b'*%d\r\n%b' % (len(parts) + 1, pack(parts))

    def trim(self) -> None:
        self.ask(b'XTRIM', self._stream, *self._cap)

    def ends(self) -> Ends:
        reply = self._command(b'XINFO', b'STREAM', self._stream)
        if isinstance(reply, self._error_reply):
            if 'no such key' in str(reply):
                return NO_STREAM
            raise Unavailable(describe(reply)) from reply
        pairs = iter(reply)
        info = dict(zip(pairs, pairs))
        first = info[b'first-entry']
        # Redis has `entries-added` since 7.0.
        return Ends(first and Position.parse(first[0]),
                    Position.parse(info[b'last-generated-id']),
                    info.get(b'entries-added'), info[b'length'])

    def time(self) -> int:
        seconds, microseconds = self.ask(b'TIME')
        return int(seconds) * 1000 + int(microseconds) // 1000

    def end_other(self, identity: Identity) -> None:
        # An error here means "no permission": a late command may then store
        # copies, which readers drop.
        number, address = identity
        self._command(b'CLIENT', b'KILL', b'ID', number, b'ADDR', address)
