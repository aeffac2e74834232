"""Tasks that go on: one supervised loop for all of them, in threads or in
green threads.

A task's work is a function that runs until it is told to stop or until it
fails. The loop calls it again after each failure, with back-off, until it is
stopped; nothing that the work raises ends the task. What the outside sees of
failures is :class:`Condition`, which several tasks share: one line in the log
when the first of them cannot go on, and one when all of them can again.
"""
import _thread
import logging
import random
import sys
import threading
import time
import traceback
from typing import Any, Callable, Dict, NamedTuple, Optional, Protocol

from .locks import GreenLock, Lock, ThreadEvent
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
    # The exponent is bounded, for the power is not.
    pause: float = min(cap, BACKOFF_FIRST * 2 ** min(attempt - 2, 10))
    return pause * (0.5 + 0.5 * jitter())


class Event(Protocol):
    """As :class:`threading.Event`."""

    def set(self) -> None:
        """Wake all who wait."""

    def clear(self) -> None:
        """Let them wait again."""

    def is_set(self) -> bool:
        """Whether it is set."""

    def wait(self, timeout: Optional[float] = None) -> Any:
        """Wait until it is set, for so many seconds at most."""


class Engine(Protocol):
    """Where tasks come from."""

    def spawn(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run a function in a task of its own.

        :return: the task, whatever that is.
        """

    def start(self, loop: Callable[[], Any]) -> Any:
        """As :meth:`spawn`, for a loop of ours, in as few steps as can be.
        """

    def event(self) -> Event:
        """A new event, for tasks of this engine."""

    def lock(self) -> Any:
        """A new reentrant lock, for tasks of this engine that may switch
        while they hold it."""

    def pause(self) -> None:
        """Let other tasks run."""


class GeventEvent(ThreadEvent):
    """The same for greenlets of gevent.

    gevent's own wait with a timeout is struck as others are: then its timer
    goes on, and at its end raises in whatever that greenlet does by then. The
    timer of this one wakes somebody who is not there any more.
    """

    __slots__ = ()

    @staticmethod
    def _wake(waiter: Any) -> None:
        waiter.set()

    def wait(self, timeout: Optional[float] = None) -> bool:
        if self._is_set:
            return True
        import gevent
        import gevent.event

        waiter, timer = gevent.event.Event(), None
        try:
            self._waiting.append(waiter)
            if timeout is not None:
                timer = gevent.get_hub().loop.timer(max(0.0, timeout))
                # The loop's clock stands still while tasks run.
                timer.start(waiter.set, update=True)
            if not self._is_set:
                waiter.wait()
        finally:
            # One call each, the more important one first.
            try:
                self._waiting.remove(waiter)
            except ValueError:
                # Struck before it was added.
                pass
            finally:
                if timer is not None:
                    timer.close()
        return self._is_set


class ThreadEngine:
    """Tasks are threads; green ones in a monkey-patched process."""

    def spawn(self, work: Callable[..., Any], *args: Any) -> Any:
        if _is_green():
            thread = threading.Thread(target=work, args=args, daemon=True)
            thread.start()
            return thread
        # One step. What Thread.start() does is many: struck among them it
        # may have started a thread, or one that hangs, or none.
        return _thread.start_new_thread(_begin_thread, (work, args))

    def start(self, loop: Callable[[], Any]) -> Any:
        if not _is_green():
            return self.spawn(loop)
        return _start_green(loop, _is_green_by_gevent())

    def event(self) -> Event:
        if _is_green_by_gevent():
            return GeventEvent()
        return threading.Event() if _is_green() else ThreadEvent()

    def lock(self) -> Any:
        return GreenLock(self.event()) if _is_green() else Lock()

    def pause(self) -> None:
        if _is_green_by_gevent():
            _let_gevent_poll()
        else:
            time.sleep(0)


def _begin_thread(work: Callable[..., Any], args: Any) -> None:
    """Run a function in a thread that :mod:`threading` knows. Runs in one
    that it does not know, and that nobody strikes."""
    try:
        threading.Thread(target=work, args=args, daemon=True).start()
    except RuntimeError:
        # There may be no more threads: this is the last one.
        work(*args)


class ServerEngine:
    """Tasks are what the Socket.IO server makes of them."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._gevent = 'gevent' in server.async_mode
        #: Where tasks are threads.
        self._threads = ThreadEngine() \
            if server.async_mode == 'threading' else None

    def spawn(self, work: Callable[..., Any], *args: Any) -> Any:
        return self._server.start_background_task(work, *args)

    def start(self, loop: Callable[[], Any]) -> Any:
        if self._threads is not None:
            return self._threads.start(loop)
        return _start_green(loop, self._gevent)

    def event(self) -> Event:
        if self._threads is not None:
            return self._threads.event()
        if self._gevent:
            return GeventEvent()
        event: Event = self._server.eio.create_event()
        return event

    def lock(self) -> Any:
        if self._threads is not None:
            return self._threads.lock()
        return GreenLock(self.event())

    def pause(self) -> None:
        if self._gevent:
            _let_gevent_poll()
        else:
            self._server.sleep(0)


def _is_green() -> bool:
    """Whether what should be threads are green ones."""
    patcher = sys.modules.get('eventlet.patcher')
    return _is_green_by_gevent() or patcher is not None \
        and bool(patcher.is_monkey_patched('thread'))


def _start_green(loop: Callable[[], Any], by_gevent: bool) -> Any:
    """Run a loop in a green thread, without what :mod:`threading`, or the
    server, would do around it: struck there, it would never begin.

    :return: the green thread, which tells whether it is ``dead``.
    """
    if by_gevent:
        import gevent
        return gevent.spawn(loop)
    import eventlet
    return eventlet.spawn(loop)


def _is_green_by_gevent() -> bool:
    """Whether what should be threads are greenlets of gevent."""
    monkey = sys.modules.get('gevent.monkey')
    return monkey is not None and monkey.is_module_patched('threading')


def _let_gevent_poll() -> None:
    """Let everybody run, and the event loop look for sockets and timers.

    ``gevent.sleep(0)`` (26.9) does not do that: a task is ready again at
    once, and what is ready runs for 5 ms of sleep()s before the loop looks
    at anything else; a task that works for 3 ms at a time kept all others
    waiting for 150 ms. An idle watcher is called after the loop has looked;
    with the highest priority, also where there is always something to do,
    and first of all: hence the sleep(0) behind it.
    """
    import gevent

    gevent.idle(gevent.get_hub().loop.MAXPRI)
    gevent.sleep(0)


def check_monkey_patching(async_mode: str) -> None:
    """Make sure that sockets yield to other tasks.

    :param async_mode: of the server.
    :raises RuntimeError: gevent or eventlet without monkey patching.
    """
    if async_mode == 'eventlet':
        from eventlet.patcher import is_monkey_patched
        library, call = 'eventlet', 'eventlet.monkey_patch()'
        patched = is_monkey_patched('socket')
    elif 'gevent' in async_mode:
        from gevent.monkey import is_module_patched
        library, call = 'gevent', 'gevent.monkey.patch_all()'
        patched = is_module_patched('socket')
    else:
        return
    if not patched:
        raise RuntimeError(
            f'redis-streams-adapter needs a monkey patched socket module '
            f'with {library}: call {call} before anything else is imported, '
            f"or give the server async_mode='threading'")


class Outage(NamedTuple):
    """One that is over: when it ended, by the monotonic clock; how many
    seconds it took; what was said when it began."""

    ended: float
    lasted: float
    reason: str


def _log(write: Callable[..., None], *args: Any) -> None:
    """Log something. Handlers are the application's code, and may emit what
    they are given: where that fails no task shall end over it."""
    try:
        write(*args)
    except Exception:
        # As logging does it with what its own handlers raise.
        traceback.print_exc()


class Condition:
    """What several tasks know of one server: whether it can be used.

    Written by those tasks, read by everybody; the lock makes "the first one
    down" and "the last one up" a decision of one task. Nothing is logged
    under the lock.

    :param what: the name of the server in the log.
    :param backlog: tells for the log what waits.
    :param meanwhile: tells for the log what comes of it.
    """

    def __init__(self, what: str, logger: Callable[[], logging.Logger],
                 backlog: Callable[[], str],
                 meanwhile: str = 'messages wait, and are sent when it is '
                                  'back') -> None:
        self._what = what
        self._meanwhile = meanwhile
        self._logger = logger
        self._backlog = backlog
        self._lock = Lock()
        self._parts: Dict[str, bool] = {}
        self._down_since: Optional[float] = None
        #: Why the present outage began, or the last one.
        self._why = ''
        self._over: Optional[Outage] = None
        self._watchers: Dict[str, Callable[[], None]] = {}
        self.last_error: Optional[str] = None
        self.outages = 0

    def add(self, part: str, watcher: Callable[[], None]) -> None:
        """Take part.

        :param watcher: called when another part has got through.
        """
        self._parts[part] = False
        self._watchers[part] = watcher

    def watch(self, name: str, watcher: Callable[[], None]) -> None:
        """Be told when a part has got through, without taking part."""
        self._watchers[name] = watcher

    @property
    def ok(self) -> bool:
        """Whether all parts work."""
        return all(self._parts.values())

    @property
    def away(self) -> bool:
        """Whether it is known that the server cannot be used for now: more
        than a connection was lost."""
        return self._down_since is not None

    def history(self) -> Dict[str, Any]:
        """For ``health()``: ``outage``, how many seconds this one takes so
        far; ``last_outage``, when and why the last one was."""
        now = time.monotonic()
        with self._lock:
            since, over = self._down_since, self._over
            return {
                'outage': None if since is None else now - since,
                'last_outage': None if over is None else {
                    'ended': now - over.ended, 'lasted': over.lasted,
                    'reason': over.reason},
            }

    def up(self, part: str) -> None:
        """This part works."""
        with self._lock:
            was = self._parts[part]
            self._parts[part] = True
            since = self._down_since
            back = since is not None and self.ok
            if since is not None and back:
                now = time.monotonic()
                self._down_since = None
                self._over = Outage(now, now - since, self._why)
        if not was:
            # Others may be added now.
            for name, watcher in list(self._watchers.items()):
                if name != part:
                    watcher()
        if back and since is not None:
            _log(self._logger().warning,
                 '%s is back after %.1f s; %s', self._what,
                 time.monotonic() - since, self._backlog())

    def broken(self, part: str, reason: str) -> None:
        """This part has failed once, and tries again at once."""
        self._parts[part] = False
        self.last_error = reason
        _log(self._logger().info, '%s: the %s connects again (%s)',
             self._what, part, reason)

    def down(self, part: str, reason: str) -> None:
        """This part cannot go on for now."""
        with self._lock:
            self._parts[part] = False
            self.last_error = reason
            first = self._down_since is None
            if first:
                self._down_since = time.monotonic()
                self._why = f'{part}: {reason}'
                self.outages += 1
        if first:
            _log(self._logger().warning,
                 '%s cannot be used (%s: %s); %s; %s', self._what, part,
                 reason, self._meanwhile, self._backlog())


def _current_greenlet() -> Any:
    """Whatever tells this green thread from others of the same thread;
    ``None`` while there can be none."""
    # Not an import: threads do without.
    greenlet = sys.modules.get('greenlet')
    return None if greenlet is None else greenlet.getcurrent()


class Task:
    """A supervised loop.

    :param name: for the log, and for the condition.
    :param work: called again and again; it returns when :attr:`stopping`
                 is true. It calls :meth:`works` as soon as it knows that it
                 gets through.
    :param condition: what to tell of failures, where the work needs a
                      server.
    """

    def __init__(self, name: str, work: Callable[['Task'], None],
                 engine: Engine, condition: Optional[Condition],
                 logger: Callable[[], logging.Logger]) -> None:
        self.name = name
        #: Set once, by whoever stops the task; read by its work.
        self.stopping = False
        #: Failures so far that were answered with a new attempt. Written
        #: by the task.
        self.restarts = 0
        self._work = work
        self._engine = engine
        self._condition = condition
        self._logger = logger
        #: Set when it is known whether the first attempt works.
        self.tried = engine.event()
        self._wake = engine.event()
        self._ended = engine.event()
        self._through = False
        #: What ``spawn`` gave. Written by who starts it, one at a time.
        self._handle: Any = None
        #: Which call of :meth:`_run` is the loop: the first one to put
        #: itself there, which is one step.
        self._loops: Dict[str, Any] = {}
        #: Who runs the loop, while it does. Written by it.
        self._thread: Optional[int] = None
        self._greenlet: Any = None
        if condition is not None:
            condition.add(name, self.hurry)

    @property
    def begun(self) -> bool:
        """Whether the loop runs, or did."""
        return bool(self._loops)

    def start(self) -> None:
        """Start the loop, in a task of its own. Idempotent, for one task at
        a time: where it was struck on the way, call it again."""
        if not self._loops and (self._handle is None or getattr(
                self._handle, 'dead', False)):
            # What was spawned by a call that was struck ends at once, or
            # this one does.
            self._handle = self._engine.start(self._run)

    def works(self) -> None:
        """Said by the work: it gets through."""
        self._through = True
        if self._condition is not None:
            self._condition.up(self.name)
        self.tried.set()

    def rest(self, seconds: float) -> None:
        """Wait, but for no longer than until the loop is stopped."""
        self._wake.wait(seconds)

    def hurry(self) -> None:
        """Let the next attempt begin now."""
        self._wake.set()

    def stop(self) -> None:
        """Ask the loop to end. The work has to be woken by its owner."""
        self.stopping = True
        self._wake.set()

    def abandon(self) -> None:
        """In a child process after a fork. Threads are not copied by it, but
        green ones are, in the middle of what they do."""
        self.stopping = True
        kill = getattr(self._handle, 'kill', None)
        if kill is not None:
            # A greenlet of gevent. One of eventlet cannot be ended without
            # running it, here and now: it ends at its next command.
            kill(block=False)

    def is_current(self) -> bool:
        """Whether the caller runs on this task."""
        # Where only sockets are monkey patched all green threads have one
        # thread's id; where greenlet was imported after the loop began, it
        # runs in none.
        return self._thread == threading.get_ident() and (
            self._greenlet is None or self._greenlet is _current_greenlet())

    def join(self, timeout: float) -> bool:
        """Wait for the end of the loop.

        :return: whether it has ended.
        """
        return bool(self._ended.wait(timeout))

    def _run(self) -> None:
        me, loop = object(), None
        while True:
            try:
                # By identity: struck behind this it does it again.
                loop = self._loops.setdefault('loop', me)
                if loop is me:
                    self._go_round()
                    # The system gives the id to another thread.
                    self._thread = None
                    self._ended.set()
                return
            except Exception:
                # Not the work's: it has struck between two rounds.
                self.restarts += 1
                _log(self._logger().exception, '%s was interrupted',
                     self.name)
                self.rest(BACKOFF_FIRST)

    def _go_round(self) -> None:
        self._greenlet = _current_greenlet()
        self._thread = threading.get_ident()
        attempt, since = 0, 0.0
        while not self.stopping:
            self._through = False
            begun = time.monotonic()
            reason = None
            try:
                self._work(self)
            except Unavailable as exc:
                reason = str(exc)
            except Exception as exc:
                if self.stopping:
                    # An interrupted connection fails in every way.
                    break
                reason = f'{type(exc).__name__}: {exc}'
                if self._through or not attempt:
                    # Once, not at each attempt.
                    _log(self._logger().exception, '%s failed', self.name)
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
            self._tell(attempt, reason)
            self.tried.set()
            now = time.monotonic()
            pause = compute_backoff(attempt, now - since)
            if now - begun < BACKOFF_FIRST:
                # A server that hangs up on us at once must not be stormed.
                pause = max(pause, BACKOFF_FIRST)
            # Not cleared before the attempt: what happened meanwhile counts.
            self._wake.wait(pause)
            self._wake.clear()

    def _tell(self, attempt: int, reason: str) -> None:
        if self._condition is not None:
            if attempt == 1:
                self._condition.broken(self.name, reason)
            else:
                self._condition.down(self.name, reason)
