"""Supervised tasks: one loop for all of them.

A task's work is a function that runs until the task is stopped or until it
fails. The loop calls it again after each failure, with back-off, until the
task is stopped; nothing that the work raises ends it. The log and ``health()``
see failures through an ``Availability``, which several tasks share.

``SystemExit``, ``GreenletExit``, ``KeyboardInterrupt`` and their like are not
swallowed: a signal handler may have raised one in a green thread to end the
process, and gevent and eventlet carry it to the main one. Another task takes
the loop over if the process goes on.
"""
import logging
import random
import sys
import threading
import time
from typing import Any, Callable, Dict, Optional

from ..log_events import TASK_ENDED, TASK_FAILED, TASK_INTERRUPTED
from .availability import Availability, log_safely, Reasons
from .engines import Engine
from ..protocol.transport import Unavailable

#: Seconds before the second attempt; it doubles with each further one.
BACKOFF_FIRST = 0.05

#: The longest pause in the first minute, in seconds: most outages are
#: restarts and failovers, and clients wait meanwhile.
BACKOFF_CAP = 1.0

#: The longest pause after the first minute, in seconds.
BACKOFF_CAP_LATER = 4.0

#: When "later" begins, in seconds.
BACKOFF_PATIENCE = 60.0

#: Why a task that ended without being asked is not up.
ENDED = 'the task has ended without being asked to'


def compute_backoff(attempt: int, elapsed: float,
                    jitter: Callable[[], float] = random.random) -> float:
    """The pause before the next attempt.

    :param attempt: how many attempts have failed, at least 1. The first
                    failure is answered at once: a connection that was
                    killed can usually be replaced.
    :param elapsed: seconds since the first of them.
    :param jitter: gives a number in [0, 1): half of the pause is drawn by
                   chance, so that the nodes of a cluster do not come back
                   all at the same moment.
    :return: seconds.
    """
    if attempt <= 1:
        return 0.0
    cap = BACKOFF_CAP if elapsed < BACKOFF_PATIENCE else BACKOFF_CAP_LATER
    # Without a bound on the exponent the power would become huge.
    pause: float = min(cap, BACKOFF_FIRST * 2 ** min(attempt - 2, 10))
    return pause * (0.5 + 0.5 * jitter())


def _current_greenlet() -> Any:
    """An object of the green thread that runs; ``None`` while the process
    can have none."""
    # Not an import: threads do not need greenlet.
    greenlet = sys.modules.get('greenlet')
    return None if greenlet is None else greenlet.getcurrent()


