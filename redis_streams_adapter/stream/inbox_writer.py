"""Answers to the requests of other servers, on their way into the inboxes of
those, see :mod:`redis_streams_adapter.stream.inbox`.

One task sends the answers for all inboxes, in pipelines. If a connection
breaks, it sends all of the last pipeline again, in the same order: each entry
bears the id of this writer and a number that grows, so the reader drops what
it has had before. An answer that finds no server within :data:`PATIENCE` is
dropped: no caller waits for it any more. So is one over which :data:`TRIES`
connections have broken.

If Redis refuses an answer, it goes into the stream of events instead, as it
does if the user has not the right to use inboxes. An answer that may have been
stored before is not sent there, because it would arrive twice.
"""
import logging
import math
import os
import time
from collections import deque
from typing import Callable, Deque, Dict, List, NamedTuple, Sequence

from ..concurrency.engines import Engine
from ..concurrency.tasks import Task
from ..log_events import ANSWERS_ALLOWED, ANSWERS_REFUSED
from ..protocol.transport import Fields, Unavailable
from .connection import describe
from .driver import Driver
from .inbox import LIFETIME, NO_RIGHT, TRY_AGAIN
from .servers import Command, MOVED_CODES, Servers

#: How many seconds an answer waits at most. The longest default timeout of a
#: call.
PATIENCE = 60.0

#: How many answers, and about how many bytes, are sent at once.
BATCH, BATCH_BYTES = 100, 1 << 19

#: How many bytes may wait before large answers are made more slowly, and
#: before answers are dropped.
CROWDED, FULL = 1 << 20, 1 << 26

#: How many times in a row an answer may be sent over a connection that then
#: breaks, before it is dropped.
TRIES = 4

#: About how many bytes an answer takes besides its fields.
OVERHEAD = 500

_LIFETIME = b'%d' % (LIFETIME * 1000)


class Answer(NamedTuple):
    """One answer.

    :param key: that of the inbox.
    :param deadline: when it is dropped, by the monotonic clock.
    :param otherwise: sends it in another way.
    """

    key: str
    fields: Fields
    size: int
    deadline: float
    otherwise: Callable[[], object]


