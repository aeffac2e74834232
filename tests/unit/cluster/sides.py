"""PUB/SUB of several processes, each with its tasks, on one server."""
from typing import Any, Callable, Dict, List, Optional, Sequence, Set

from redis_streams_adapter.cluster.pubsub import PubSub
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.configuration import make
from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.membership import Known
from redis_streams_adapter.protocol.messages import EVERYONE, FetchSockets, \
    FetchSocketsResponse
from redis_streams_adapter.protocol.requests import Asked
from redis_streams_adapter.protocol.routing import application_channel, \
    marker_channel, member_channel
from redis_streams_adapter.testing.pubsub import FakePubSub

from ...support.wait import DEADLINE
from ..conftest import Log

OURS, THEIRS = Application('ours', 0), Application('theirs', 0)

TRANSPORTS = ('stream', 'pubsub', 'sharded-pubsub')

REQUEST = FetchSockets(EVERYONE, 'r')
ANSWER = FetchSocketsResponse('r', ())


class Side:
    """A side channel and its tasks."""

    def __init__(self, server: FakePubSub, logger: Any, uid: str,
                 transport: str, cluster: bool,
                 application: Application) -> None:
        self.server = server
        self.heard, self.malformed = Log(), Log()
        self.tasks: Dict[str, Task] = {}
        #: The other nodes known from the stream.
        self.known: Dict[str, Known] = {}
        #: Whether it serves the namespaces of its requests.
        self.joins = True
        #: The names of the required tasks.
        self.matters: List[str] = []
        self._logger = logger
        self.channel = PubSub(
            make({'request_transport': transport, 'channel_prefix': 'x'}),
            server.driver(cluster), ThreadEngine(), logger, Encoder(uid),
            application, self.heard, self.malformed, self._start)

    def _start(self, name: str, work: Any, matters: bool) -> None:
        """Like the runtime."""
        if name not in self.tasks:
            self.tasks[name] = Task(
                name, work, ThreadEngine(), None, self._logger)
            if matters:
                self.matters.append(name)
        self.tasks[name].start()

    def listening(self, namespace: str = '/',
                  timeout: float = DEADLINE) -> Optional[Asked]:
        return self.channel.listening(namespace, lambda: self.known, timeout)

    def count(self, namespace: str = '/') -> Optional[int]:
        return self.channel.count(namespace, lambda: self.known,
                                  lambda: self.joins)

    def knows(self, *uids: str, python: bool = True,
              namespace: str = '/') -> None:
        """Other nodes are heard in the stream."""
        self.known = {uid: Known(namespace, python) for uid in uids}

    def close(self) -> None:
        for task in self.tasks.values():
            task.stop()
        self.channel.interrupt()
        for task in self.tasks.values():
            assert not task.begun or task.join(DEADLINE)


MakeSide = Callable[..., Side]


def kinds_of(transport: str) -> Sequence[bytes]:
    """The kinds of channels that a node with a transport listens to."""
    return (b'', b's') if transport == 'sharded-pubsub' else (b'',)


def channels_of(namespace: str, uid: str) -> Set[bytes]:
    """The channels of a member."""
    return {each.encode() for each in (
        f'x#{namespace}#', f'x#{namespace}#{uid}#',
        marker_channel('x', namespace),
        application_channel('x', namespace, OURS.name),
        member_channel('x', namespace, OURS.name, uid))}


def start_js(server: FakePubSub) -> Any:
    """A Node.js server, whose heartbeats are not heard."""
    connection = server.driver().make(1.0, 'other')
    connection.connect()
    connection.places.update(((b'', b'x#/#'), (b's', b'x#/#')))
    return connection
