"""Tasks that wait until all members are known: of a namespace, or of the
cluster.

A process that has just started may not know all of them yet, see
:mod:`redis_streams_adapter.protocol.discovery`. It asks while a task waits.
"""
import math
import threading
import time
from typing import Any, Callable, List, Optional

from ..concurrency.engines import Event as TaskEvent
from ..protocol.discovery import ASK_INTERVAL, EVERYWHERE
from ..protocol.node import Node
from ..runtime.runtime import Runtime


class MemberWaits:
    """The tasks of a process that wait.

    :param core: the lock of the node.
    """

    def __init__(self, node: Node, core: threading.Lock,
                 runtime: Runtime[Any]) -> None:
        self._node = node
        self._core = core
        self._runtime = runtime
        #: Events of the waiting tasks. Each task adds and removes its own,
        #: also when an exception ends it.
        self._waiting: List[TaskEvent] = []

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return len(self._waiting)

    def learned(self) -> None:
        """Wake the waiting tasks: more members may be known."""
        for event in list(self._waiting):
            event.set()

    def in_namespace(self, namespace: str, timeout: float,
                     then: Callable[[], None]) -> bool:
        """Wait until all members of a namespace are known.

        :param timeout: how many seconds to wait, at most.
        :param then: called at that moment, under the node's lock.
        :return: whether they are known.
        """
        knowledge = self._runtime.channel(namespace).knowledge

        def unknown_for(now: float) -> Optional[float]:
            left = self._node.unknown_for(namespace, knowledge, now)
            if left == 0:
                then()
            return left

        return self._wait(
            timeout, unknown_for,
            lambda now: knowledge.is_to_ask(namespace, now),
            lambda: self._runtime.membership.ask_for_members(namespace))

    def everywhere(self, timeout: float) -> bool:
        """Wait until all members of all namespaces, in every stream, are
        known.

        Servers in Python that serve any namespace of a stream answer one
        question. Servers in Node.js only answer in a namespace that they
        serve, and every one of them serves ``/``.

        :param timeout: how many seconds to wait, at most.
        :return: whether they are known.
        """
        deadline = time.monotonic() + timeout
        for channel in self._runtime.channels:
            knowledge, index = channel.knowledge, channel.index

            def unknown_for(now: float) -> Optional[float]:
                return self._node.unknown_in(index, knowledge, now)

            if not self._wait(
                    deadline - time.monotonic(), unknown_for,
                    lambda now: knowledge.is_to_ask(EVERYWHERE, now),
                    lambda: self._runtime.membership.ask_everyone(channel)):
                return False
        return self.in_namespace(
            '/', deadline - time.monotonic(), lambda: None)

    def _wait(self, timeout: float,
              unknown_for: Callable[[float], Optional[float]],
              is_to_ask: Callable[[float], bool],
              ask: Callable[[], None]) -> bool:
        """Wait until they are known.

        :param unknown_for: returns in how many seconds to check again; 0:
                            they are known. Called under the node's lock, like
                            ``is_to_ask``.
        """
        deadline = time.monotonic() + timeout
        learned = None
        try:
            while True:
                now = time.monotonic()
                with self._core:
                    left = unknown_for(now)
                    if left == 0:
                        return True
                    asks = is_to_ask(now)
                if learned is None:
                    self._runtime.tasks.refuse_on_own_task()
                    learned = self._runtime.engine.event()
                    self._waiting.append(learned)
                    # They may have become known before the event existed.
                    continue
                if now >= deadline or self._runtime.closed:
                    return False
                if asks:
                    ask()
                learned.wait(min(deadline - now, ASK_INTERVAL,
                                 math.inf if left is None else left))
                learned.clear()
        finally:
            if learned is not None and learned in self._waiting:
                self._waiting.remove(learned)
