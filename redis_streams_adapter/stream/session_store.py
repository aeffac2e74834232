"""Recovery sessions in Redis, and the parts of the stream that clients have
missed: one task sends the commands of many.

The task sends all commands that have gathered as one pipeline to each server,
so a thousand clients that return at once take a few round trips. Nothing is
sent twice. If a connection breaks, each command that was on its way fails
with :class:`~redis_streams_adapter.protocol.transport.Unavailable`, and so
does each one that comes before the next attempt to connect succeeds.

A session is replaced by compare-and-set, so that a node that has lost a
session to another node does not overwrite it. That takes a script: one
command, one key, on any server of a cluster.
"""
from collections import deque
from typing import Any, Deque, List, NamedTuple, Optional, Sequence, Tuple, \
    Union

from ..concurrency.engines import Engine, Event
from ..concurrency.tasks import Task
from ..protocol.position import Position
from ..protocol.transport import Entry, Unavailable
from .driver import Driver
from .scripts import NEXT, RANGE, read_in_parts
from .servers import Command, Servers
from .connection import describe, Refused

#: How many commands are sent at once to one server.
PIPELINE = 200

#: KEYS: the session. ARGV: the new value (empty: delete the session), its TTL
#: in ms, and the values that may be replaced (empty: there is no session).
#: Returns 1 (done), 0 (there is another value) or -1 (there is none).
SWAP = b"""
local now = redis.call('GET', KEYS[1])
for i = 3, #ARGV do
  if (now or '') == ARGV[i] then
    if ARGV[1] == '' then
      redis.call('DEL', KEYS[1])
    else
      redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    end
    return 1
  end
end
return now and 0 or -1
"""

#: What :meth:`SessionStore.swap` found.
DONE, CHANGED, ABSENT = 1, 0, -1


class Swap(NamedTuple):
    """Replace a session.

    :param pid: the private id of the session.
    :param new: the new value; empty: delete the session.
    :param expected: the values that may be replaced; empty: there is no
                     session.
    """

    pid: str
    new: bytes
    expected: Sequence[bytes]


class Found(NamedTuple):
    """What Redis has for a client that returns.

    :param session: its session.
    :param is_there: whether the stream has the entry at the client's offset.
    :param first: the position of the first entry of the stream.
    :param last: the position of the last one.
    """

    session: Optional[bytes]
    is_there: bool
    first: Optional[Position]
    last: Optional[Position]


class _Job:
    """Commands of one caller, and their result."""

    __slots__ = ('commands', 'event', 'replies', 'error')

    def __init__(self, commands: Sequence[Command],
                 event: Event) -> None:
        self.commands = commands
        self.event = event
        # Written by the task before the event is set.
        self.replies: Sequence[Any] = ()
        self.error: Optional[Exception] = Unavailable(
            'no reply from Redis in time')


