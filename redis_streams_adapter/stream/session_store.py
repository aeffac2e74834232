"""Recovery sessions in Redis, and the parts of the stream that clients have
missed: commands of many tasks, sent by one.

Whatever has gathered is sent as one pipeline to each server that is
concerned, so a thousand clients that return at once take a few round trips.
Nothing is sent twice: where a connection breaks, all that was on its way has
:class:`~redis_streams_adapter.protocol.transport.Unavailable` for an answer,
and so has all that comes before the next attempt has got through.

A session is written by compare-and-set, so that a node that has lost one does
not write it again. That takes a script: one command, one key, on any server
of a cluster.
"""
from collections import deque
from typing import Any, Deque, List, NamedTuple, Optional, Sequence, Tuple, \
    Union

from ..concurrency.engines import Engine, Event
from ..concurrency.tasks import Task
from ..protocol.position import Position
from ..protocol.transport import Entry, Unavailable
from .driver import Driver
from .servers import Command, Servers
from .connection import describe, Refused

#: How many commands are sent at once to one server.
PIPELINE = 200

#: KEYS: the session. ARGV: the new value (empty: none), its TTL in ms, and
#: the values that may be replaced. An empty one: where there is none.
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

    :param pid: whose it is.
    :param new: the new value; empty: none.
    :param expected: what may be replaced; an empty one: none.
    """

    pid: str
    new: bytes
    expected: Sequence[bytes]


class Found(NamedTuple):
    """What Redis has for a client that returns.

    :param session: its session.
    :param is_there: whether the stream has the entry that it names.
    :param first: the first entry of the stream.
    :param last: the last one.
    """

    session: Optional[bytes]
    is_there: bool
    first: Optional[Position]
    last: Optional[Position]


class _Job:
    """Commands of one caller, and what became of them."""

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
    """The sessions of a cluster, and the task that asks for them.

    :param prefix: what their keys begin with.
    :param ttl: how long they live, in seconds.
    """

    def __init__(self, driver: Driver, engine: Engine, prefix: str,
                 ttl: float) -> None:
        self._engine = engine
        self._prefix = prefix
        self._ttl = b'%d' % max(1, int(ttl * 1000))
        #: How many seconds to wait for replies at most. Mostly it is the
        #: connection that gives up, which may have to be made first.
        self.patience = 2 * driver.socket_timeout
        # Appended to by any task, taken from by ours: both are atomic in
        # CPython.
        self._jobs: Deque[_Job] = deque()
        self._work_there = engine.event()
        self._servers = Servers(driver)
        #: Whether the last attempt has failed, or the task has ended.
        #: Written by the task, and by who ends it.
        self._down = False
        #: Set while it is connected.
        self._up = engine.event()

    @property
    def connections(self) -> int:
        """How often a server was connected to."""
        return self._servers.connections

    def wait(self, timeout: float) -> bool:
        """Wait until Redis is connected to.

        :param timeout: seconds.
        """
        return bool(self._up.wait(timeout)) or self._up.is_set()

    # -- for everybody; blocks, and may raise Unavailable ------------------

    def put(self, pid: str, value: bytes) -> None:
        """Write a new session."""
        self._do([(self._key(pid), (
            b'SET', self._key(pid).encode(), value, b'PX', self._ttl))])

    def swap(self, swaps: Sequence[Swap]) -> List[Union[int, Refused]]:
        """Replace sessions, each if it is still what is expected.

        :return: of each :data:`DONE`, :data:`CHANGED` or :data:`ABSENT`; or
                 why its server refuses it, if others do not.
        :raises Refused: all are refused.
        """
        return [reply if isinstance(reply, Refused) else int(reply)
                for reply in self._do_each([
                    (self._key(each.pid), (
                        b'EVAL', SWAP, b'1', self._key(each.pid).encode(),
                        each.new, self._ttl, *each.expected))
                    for each in swaps])]

    def touch(self, pids: Sequence[str]) -> List[Union[bool, Refused]]:
        """Let sessions live on.

        :return: of each whether it is there; otherwise as :meth:`swap`.
        """
        return [reply if isinstance(reply, Refused) else bool(reply)
                for reply in self._do_each([
                    (self._key(pid), (
                        b'PEXPIRE', self._key(pid).encode(), self._ttl))
                    for pid in pids])]

    def find(self, pid: str, stream: str, offset: Optional[Position]) -> Found:
        """Look for a session, and whether the stream goes back so far."""
        key = stream.encode()
        session, first, last, *there = self._do([
            (self._key(pid), (b'GET', self._key(pid).encode())),
            (stream, (b'XRANGE', key, b'-', b'+', b'COUNT', b'1')),
            (stream, (b'XREVRANGE', key, b'+', b'-', b'COUNT', b'1')),
            *([] if offset is None else [
                (stream, (b'XRANGE', key, bytes(offset), bytes(offset)))])])
        return Found(session, bool(there and there[0]),
                     _position_of(first), _position_of(last))

    def get(self, pid: str) -> Optional[bytes]:
        """A session as it is."""
        value: Optional[bytes] = self._do([
            (self._key(pid), (b'GET', self._key(pid).encode()))])[0]
        return value

    def page(self, stream: str, after: Position,
             count: int) -> Tuple[List[Entry], Optional[Position]]:
        """Entries of the stream behind a position.

        :return: them, and the position of the first entry that is there,
                 asked later.
        """
        key = stream.encode()
        page, first = self._do([
            (stream, (b'XRANGE', key, b'(%d-%d' % after, b'+', b'COUNT',
                      b'%d' % count)),
            (stream, (b'XRANGE', key, b'-', b'+', b'COUNT', b'1'))])
        return [Entry(Position.parse(entry_id), fields)
                for entry_id, fields in page], _position_of(first)

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
        # Whoever goes down says so first, and then gives up what is there.
        if not self._down:
            job.event.wait(self.patience)
        # Read once: the reply may come at this very moment.
        error = job.error
        if error is not None:
            raise error
        return job.replies

    def _do(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Have commands carried out, all or none of which are of use.

        :raises Refused: one of them was refused.
        :raises Unavailable: some of them may have been, but not all.
        """
        replies = self._ask(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise Refused(describe(reply)) from reply
        return replies

    def _do_each(self, commands: Sequence[Command]) -> List[Any]:
        """Have commands carried out that have nothing to do with each other:
        a server that refuses some does not keep others from the rest.

        :return: the replies; of one that was refused, why.
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

    def interrupt(self) -> None:
        """End what the task waits for, which is then to end."""
        self._down = True
        self._servers.interrupt()
        self._work_there.set()

    def abandon(self) -> None:
        """See :meth:`~redis_streams_adapter.protocol.transport.Link.abandon`.\
"""
        self._servers.abandon()

    # -- the task ---------------------------------------------------------

    def work(self, task: Task) -> None:
        """One round: connect, then carry out what there is to do until a
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
            # Who waits had better know.
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
            for job in jobs:
                self._answer(job, None if done else Unavailable(
                    'the connection to Redis is broken'))


def _position_of(reply: Sequence[Any]) -> Optional[Position]:
    """Where the one entry of a reply is; ``None``: the reply is empty."""
    return Position.parse(reply[0][0]) if reply else None
