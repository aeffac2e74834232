"""What the process does about what its node finds: in an entry, in a message
over PUB/SUB, and when time passes.
"""
import threading
import time
from typing import Callable, Sequence

from ..concurrency.engines import Engine
from ..concurrency.tasks import Task
from ..errors import NO_ROOM
from ..log_events import NODE_JOINED, NODE_LEFT, NODE_SILENT
from ..protocol.codec import Packed
from ..protocol.events import Acknowledged, Act, Completed, Event, Learned, \
    NodeJoined, NodeLeft, Send
from ..protocol.node import Node
from ..protocol.transport import Way
from .channel import Channel
from .delivery import Requests
from .membership import Membership
from .status import Status
from .tasks import Tasks


class NodeEvents:
    """Carries out the events of a node.

    :param node: used under ``core``.
    :param act: carries out a message for the local clients.
    :param requests: returns what sends requests and answers.
    """

    def __init__(self, node: Node, core: threading.Lock, engine: Engine,
                 channels: Sequence[Channel], membership: Membership,
                 status: Status, tasks: Tasks, act: Callable[[Act], None],
                 requests: Callable[[], Requests]) -> None:
        self._node = node
        self._core = core
        self._engine = engine
        self._channels = channels
        self._membership = membership
        self._status = status
        self._tasks = tasks
        self._act = act
        self._requests = requests

    def carry_out(self, event: Event) -> None:
        """Carry out an event that an entry, a request or a timer causes."""
        if isinstance(event, Send):
            self._membership.say(event)
        elif isinstance(event, Completed):
            event.waiter.set()
        elif isinstance(event, Acknowledged):
            # A task of its own: it is the application's code.
            self._engine.spawn(event.callback, *event.args)
        elif isinstance(event, Learned):
            self._requests().learned()
        elif isinstance(event, NodeJoined):
            self._set_windows()
            self._membership.log_about(
                NODE_JOINED, 'node %s joined [%s]', event.uid,
                event.namespace, event.others)
        elif isinstance(event, NodeLeft):
            with self._core:
                is_gone = not self._node.is_known(event.uid)
            if is_gone:
                # Else it still reads the streams.
                for channel in self._channels:
                    channel.writer.backpressure.node_reported(
                        event.uid, None, False)
            kind, text = (NODE_SILENT, 'node %s fell silent [%s]') \
                if event.silent else (NODE_LEFT, 'node %s left [%s]')
            self._membership.log_about(
                kind, text, event.uid, event.namespace, event.others)

    def receive(self, packed: Packed, way: Way) -> None:
        """Take in a message from PUB/SUB; on a listener's task."""
        with self._core:
            events = list(self._node.hear(packed, way))
        for event in events:
            if isinstance(event, Act):
                try:
                    self._act(event)
                except NO_ROOM as exc:
                    self._status.no_room('a request', exc)
            else:
                self.carry_out(event)

    def keep_time(self, task: Task) -> None:
        """The heartbeat's task: call the node's timers."""
        while not task.stopping:
            self._tasks.start_again()
            self._status.watchdog.beat(time.monotonic())
            self._membership.serve()
            connected = self._status.is_connected
            self._set_windows()
            with self._core:
                events = self._node.tick(time.monotonic(), connected, [
                    each.knowledge for each in self._channels])
            self._status.log_more(time.monotonic())
            for event in events:
                self.carry_out(event)
            with self._core:
                pause = self._node.next_tick(time.monotonic())
            task.rest(pause)

    def _set_windows(self) -> None:
        for channel in self._channels:
            channel.set_window()