class InboxWriter:
    """Sends answers, on a task of its own."""

    def __init__(self, driver: Driver, engine: Engine,
                 logger: Callable[[], logging.Logger]) -> None:
        self._engine = engine
        self._logger = logger
        self._servers = Servers(driver)
        self._id = os.urandom(8).hex().encode()
        # Any task appends, the task of this writer takes out: both are atomic
        # in CPython. If the process dies, the answers are lost, and their
        # callers wait until their timeouts, or until its heartbeats have
        # ended.
        self._waiting: Deque[Answer] = deque()
        #: The answers of the last pipeline, by their numbers, until there are
        #: replies to it. Used by the task.
        self._sending: Dict[int, Answer] = {}
        #: The number up to which answers may have been sent before. Used by
        #: the task.
        self._tried = 0
        self._number = 0
        #: How many connections in a row have broken over answers that were
        #: sent. Used by the task; if an exception strikes, one too many is
        #: counted at most.
        self._breaks = 0
        #: How many bytes wait. Updated without a lock; corrected when none
        #: wait.
        self._bytes = 0
        #: How many answers were dropped. As in the publisher, updated without
        #: a lock; may under-count slightly.
        self.dropped = 0
        #: Until when the user has not the right, as far as is known; by the
        #: monotonic clock. Written by the task.
        self._refused_until = -math.inf
        self._work_there = engine.event()
        #: Set by the task when answers have left. Cleared by those that wait.
        self._left = engine.event()

    # -- for every task ---------------------------------------------------

    @property
    def accepts(self) -> bool:
        """Whether answers may be sent to inboxes, as far as is known."""
        return time.monotonic() >= self._refused_until

    @property
    def crowded(self) -> bool:
        """Whether so much waits that what is not urgent should wait."""
        return self._bytes > CROWDED

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting and not self._sending

    def put(self, key: str, fields: Fields,
            otherwise: Callable[[], object]) -> None:
        """Send an answer. Never blocks.

        :param key: that of the inbox.
        :param otherwise: sends it in another way; called if Redis refuses it.
        """
        size = OVERHEAD + sum(map(len, fields))
        if self._bytes + size > FULL:
            self.dropped += 1
            return
        self._bytes += size
        self._waiting.append(Answer(
            key, fields, size, time.monotonic() + PATIENCE, otherwise))
        self._work_there.set()

    def flush(self, deadline: float) -> bool:
        """Wait until Redis has all answers.

        :param deadline: by the monotonic clock.
        :return: ``False``: it was too late.
        """
        while not self.idle:
            self._left.clear()
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if not self.idle:
                self._left.wait(left)
        return True

    def renew(self) -> None:
        """Connect again: another server has taken over."""
        self._servers.interrupt()

    def interrupt(self) -> None:
        """End the wait of the task, which stops then."""
        self._servers.interrupt()
        self._work_there.set()

    def abandon(self) -> None:
        """See :meth:`~redis_streams_adapter.protocol.transport.Link.abandon`.\
"""
        self._servers.abandon()

    # -- the task ---------------------------------------------------------

    def work(self, task: Task) -> None:
        """One round of the task: connect, and send until a connection
        breaks."""
        try:
            self._servers.open()
            task.works()
            while not task.stopping:
                if self.idle:
                    self._bytes = 0
                    self._left.set()
                    self._work_there.wait()
                self._work_there.clear()
                while not self.idle and not task.stopping:
                    self._send()
                    self._engine.pause()
        finally:
            self._servers.close()

    def _send(self) -> None:
        now = time.monotonic()
        for number, answer in list(self._sending.items()):
            if answer.deadline < now:
                self._settle(number)
                self.dropped += 1
        if self._breaks == TRIES:
            # Redis closes a connection over what is too large for it.
            self._settle(next(iter(self._sending)))
            self.dropped += 1
            self._breaks = 0
        if not self._sending:
            self._take(now)
        # One by one after a break, to find the one that Redis does not take.
        some = list(self._sending.items())[:1 if self._breaks else None]
        commands: List[Command] = [
            (each.key, (b'XADD', each.key.encode(), b'*', *each.fields,
                        b'wid', self._id, b'seq', b'%d' % number))
            for number, each in some]
        if not commands:
            return
        keys = dict.fromkeys(each.key for _, each in some)
        tried, self._tried = self._tried, self._number
        self._breaks += 1
        # After them, so that no key is left without an expiry.
        replies = self._servers.carry_out([*commands, *(
            (key, (b'PEXPIRE', key.encode(), _LIFETIME)) for key in keys)])
        self._breaks = 0
        self._check(replies[:len(commands)], tried)
        self._left.set()

    def _take(self, now: float) -> None:
        size = 0
        while self._waiting and len(self._sending) < BATCH \
                and size < BATCH_BYTES:
            answer = self._waiting[0]
            if answer.deadline < now:
                self.dropped += 1
                self._bytes -= answer.size
            else:
                size += answer.size
                self._number += 1
                # Before it is taken out: one of the two shows it.
                self._sending[self._number] = answer
            self._waiting.popleft()

    def _settle(self, number: int) -> None:
        self._bytes -= self._sending.pop(number).size

    def _check(self, replies: Sequence[object], tried: int) -> None:
        """Take in the replies to what was sent.

        :param tried: the number up to which answers had been sent before.
        """
        for number, reply in zip(list(self._sending), replies):
            if isinstance(reply, Exception):
                reason = describe(reply)
                if str(reply).startswith(MOVED_CODES) \
                        or 'MovedError' in reason:
                    raise Unavailable(reason)
                answer = self._sending[number]
                if NO_RIGHT in reason.lower():
                    self._refuse(reason)
                if number > tried:
                    answer.otherwise()
                else:
                    self.dropped += 1
            elif self._refused_until != -math.inf:
                self._refused_until = -math.inf
                self._logger().info('this user may write into inboxes again',
                                    extra=ANSWERS_ALLOWED())
            self._settle(number)

    def _refuse(self, reason: str) -> None:
        first = self._refused_until == -math.inf
        self._refused_until = time.monotonic() + TRY_AGAIN
        if first:
            self._logger().warning(
                'this user may not write into inboxes, so answers to requests '
                'go into the stream of events, and shorten its history (%s)',
                reason, extra=ANSWERS_REFUSED(reason=reason))
