"""The tasks of a process, each started once, and how far the process is from
its start to its end.
"""
import logging
import time
from typing import Any, Callable, Dict, Iterable, NamedTuple, Optional

from ..concurrency.availability import Availability
from ..concurrency.engines import Engine
from ..concurrency.tasks import Task
from ..stream.writer import Writer


class State:
    """How far a process is, from its start to its close.

    Each flag is set once, in the order given here, under the start lock, but
    for what is said there. Every task reads them.

    :param observes: whether it only watches the cluster: it reads and asks as
                     a member does, but serves no namespace, so that no other
                     node counts it, waits for it or reports that it is gone.
    """

    def __init__(self, observes: bool = False) -> None:
        self.observes = observes
        #: The moment from which a client of this process may have been told
        #: that it is connected, by the monotonic clock; empty until then.
        #: Written once, with an atomic ``setdefault``, by the first task that
        #: starts the runtime or accepts a client. python-socketio may accept
        #: one while another task still waits for the start. Read by the
        #: readers' tasks.
        self._clients_since: Dict[str, float] = {}
        #: Whether this process is a member, and does not only write. Set when
        #: all its tasks were started.
        self.member = False
        #: A closed runtime still sends, an ended one starts no tasks, and a
        #: finished one has none. The last two are set by the task that
        #: closes. If an exception strikes a close(), the next close()
        #: continues from there.
        self.closed = False
        self.ended = False
        self.finished = False
        #: Whether a close() is in progress. Set together with ``closed``, by
        #: each close() that has something to do; cleared at its end.
        self.closing = False

    def may_have_clients(self) -> None:
        """Note that a client may be told that it is connected when this
        returns: it gets what is stored in the streams from now on."""
        if not self._clients_since:
            self._clients_since.setdefault('since', time.monotonic())

    def clients_since(self) -> float:
        """The moment of the first :meth:`may_have_clients`."""
        self.may_have_clients()
        return self._clients_since['since']


class Part(NamedTuple):
    """A task of the deliveries.

    :param work: see :class:`~redis_streams_adapter.concurrency.tasks.Task`.
    :param connects: whether it has connections to Redis, and so reports
                     whether sessions can be read and written.
    """

    name: str
    work: Callable[[Task], None]
    connects: bool = False


class Tasks:
    """The tasks of a process, by name.

    :param redis: whether Redis can be used.
    """

    def __init__(self, engine: Engine, logger: Callable[[], logging.Logger],
                 state: State, redis: Availability) -> None:
        self._engine = engine
        self._logger = logger
        self._state = state
        self._redis = redis
        # Separate: if these fail, the streams may work, and nothing waits.
        self._pubsub = Availability(
            'PUB/SUB of Redis', logger, lambda: 'events are still sent',
            lambda: 'requests fail; events are still sent', 'pubsub')
        self._sessions = Availability(
            'Redis, for the sessions of clients,', logger,
            lambda: 'clients that return can be recovered',
            lambda: 'a client that returns now is new; events are still sent',
            'sessions')
        #: What ``health()`` reports besides the streams.
        self.others = self._pubsub, self._sessions
        #: The start lock: one task at a time starts tasks.
        self.start_lock: Any = engine.lock()
        #: Each is noted before it is started; under the start lock.
        self.by_name: Dict[str, Task] = {}

    def start(self, name: str, work: Callable[[Task], None],
              availability: Optional[Availability] = None) -> Optional[Task]:
        """Start a task, unless it runs; under the start lock. Idempotent."""
        task = self.by_name.get(name)
        if not self._state.ended:
            if task is None:
                # Noted before it is started: there is no second one.
                task = self.by_name[name] = Task(
                    name, work, self._engine, availability, self._logger)
            task.start()
        return task

    def start_part(self, part: Part) -> None:
        """Start a task of the deliveries, unless it runs; under the start
        lock. Idempotent."""
        self.start(part.name, part.work,
                   self._sessions if part.connects else None)
        if part.name in self.by_name:
            # It tries again at once when an outage is over.
            self._redis.watch(part.name, self.by_name[part.name].hurry)

    def end(self, names: Iterable[str]) -> None:
        """Stop tasks, and forget them: others may get their names; under the
        start lock. The caller has to wake their work."""
        for name in names:
            task = self.by_name.pop(name, None)
            if task is not None:
                task.stop()

    def start_writer(self, key: str, writer: Writer) -> bool:
        """Start the writer of a stream. Idempotent.

        :return: whether its task runs. If an exception struck the task before
                 it began, it has to be started again.
        """
        with self.start_lock:
            task = self.start(f'writer of {key}', writer.work, self._redis)
            return task is not None and task.begun

    def start_pubsub(self, name: str, work: Callable[[Task], None],
                     matters: bool) -> None:
        """Start a task for PUB/SUB. Idempotent.

        :param matters: whether ``health()`` reports that it fails.
        """
        task = self.by_name.get(name)
        if task is None or not task.begun:
            with self.start_lock:
                self.start(name, work, self._pubsub if matters else None)

    def start_again(self) -> None:
        """Start each task that an exception struck before it began."""
        with self.start_lock:
            if not self._state.ended:
                for task in self.by_name.values():
                    task.start()

    def on_own_task(self) -> bool:
        """Whether the caller runs on one of these tasks."""
        return any([task.is_current() for task in list(
            self.by_name.values())])

    def why_not(self) -> str:
        """Why Redis does not take a message, as far as is known."""
        return self._redis.last_error or 'it has not answered in time'

    def refuse_on_own_task(self) -> None:
        """Make sure that this task may wait for answers.

        :raises RuntimeError: it is one of ours. A reader's task takes the
                              answers in, so it must not wait for them.
        """
        if self.on_own_task():
            raise RuntimeError(
                'this call waits for other servers, and must not be made on '
                'a task of the manager, which takes in their answers')
