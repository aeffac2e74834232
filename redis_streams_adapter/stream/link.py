"""One connection to Redis, as :mod:`redis_streams_adapter.protocol.transport`
describes it.

Only this module decides what each error means. An error *reply* means that a
command was not carried out; a broken connection leaves open whether it was.
"""
import math
from typing import Any, Dict, Hashable, List, Optional, Sequence, Tuple

from ..protocol.position import Position
from ..protocol.transport import Ends, Entry, EntryRefused, Fields, Identity, \
    Link, NO_STREAM, NotReplicated, OutOfMemory, Result, size_of, Unavailable
from .driver import Driver
from .connection import Refused
from .optional import NO_RIGHT, OptionalCommands
from .resp import EntryPacker, pack, pack_command, Replies, send
from .refusals import address_of
from .scripts import ENDS, ends_of, NEXT, read_in_parts, TIME
from .versions import find_too_old

#: How long a read may take beyond its waiting time, in seconds, before the
#: connection is taken for dead.
READ_MARGIN = 5.0

#: How many bytes a page may have, if it was meant to have more than one entry.
#: One that is larger is not read to its end, so that the memory of this
#: process is bounded, too.
PAGE_LIMIT = 1 << 24

#: Parts of the replies to an entry that the server will never take, from
#: ``networking.c`` (which then closes the connection) and ``t_stream.c`` of
#: Redis 6.2 to 7.4. Every other error may pass, or be fixed by an operator:
#: the entry is kept. (Not all of "Protocol error": a server that needs a
#: password says so in these words too.)
TOO_LONG = 'invalid bulk length'
ENTRY_ERRORS = (TOO_LONG, 'Elements are too large')

#: Part of the error while the server's memory is full (``server.c``). It
#: begins with OOM, which redis-py removes.
NO_MEMORY = "used memory > 'maxmemory'"

#: The option of XREAD that some servers refuse.
WAITING = b'XREAD BLOCK'

#: How the reply begins while a script runs. Redis 6.2 answers MULTI so, too.
BUSY = 'BUSY'

#: How it begins when something else has ended the wait.
UNBLOCKED = 'UNBLOCKED'

MULTI, EXEC = pack_command(b'MULTI'), pack_command(b'EXEC')
QUEUED = b'QUEUED'

_new = tuple.__new__


def open_link(driver: Driver, stream: str, max_len: int, block: float = 0.0,
              min_replicas: int = 0,
              ended: Optional[Dict[bytes, float]] = None) -> Link:
    """A link to a stream, not connected yet: see :class:`RedisLink`."""
    if driver.link is not None:
        return driver.link(stream, max_len)
    return RedisLink(driver, stream, max_len, block, min_replicas, ended)


