"""A cluster of managers in one process, for tests of applications."""
import time
from typing import Any, Iterator, List

from ..errors import ConfigurationError
from ..manager import RedisStreamsManager
from .local_redis import LocalRedis

#: How long :meth:`LocalCluster.settle` waits by default, in seconds.
#: Generous: only a test that fails waits that long.
TIMEOUT = 10.0

#: How long one wait for news lasts, in seconds.
INTERVAL = 0.02

#: Options that only a real Redis can fulfil.
REFUSED = ('url', 'redis_options', 'min_replicas')

#: Options that are the same for all managers of a cluster.
SHARED = ('stream_name', 'channel', 'stream_count')


class LocalCluster:
    """Managers that share a Redis in memory instead of a real one::

        with LocalCluster(2) as cluster:
            servers = [socketio.Server(client_manager=manager)
                       for manager in cluster.managers]
            ...
            servers[0].emit('hello', 'world')
            cluster.settle()

    Each manager is a :class:`~redis_streams_adapter.RedisStreamsManager`:
    give each to a server of its own, or use it without a server. They behave
    as managers on several machines do, with any ``request_transport`` and
    with ``connection_state_recovery``. Not emulated are replicas, failovers,
    Redis Cluster, access control lists, and Redis' limits of memory.

    At the end of the ``with`` block all managers are closed.

    :param count: the number of managers.
    :param options: options of all managers, as
                    :class:`~redis_streams_adapter.RedisStreamsManager` takes
                    them.
    :raises ConfigurationError: an option is wrong, or needs a real Redis:
                                ``url``, ``redis_options``, ``min_replicas``.
    """

    def __init__(self, count: int = 2, **options: Any) -> None:
        self._options = options
        #: The Redis in memory.
        self.redis = LocalRedis()
        #: All managers, in the order in which they were made.
        self.managers: List[RedisStreamsManager] = []
        for _ in range(count):
            self.manager()

    def manager(self, **options: Any) -> RedisStreamsManager:
        """Add one more manager: a server that is started later, or, with
        ``write_only=True``, an external process.

        :param options: they override those of the cluster.
        :raises ConfigurationError: as the constructor; or an option must be
                                    the same for the whole cluster.
        """
        for name in REFUSED:
            if name in options or name in self._options:
                raise ConfigurationError(
                    f'{name} needs a real Redis: LocalCluster does not accept '
                    f'it')
        for name in SHARED:
            if name in options:
                raise ConfigurationError(
                    f'{name} must be the same for all managers: give it to '
                    f'LocalCluster')
        manager = RedisStreamsManager(
            self.redis.driver(), **{**self._options, **options})
        self.managers.append(manager)
        return manager

    def start(self, timeout: float = TIMEOUT) -> None:
        """Let all managers join the cluster, and wait until they know each
        other. Call it once each manager has its server.

        :param timeout: seconds.
        :raises TimeoutError: they do not know each other in time; Redis may
                              be disconnected.
        """
        deadline = time.monotonic() + timeout
        members = [each for each in self.managers if not each.write_only]
        for manager in members:
            manager.start()
        for _ in self._attempts(deadline, 'not all managers know each other'):
            # Not server_count(), which may block.
            if all(manager.health()['nodes'] >= len(members)
                   for manager in members):
                return

    def settle(self, timeout: float = TIMEOUT) -> None:
        """Wait until all that was emitted so far is delivered: it has left
        every outbox, every manager has read it and handed it to its clients,
        and the same is true of all that this has caused, such as the answers
        to requests.

        Handlers that python-socketio runs in tasks of their own are not
        waited for, nor what they emit later.

        :param timeout: seconds.
        :raises TimeoutError: it is not delivered in time; Redis may be
                              disconnected.
        """
        deadline = time.monotonic() + timeout
        before: Any = None
        for _ in self._attempts(deadline, 'not everything is delivered'):
            flushed = all([manager.flush(max(0, deadline - time.monotonic()))
                           for manager in self.managers])
            streams = self.redis.streams
            members = sum(map(_is_member, self.managers))
            # What is read may be answered. Nothing more comes only if nothing
            # was added while all was read.
            inboxes = self.redis.inboxes
            answered = all(map(_has_answered, self.managers))
            after = [len(stream.history) for stream in (*streams, *inboxes)]
            read = all([stream.wait_until_read(members, INTERVAL)
                        for stream in streams])
            # What was read from an inbox is deleted there.
            taken = not any(stream.entries for stream in inboxes)
            if flushed and answered and read and taken and after == before:
                return
            before = after

    def disconnect(self) -> None:
        """Take Redis away: connections end, and new ones are refused, until
        :meth:`reconnect`. The data is kept."""
        self.redis.go_away()

    def reconnect(self) -> None:
        """Bring Redis back. The managers reconnect by themselves, within a
        second or so."""
        self.redis.come_back()

    def close(self) -> None:
        """Close all managers. Redis comes back for it, so that nothing that
        they still have to send holds them up."""
        self.redis.come_back()
        for manager in self.managers:
            manager.close()

    def __enter__(self) -> 'LocalCluster':
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def _attempts(self, deadline: float, complaint: str) -> Iterator[None]:
        """Go on until the caller is content.

        :raises TimeoutError: the deadline has passed.
        """
        while time.monotonic() < deadline:
            yield
            self.redis.pause(INTERVAL)
        raise TimeoutError(complaint)


def _is_member(manager: RedisStreamsManager) -> bool:
    """Whether a manager has joined the cluster, and not left it."""
    runtime = manager._lifecycle.current
    return runtime is not None and runtime.member and not runtime.closed


def _has_answered(manager: RedisStreamsManager) -> bool:
    """Whether no answer of a manager to a request of another waits."""
    runtime = manager._lifecycle.current
    return runtime is None or runtime.closed or runtime.requester.idle
