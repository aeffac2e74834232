"""How many entries the writer may send now: what readers have reported, and
how the writer learns it.

The rules are those of :mod:`redis_streams_adapter.protocol.flow_control`.
Reports come from the reader of this process. As long as it does not run, the
writer's task now and then reads the part of the stream that it has written
to, with the entries of others in between.

Reports and questions never wait for readers: they are sent ahead of what
waits.
"""
import time
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple

from ..protocol.codec import encode_unsigned
from ..protocol.flow_control import FlowControl, PATIENCE
from ..protocol.messages import Heartbeat
from ..protocol.position import Position, START
from ..protocol.transport import Entry, Fields, Link
from .pages import Pages
from .reconcile import Mark, PAGE

#: After how many entries a process without a reader looks for reports of
#: readers that lag. It also reads its own entries then, at a tenth of the cost
#: of emitting them.
LISTEN_EVERY = 500

#: Asks all readers for their positions. It may follow the goodbyes of this
#: node: it names no node.
QUESTION = encode_unsigned(Heartbeat(asks=True))

#: Which readers may be away, and what to ask them.
Absent = Tuple[Iterable[Optional[str]], Sequence[Fields]]


class Backpressure:
    """How far the readers of one writer have come.

    :param lock: the lock of the outbox. It protects :attr:`flow`.
    :param wake: wakes the writer's task.
    :param overhear: as long as no reader of this process runs: what to do
                     with the entries that the task reads back.
    :param absent: returns, after an outage, which readers may not be back yet
                   (``None``: the local one), and what to ask them; on the
                   writer's task.
    """

    def __init__(self, lock: Any, wake: Callable[[], None],
                 overhear: Optional[Callable[[Entry], None]] = None,
                 absent: Optional[Callable[[], Absent]] = None) -> None:
        self._lock = lock
        self._wake = wake
        self._overhear = overhear
        self._absent = absent
        #: Under the lock.
        self.flow = FlowControl()
        #: Whether the writer waits for readers. Written by its task; read
        #: without a lock by the tasks that wake it, so it may be out of date:
        #: that costs one pause of the writer.
        self.held = False
        #: Whether to ask the readers for their positions. Written and read by
        #: the writer's task.
        self.asks = False
        # For the writer's task only: the position up to which it has looked
        # for reports, how many entries it has found there, and how many it
        # has sent since.
        self._heard = START
        self.heard = 0
        self._unheard = 0
        self._pages = Pages(PAGE)

    # -- for every task ---------------------------------------------------

    def set_window(self, window: Optional[int], hearing: bool = True,
                   reach: Optional[int] = None) -> None:
        """Set how far the writer may go.

        :param window: how many of our entries the local reader may have
                       unread; ``None``: any number.
        :param hearing: whether reports of readers can be heard.
        :param reach: how many entries of all writers the local reader may be
                      after the reader of another node; ``None``: any number.
        """
        with self._lock:
            self.flow.window, self.flow.reach = window, reach
            self.flow.hears(hearing, time.monotonic())

    def stop_listening(self) -> None:
        """A reader of this process runs from now on."""
        self._overhear = None

    def await_reader(self) -> None:
        """The local reader reaches Redis: it has to read what is written
        from now on, too."""
        with self._lock:
            self.flow.await_readers([None], time.monotonic())

    def seen(self, sequence: int) -> None:
        """The local reader has read our entry of this number."""
        with self._lock:
            self.flow.seen(sequence, time.monotonic())
        if self.held:
            self._wake()

    def passed(self, position: Position, count: int) -> None:
        """The local reader has read so many entries, up to a position."""
        with self._lock:
            self.flow.passed(position, count, time.monotonic())

    def asked(self, position: Position, count: int) -> None:
        """That many, up to a question for the positions of readers."""
        with self._lock:
            self.flow.asked(position, count, time.monotonic())

    def reader_lags(self, position: Position) -> None:
        """The local reader lags."""
        with self._lock:
            self.flow.lags(position, time.monotonic())
        if self.held:
            self._wake()

    def node_reported(self, uid: str, position: Optional[Position],
                      lags: bool) -> None:
        """A node has reported the position of its reader.

        :param position: ``None``: it does not answer questions, or is gone.
        :param lags: whether it lags.
        """
        with self._lock:
            if position is None:
                self.flow.gone(uid)
            else:
                self.flow.reported(uid, position, lags, time.monotonic())
        if self.held:
            self._wake()

    # -- for the writer's task --------------------------------------------

    def connected(self, link: Link, returned: bool) -> None:
        """The writer has a new connection.

        :param returned: it is not the first: readers may have been away.
        :raises Unavailable: always may.
        """
        if self._overhear is not None:
            self._heard = link.ends().last_id
        if returned and self._absent is not None:
            uids, questions = self._absent()
            with self._lock:
                self.flow.await_readers(uids, time.monotonic())
            # After that, so that no answer comes before.
            if questions:
                link.append(questions)

    def listen(self, link: Link, acknowledged: Position) -> None:
        """Read what has come since the last time, if it is time.

        :param acknowledged: the position of our last entry.
        :raises Unavailable: always may.
        """
        overhear = self._overhear
        if overhear is None or not (
                self.held or self._unheard >= LISTEN_EVERY):
            return
        self._unheard = 0
        recent = acknowledged.milliseconds - int(PATIENCE * 1000)
        if self._heard.milliseconds < recent:
            # Older reports no longer count.
            self._heard = Position(recent)
            with self._lock:
                self.flow.forget_readers()
        full = True
        while full:
            page = self._pages.read(link, self._heard)
            for entry in page:
                self._heard = entry.id
                self.heard += 1
                overhear(entry)
            if page:
                self.passed(self._heard, self.heard)
            full = self._pages.full

    def room(self) -> Optional[int]:
        """How many entries may be sent now; ``None``: any number."""
        # Set before looking, so that a task that makes room from now on
        # wakes this one.
        self.held = True
        with self._lock:
            flow, now = self.flow, time.monotonic()
            room, reach = flow.room(now), flow.reach
            # Seldom called: this runs for each batch.
            self.asks = reach is not None and (
                room == 0 or flow.unasked >= reach // 4) and flow.asks(now)
        self.held = room == 0
        return room

    @property
    def waits(self) -> bool:
        """Whether there is nothing to do as long as there is no room: no
        question to ask, and nothing to listen to."""
        return not self.asks and (
            self._overhear is None or self._unheard == 0)

    def ask(self, link: Link) -> None:
        """Ask all readers for their positions.

        :raises Unavailable: always may.
        """
        link.append([QUESTION])
        self.asks = False

    def sent(self, count: int) -> None:
        """So many entries were sent."""
        self._unheard += count

    def wrote(self, last: Position, sequence: int) -> None:
        """A batch is stored: the position and the number of its last entry."""
        with self._lock:
            self.flow.wrote(last, sequence, time.monotonic())

    def marks(self) -> Tuple[List[Mark], int]:
        """Where our entries are, oldest first, and the number up to which
        that is forgotten."""
        with self._lock:
            return list(self.flow.checkpoints), self.flow.forgotten

    def lose(self, sequence: int) -> None:
        """The stream has lost all that we wrote after this number."""
        with self._lock:
            self.flow.lose(sequence)