class RedisLink(OptionalCommands):
    """A :class:`~redis_streams_adapter.protocol.transport.Link` over Redis.

    :param driver: how to connect.
    :param stream: the key of the stream.
    :param max_len: about how many entries the stream keeps.
    :param block: the longest time to wait in a read, in seconds; 0 for a
                  link that appends.
    :param min_replicas: how many replicas must have what is appended.
    :param ended: see :class:`~redis_streams_adapter.stream.optional.\
OptionalCommands`.
    """

    def __init__(self, driver: Driver, stream: str, max_len: int,
                 block: float = 0.0, min_replicas: int = 0,
                 ended: Optional[Dict[bytes, float]] = None) -> None:
        super().__init__(driver, stream, max(
            driver.socket_timeout, block + READ_MARGIN if block else 0), ended)
        self._stream = stream.encode()
        self._cap = (b'MAXLEN', b'~', b'%d' % max_len)
        self._appends = not block
        self._min_replicas = min_replicas
        # The reply must arrive before the connection is taken for dead.
        self._replica_wait = int(driver.socket_timeout * 1000 / 2)
        self._identity: Optional[Identity] = None
        self._server: Optional[bytes] = None
        # Written by the task that uses the link. Each connection sets both
        # anew, so an exception leaves nothing to restore.
        self.atomic = True
        #: When the attempt to connect began.
        self._begun = 0.0
        self._packer = EntryPacker()
        #: Made by :meth:`_prepare`.
        self._replies: Replies
        #: The last arguments of XREAD, and the command up to the position.
        self._last_read: Tuple[Any, bytes] = (None, b'')
        self.page_bytes = 0

    @property
    def identity(self) -> Optional[Identity]:
        return self._identity

    @property
    def server(self) -> Optional[bytes]:
        return self._server

    def _prepare(self) -> None:
        self._replies = Replies(self._connection, self._driver)

    def _begin(self) -> None:
        # If it was too old, one link of the manager asks again, not each.
        self._begun = self._refusals.attempt(self._place)
        super()._begin()

    @property
    def _place(self) -> Hashable:
        """The server, for :class:`~redis_streams_adapter.stream.refusals.\
Refusals`. Connections for other things than streams may use one that is too
        old: so that the log says it once."""
        return 'version', address_of(self._connection)

    def connect(self) -> None:
        super().connect()
        info, = self._optional((b'CLIENT', b'INFO'))
        if isinstance(info, self._error_reply) and NO_RIGHT not in str(info):
            # Since Redis 6.2.
            self._check_version()
        if self._appends:
            self.atomic = self._has_transactions()
        self._refusals.accepted(self._place)
        if isinstance(info, bytes):
            # A server that restarts begins to number anew: only the number
            # and the address identify this connection.
            known = dict(each.partition(b'=')[::2] for each in info.split())
            self._identity = known[b'id'], known[b'addr']
            if self._driver.cluster is None:
                # Since Redis 6.2.
                self._server = known.get(b'laddr')

    def _has_transactions(self) -> bool:
        if self._avoided(b'MULTI'):
            return False
        begun, executed = self._optional((b'MULTI',), (b'EXEC',),
                                         name=b'MULTI', twice=True)
        if isinstance(begun, self._error_reply):
            if str(begun).startswith(BUSY):
                raise Unavailable(self.describe(begun)) from begun
            return False
        if isinstance(executed, self._error_reply):
            # The transaction may still be open.
            self._avoid(b'MULTI')
            self.close()
            raise Unavailable(self.describe(executed)) from executed
        return True

    def _check_version(self) -> None:
        info, = self._optional((b'INFO', b'server'))
        reason = find_too_old(info) if isinstance(info, bytes) else None
        if reason is not None:
            self._refusals.refused(self._place, self._begun, reason)
            raise Unavailable(reason)

    def append(self, batch: Sequence[Fields],
               oldest: Optional[int] = None) -> List[Result]:
        connection = self._open()
        # An XADD takes only one trimming rule.
        rule = self._cap if oldest is None else (
            b'MINID', b'~', b'%d' % oldest)
        pieces = self._packer.pack(
            (b'XADD', self._stream, *rule, b'*'), batch)
        transaction = len(batch) > 1 and self.atomic
        if transaction:
            # All or nothing: one refused command stops them all, so that no
            # later one overtakes it.
            pieces = [MULTI, *pieces, EXEC]
        if self._min_replicas:
            pieces.append(pack_command(
                b'WAIT', b'%d' % self._min_replicas,
                b'%d' % self._replica_wait))
        try:
            # A single entry may be large: do not copy it once more.
            if len(batch) > 1 or len(pieces) < 3:
                pieces = [b''.join(pieces)]
            for piece in pieces:
                send(connection._sock, piece)
            if transaction:
                replies = self._executed(len(batch))
            elif len(batch) == 1:
                replies = [self._reply(0)]
            else:
                replies = [self._reply(index) for index in range(len(batch))]
            replicas = self._reply(0) if self._min_replicas else None
        except self._broken as exc:
            raise self._lost(exc, in_doubt=True) from exc
        results = self._results(replies)
        if replicas is not None:
            self._check_replicas(replicas)
        return results

    def _check_replicas(self, reply: Any) -> None:
        if isinstance(reply, self._error_reply):
            raise NotReplicated(self.describe(reply)) from reply
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
            self.atomic = False
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
        # Without a set for a single reply.
        if type(replies[0]) is bytes and (
                len(replies) == 1 or set(map(type, replies)) == {bytes}):
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
            why = OutOfMemory if NO_MEMORY in str(errors[0]) else Unavailable
            raise why(self.describe(errors[0])) from errors[0]
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
        replies = self._replies
        before = replies.received
        if count > 1:
            replies.limit = before + PAGE_LIMIT
        try:
            send(connection._sock, b'%b$%d\r\n%b\r\n' % (
                command, len(position), position))
            reply = self._answer()
        except self._broken as exc:
            raise self._lost(exc) from exc
        finally:
            replies.limit = math.inf
        self.page_bytes = replies.received - before
        if not reply:
            return []
        if isinstance(reply, self._error_reply):
            return self._read_again(reply, after, count, block)
        # As Position.parse() does, without its checks: Redis made these ids,
        # and every entry of every page passes here.
        return [_new(Entry, (_new(
            Position, (int(milliseconds), int(number))), fields))
            for entry_id, fields in reply[0][1]
            for milliseconds, number in [entry_id.split(b'-')]]

    def _read_again(self, error: Exception, after: Position, count: int,
                    block: Optional[float]) -> List[Entry]:
        """Read without waiting, if that is what the server has refused."""
        if block is None or self._avoided(WAITING) \
                or str(error).startswith((BUSY, UNBLOCKED)):
            raise Refused(self.describe(error)) from error
        page = self.read(after, count, None)
        self._avoid(WAITING)
        return page

    def _read_command(self, count: int, block: Optional[float]) -> bytes:
        """The command XREAD, without the position at its end."""
        wait = () if block is None or self._avoided(WAITING) else (
            # BLOCK 0 would wait forever.
            b'BLOCK', b'%d' % max(1, int(block * 1000)))
        parts = (b'XREAD', b'COUNT', b'%d' % count, *wait, b'STREAMS',
                 self._stream)
        return b'*%d\r\n%b' % (len(parts) + 1, pack(parts))

    def read_in_parts(self, after: Position) -> Optional[List[Entry]]:
        page = read_in_parts(self._script, b'XREAD', bytes(after))
        self.page_bytes = size_of(page or ())
        return page

    def next_id(self, after: Position) -> Optional[Position]:
        reply = self._script(NEXT, bytes(after))
        if reply is None:
            page = self.read(after, 1, None)
            return page[0].id if page else None
        return Position.parse(reply[0]) if reply else None

    def trim(self, keep: Optional[int] = None,
             oldest: Optional[int] = None) -> int:
        rule = self._cap
        if oldest is not None:
            rule = b'MINID', b'~', b'%d' % oldest
        elif keep is not None:
            rule = b'MAXLEN', b'~', b'%d' % keep
        return int(self.ask(b'XTRIM', self._stream, *rule))

    def discard(self, positions: Sequence[Position],
                lifetime: float) -> None:
        # XDEL needs an id. No entry has the lowest one.
        ids = [bytes(each) for each in positions] or [b'0-1']
        for reply in self._commands(
                (b'XDEL', self._stream, *ids),
                (b'PEXPIRE', self._stream, b'%d' % (lifetime * 1000))):
            self._check(reply)

    def ends(self) -> Ends:
        found = self._script(ENDS)
        if found is not None:
            return ends_of(found)
        before = self._replies.received
        reply = self._command(b'XINFO', b'STREAM', self._stream)
        if isinstance(reply, self._error_reply):
            if 'no such key' in str(reply):
                return NO_STREAM
            self._try_again(b'EVAL')
            raise Unavailable(self.describe(reply)) from reply
        pairs = iter(reply)
        info = dict(zip(pairs, pairs))
        first = info[b'first-entry']
        # Redis has `entries-added` since 7.0.
        return Ends(first and Position.parse(first[0]),
                    Position.parse(info[b'last-generated-id']),
                    info.get(b'entries-added'), info[b'length'],
                    self._replies.received - before)

    def time(self) -> int:
        if self._avoided(b'TIME') and self._avoided(b'EVAL'):
            self._try_again(b'TIME', b'EVAL')
        reply, = self._optional((b'TIME',))
        if not isinstance(reply, list):
            # Some servers refuse the command, but permit scripts.
            found = self._script(TIME)
            if not found:
                raise Refused(self.describe(reply) if reply is not None
                              else 'TIME and EVAL are refused')
            reply = found
        seconds, microseconds = reply
        return int(seconds) * 1000 + int(microseconds) // 1000

    def end_other(self, identity: Identity) -> None:
        # An error here means "no permission": a late command may then store
        # copies, which readers drop.
        number, address = identity
        self._optional((b'CLIENT', b'KILL', b'ID', number, b'ADDR', address))