class SessionStore:
    """The sessions of a cluster, and the task that reads and writes them.

    :param prefix: the prefix of their keys.
    :param ttl: after how many seconds they expire.
    """

    def __init__(self, driver: Driver, engine: Engine, prefix: str,
                 ttl: float) -> None:
        self._engine = engine
        self._prefix = prefix
        self._ttl = b'%d' % max(1, int(ttl * 1000))
        #: How many seconds to wait for replies at most: one timeout to
        #: connect, and one for the reply.
        self.patience = 2 * driver.socket_timeout
        # Any task appends, the store's task takes out: both are atomic in
        # CPython. If the process dies, the jobs are lost; their callers are
        # in the same process.
        self._jobs: Deque[_Job] = deque()
        self._work_there = engine.event()
        self._servers = Servers(driver)
        #: Whether the last attempt to connect has failed, or the task has
        #: ended. Written by the task, and by the task that interrupts it.
        self._down = False
        #: Set while the task is connected. Written by the task.
        self._up = engine.event()

    @property
    def connections(self) -> int:
        """How often the store has connected to a server."""
        return self._servers.connections

    def wait(self, timeout: float) -> bool:
        """Wait until the task is connected to Redis.

        :param timeout: seconds.
        :return: whether it is.
        """
        return bool(self._up.wait(timeout)) or self._up.is_set()

    # -- for every task; blocks, and may raise Unavailable -----------------

    def put(self, pid: str, value: bytes) -> None:
        """Write a new session."""
        self._do([(self._key(pid), (
            b'SET', self._key(pid).encode(), value, b'PX', self._ttl))])

    def swap(self, swaps: Sequence[Swap]) -> List[Union[int, Refused]]:
        """Replace sessions, each if it still has an expected value.

        :return: for each :data:`DONE`, :data:`CHANGED` or :data:`ABSENT`; or
                 the error of its server, if other servers accept theirs.
        :raises Refused: all are refused.
        """
        return [reply if isinstance(reply, Refused) else int(reply)
                for reply in self._do_each([
                    (self._key(each.pid), (
                        b'EVAL', SWAP, b'1', self._key(each.pid).encode(),
                        each.new, self._ttl, *each.expected))
                    for each in swaps])]

    def touch(self, pids: Sequence[str]) -> List[Union[bool, Refused]]:
        """Renew the expiry of sessions.

        :return: for each, whether it exists; errors as :meth:`swap`.
        """
        return [reply if isinstance(reply, Refused) else bool(reply)
                for reply in self._do_each([
                    (self._key(pid), (
                        b'PEXPIRE', self._key(pid).encode(), self._ttl))
                    for pid in pids])]

    def find(self, pid: str, stream: str, offset: Optional[Position]) -> Found:
        """Look up a session, and whether the stream goes back to an offset.
        """
        session, ids = self._do([
            (self._key(pid), (b'GET', self._key(pid).encode())),
            _script(RANGE, stream,
                    *(() if offset is None else (bytes(offset),)))])
        first, last, there = map(_position_of, ids)
        return Found(session, there is not None, first, last)

    def get(self, pid: str) -> Optional[bytes]:
        """A session's value; ``None``: it does not exist."""
        value: Optional[bytes] = self._do([
            (self._key(pid), (b'GET', self._key(pid).encode()))])[0]
        return value

    def page(self, stream: str, after: Position,
             count: int) -> Tuple[List[Entry], Optional[Position]]:
        """Entries of the stream after a position.

        :return: the entries, and the position of the stream's first entry,
                 asked after them.
        """
        page, ids = self._do([
            (stream, (b'XRANGE', stream.encode(), b'(%d-%d' % after, b'+',
                      b'COUNT', b'%d' % count)),
            _script(RANGE, stream)])
        return [Entry(Position.parse(entry_id), fields)
                for entry_id, fields in page], _position_of(ids[0])

    def page_before(self, stream: str, upto: Position,
                    count: int) -> List[Entry]:
        """Entries of the stream up to a position, the latest first."""
        page, = self._do([(stream, (
            b'XREVRANGE', stream.encode(), bytes(upto), b'-', b'COUNT',
            b'%d' % count))])
        return [Entry(Position.parse(entry_id), fields)
                for entry_id, fields in page]

    def first_id(self, stream: str) -> Optional[Position]:
        """The position of the first entry of the stream."""
        ids, = self._do([_script(RANGE, stream)])
        return _position_of(ids[0])

    def next_id(self, stream: str, after: Position) -> Optional[Position]:
        """The position of the first entry after a position."""
        ids, = self._do([_script(NEXT, stream, bytes(after))])
        return Position.parse(ids[0]) if ids else None

    def read_in_parts(self, stream: str,
                      *command: bytes) -> Optional[List[Entry]]:
        """See :func:`~redis_streams_adapter.stream.scripts.read_in_parts`."""
        def run(script: bytes, *arguments: bytes) -> Any:
            return self._do([_script(script, stream, *arguments)])[0]

        return read_in_parts(run, *command)

    def _key(self, pid: str) -> str:
        return self._prefix + pid

    def _ask(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Have commands carried out.

        :return: the replies, errors included.
        :raises Unavailable: some of them may have been, but not all.
        """
        if self._down:
            raise Unavailable('Redis is away')
        job = _Job(commands, self._engine.event())
        self._jobs.append(job)
        self._work_there.set()
        # The task first says that it is down, and then gives up its jobs.
        if not self._down:
            job.event.wait(self.patience)
        # Read once: the reply may arrive at this very moment.
        error = job.error
        if error is not None:
            raise error
        return job.replies

    def _do(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Have commands carried out that are useful only together.

        :raises Refused: one of them was refused.
        :raises Unavailable: some of them may have been, but not all.
        """
        replies = self._ask(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise Refused(describe(reply)) from reply
        return replies

    def _do_each(self, commands: Sequence[Command]) -> List[Any]:
        """Have commands carried out that are independent of each other: if
        one server refuses some, the replies of the others still count.

        :return: the replies; for a refused command, its error.
        :raises Refused: all were refused.
        :raises Unavailable: some of them may have been, but not all.
        """
        found: List[Any] = []
        refusal: Optional[Refused] = None
        for reply in self._ask(commands):
            if isinstance(reply, Exception):
                refusal = Refused(describe(reply))
                refusal.__cause__ = reply
                reply = refusal
            found.append(reply)
        if refusal is not None and all(
                isinstance(reply, Refused) for reply in found):
            raise refusal
        return found

    def renew(self) -> None:
        """Connect anew with the next commands. Those that are on their way
        may fail."""
        self._servers.interrupt()

    def interrupt(self) -> None:
        """End the wait of the task, which stops then."""
        self._down = True
        self._servers.interrupt()
        self._work_there.set()

    def abandon(self) -> None:
        """See :meth:`~redis_streams_adapter.protocol.transport.Link.abandon`.\
"""
        self._servers.abandon()

    # -- the task ---------------------------------------------------------

    def work(self, task: Task) -> None:
        """One round of the task: connect, then carry out jobs until a
        connection breaks."""
        try:
            self._servers.open()
            self._down = task.stopping
            self._up.set()
            task.works()
            while not task.stopping:
                self._work_there.wait()
                self._work_there.clear()
                while self._jobs and not task.stopping:
                    self._carry_out(self._take())
                    self._engine.pause()
        finally:
            self._down = True
            self._up.clear()
            # Wake the tasks that wait.
            while self._jobs:
                for job in self._take():
                    self._answer(job, Unavailable('Redis is away'))
            self._servers.close()

    def _take(self) -> List[_Job]:
        jobs: List[_Job] = []
        count = 0
        while self._jobs and count < PIPELINE:
            job = self._jobs.popleft()
            jobs.append(job)
            count += len(job.commands)
        return jobs

    def _answer(self, job: _Job, error: Optional[Exception]) -> None:
        job.error = error
        job.event.set()

    def _carry_out(self, jobs: List[_Job]) -> None:
        done = False
        try:
            replies = iter(self._servers.carry_out([
                command for job in jobs for command in job.commands]))
            for job in jobs:
                job.replies = [next(replies) for _ in job.commands]
            done = True
        finally:
            if not done:
                # First: a caller waits for the next connection then.
                self._up.clear()
            for job in jobs:
                self._answer(job, None if done else Unavailable(
                    'the connection to Redis is broken'))


def _script(script: bytes, stream: str, *arguments: bytes) -> Command:
    return stream, (b'EVAL', script, b'1', stream.encode(), *arguments)


def _position_of(entry_id: Optional[bytes]) -> Optional[Position]:
    return None if entry_id is None else Position.parse(entry_id)