class Task:
    """A supervised loop.

    :param name: for the log, and as a part of the availability.
    :param work: called again and again; it returns when :attr:`stopping`
                 is true. It calls :meth:`works` as soon as it knows that it
                 reaches its server.
    :param availability: of the server that the work needs; ``None`` if it
                         needs none.
    """

    def __init__(self, name: str, work: Callable[['Task'], None],
                 engine: Engine, availability: Optional[Availability],
                 logger: Callable[[], logging.Logger]) -> None:
        self.name = name
        #: Set once, by the caller of :meth:`stop` or :meth:`abandon`; read
        #: by the work.
        self.stopping = False
        #: How many failures were followed by a new attempt. Written by the
        #: loop.
        self.restarts = 0
        #: How often the loop has ended without being asked to, and was taken
        #: over by another task; and how often in a row, without reaching
        #: its server. Written by the task that ends.
        self.deaths = 0
        self._deaths_in_a_row = 0
        self._work = work
        self._engine = engine
        self._availability = availability
        self._logger = logger
        #: Set by the loop when it is known whether the first attempt works.
        self.tried = engine.event()
        #: Ends a pause. Set by any task, cleared by the loop after a pause.
        self._wake = engine.event()
        #: Set by the loop at its end.
        self._ended = engine.event()
        #: Whether this attempt has reached the server. Written by the loop.
        self._through = False
        #: What the engine's ``start`` returned. Written by the caller of
        #: :meth:`start`, one task at a time.
        self._handle: Any = None
        #: Which call of :meth:`_run` is the loop: the first one to put
        #: itself there, which is one step.
        self._loops: Dict[str, Any] = {}
        #: The thread and the green thread that run the loop, while they do.
        #: Written by the loop.
        self._thread: Optional[int] = None
        self._greenlet: Any = None
        if availability is not None:
            availability.add(name, self.hurry)

    @property
    def begun(self) -> bool:
        """Whether the loop runs, or has run."""
        return bool(self._loops)

    def start(self) -> None:
        """Start the loop, in a task of its own. Idempotent, for one caller
        at a time. If an exception strikes on the way, call it again."""
        if not self._loops and (self._handle is None or getattr(
                self._handle, 'dead', False)):
            # If an earlier call was struck after it had started a task, one
            # of the two tasks ends at once.
            self._handle = self._engine.start(self._run)

    @property
    def dead(self) -> bool:
        """Whether the loop has run, and runs no longer, although it was not
        stopped."""
        return self.deaths > 0 and not self._loops and not self.stopping

    def works(self, server: Optional[bytes] = None) -> None:
        """Called by the work: it reaches its server.

        :param server: what tells it from others, if that is known.
        """
        self._through = True
        if self._availability is not None:
            self._availability.up(self.name, server)
        self.tried.set()

    def rest(self, seconds: float) -> None:
        """Wait, or until the task is stopped or hurried."""
        self._wake.wait(seconds)
        # What the work does next takes account of all that woke it.
        self._wake.clear()

    def hurry(self) -> None:
        """Let the next attempt begin now."""
        self._wake.set()

    def stop(self) -> None:
        """Ask the loop to end. The task's owner has to wake the work."""
        self.stopping = True
        self._wake.set()

    def abandon(self) -> None:
        """Give up the loop in a child process. A fork copies no threads, but
        it copies green threads, in the middle of what they do."""
        self.stopping = True
        gevent = sys.modules.get('gevent')
        if gevent is not None and isinstance(self._handle, gevent.Greenlet):
            self._handle.kill(block=False)
        # A green thread of eventlet would run here and now if it was killed.
        # It ends at its next command.

    def is_current(self) -> bool:
        """Whether the caller runs on this task."""
        # If only sockets are monkey patched, all green threads have one
        # thread's id. If greenlet was imported after the loop had begun, the
        # loop runs in none of them.
        return self._thread == threading.get_ident() and (
            self._greenlet is None or self._greenlet is _current_greenlet())

    def join(self, timeout: float) -> bool:
        """Wait for the end of the loop.

        :return: whether it has ended.
        """
        return bool(self._ended.wait(timeout))

    def _run(self) -> None:
        me, done = object(), False
        try:
            while not done:
                try:
                    # Compared by identity: struck after this line, it runs
                    # again.
                    if self._loops.setdefault('loop', me) is me:
                        self._repeat()
                        # The system may give the id to another thread.
                        self._thread = None
                        self._ended.set()
                    done = True
                except Exception:
                    # Not raised by the work: it struck between two rounds.
                    self.restarts += 1
                    log_safely(self._logger().exception,
                               '%s was interrupted', self.name,
                               extra=TASK_INTERRUPTED(task=self.name))
                    self.rest(BACKOFF_FIRST)
        finally:
            if not done and self._loops.get('loop') is me \
                    and not self.stopping:
                self._hand_over(sys.exc_info()[1])

    def _hand_over(self, exc: Optional[BaseException]) -> None:
        """Let another task take the loop over, since this one ends. If an
        exception strikes here, the heartbeat's task starts it again."""
        self.restarts += 1
        self.deaths += 1
        self._deaths_in_a_row = 1 if self._through \
            else self._deaths_in_a_row + 1
        self._handle = None
        self._loops.clear()
        log_safely(self._logger().error,
                   '%s has ended without being asked to (%r), and is started '
                   'again', self.name, exc, extra=TASK_ENDED(
                       task=self.name, reason=repr(exc)))
        if self._availability is not None:
            self._availability.broken(self.name, ENDED)
        self.start()

    def _repeat(self) -> None:
        self._greenlet = _current_greenlet()
        self._thread = threading.get_ident()
        if self._deaths_in_a_row:
            # Not at once: it may die again and again.
            self._wake.wait(max(BACKOFF_FIRST, compute_backoff(
                self._deaths_in_a_row, 0.0)))
        attempt, since, defects = 0, 0.0, Reasons()
        while not self.stopping:
            self._through = False
            begun = time.monotonic()
            reason = given = None
            try:
                self._work(self)
            except Unavailable as exc:
                reason, given = str(exc), exc.pause
            except Exception as exc:
                if self.stopping:
                    # An interrupted connection may raise anything.
                    break
                reason = f'{type(exc).__name__}: {exc}'
                if self._through or not attempt:
                    defects = Reasons()
                if defects.add(reason):
                    # Each one once, not at each attempt.
                    log_safely(self._logger().exception,
                               '%s failed', self.name, extra=TASK_FAILED(
                                   task=self.name, reason=reason))
            if self.stopping:
                break
            if reason is None:
                continue
            if self._through:
                attempt = 0
            if not attempt:
                since = time.monotonic()
            attempt += 1
            self.restarts += 1
            self._report(attempt, reason)
            self.tried.set()
            now = time.monotonic()
            pause = compute_backoff(attempt, now - since)
            if given is not None:
                # All tasks that need this server try again together.
                pause = given
            elif now - begun < BACKOFF_FIRST:
                # Do not storm a server that hangs up at once.
                pause = max(pause, BACKOFF_FIRST)
            # Not cleared before the attempt: what happened meanwhile counts.
            self._wake.wait(pause)
            self._wake.clear()

    def _report(self, attempt: int, reason: str) -> None:
        if self._availability is not None:
            if attempt == 1:
                self._availability.broken(self.name, reason)
            else:
                self._availability.down(self.name, reason)
