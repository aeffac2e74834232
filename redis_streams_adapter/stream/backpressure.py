"""How many entries the writer may send now: what readers have reported, and
how the writer learns it.

The rules are those of :mod:`redis_streams_adapter.protocol.flow_control`.
Reports come from the reader of this process. As long as it does not run, the
writer's task now and then reads the part of the stream that it has written
to, with the entries of others in between.
"""
import time
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple

from ..protocol.flow_control import FlowControl, PATIENCE
from ..protocol.position import Position, START
from ..protocol.transport import Fields, Link
from .reconcile import Mark, PAGE

#: After how many entries a process without a reader looks for reports of
#: readers that lag. It also reads its own entries then, at a tenth of the cost
#: of emitting them.
LISTEN_EVERY = 500

#: Which readers may be away, and what to ask them.
Absent = Tuple[Iterable[Optional[str]], Sequence[Fields]]


class Backpressure:
    """How far the readers of one writer have come.

    :param lock: the lock of the outbox. It protects :attr:`flow`.
    :param wake: wakes the writer's task.
    :param overhear: as long as no reader of this process runs: what to do
                     with the fields of entries that the task reads back.
    :param absent: returns, after an outage, which readers may not be back yet
                   (``None``: our own), and what to ask them; on the writer's
                   task.
    """

    def __init__(self, lock: Any, wake: Callable[[], None],
                 overhear: Optional[Callable[[Fields], None]] = None,
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
        # For the writer's task only: the position up to which it has looked
        # for reports, and how many entries it has sent since.
        self._heard = START
        self._unheard = 0

    # -- for every task ---------------------------------------------------

    def set_window(self, window: Optional[int],
                   hearing: bool = True) -> None:
        """Set how many of our entries may be unread; ``None``: any number.

        :param hearing: whether reports of readers can be heard.
        """
        with self._lock:
            self.flow.window = window
            if not hearing:
                self.flow.forget_readers()

    def stop_listening(self) -> None:
        """A reader of this process runs from now on."""
        self._overhear = None

    def await_reader(self) -> None:
        """Our own reader reaches Redis: it has to read what is written from
        now on, too."""
        with self._lock:
            self.flow.await_readers([None], time.monotonic())

    def seen(self, sequence: int) -> None:
        """Our own reader has read our entry of this number."""
        with self._lock:
            self.flow.seen(sequence, time.monotonic())
        if self.held:
            self._wake()

    def reader_lags(self, uid: Optional[str],
                    position: Optional[Position]) -> None:
        """A node has reported the position of its reader.

        :param uid: the uid of that node; ``None``: this one.
        :param position: ``None``: it has caught up, or the node is gone.
        """
        with self._lock:
            if position is None:
                self.flow.caught_up(uid)
            else:
                self.flow.lags(uid, position, time.monotonic())
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
            page = link.read(self._heard, PAGE, None)
            for entry in page:
                self._heard = entry.id
                overhear(entry.fields)
            full = len(page) == PAGE

    def room(self) -> Optional[int]:
        """How many entries may be sent now; ``None``: any number."""
        # Set before looking, so that a task that makes room from now on
        # wakes this one.
        self.held = True
        with self._lock:
            room = self.flow.room(time.monotonic())
        self.held = room == 0
        return room

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
