"""A process that watches a cluster, and is no member of it: for the command
line, for metrics, for an administrator's script.

An :class:`Observer` reads the streams and asks as a member does, but serves no
namespace. So

- no server counts it, waits for an answer of it, or for its reader;
- nothing is logged when it vanishes, also if it is killed;
- it writes its questions as an emitter, and no heartbeats;
- it trims nothing, whatever ``max_len`` the servers have.

Where it has to know all members, it reads them from the stream or asks for
them, see :mod:`redis_streams_adapter.protocol.discovery`: an answer is whole
from the first call on, or the call raises.
"""
from typing import Any, Dict, List, TypeVar

from .cluster.calls import TIMEOUT
from .cluster.remote_socket import RemoteSocket
from .errors import ConfigurationError
from .manager import RedisStreamsManager
from .nodes import NodeInfo, NodeStats
from .protocol.messages import Room

Self = TypeVar('Self', bound='Observer')


class _Watching(RedisStreamsManager):
    """The manager of an observer."""

    _observes = True


class Observer:
    """Watches a cluster, without being a member.

    Use it as a context manager, or call :meth:`close` at the end. It starts
    with the first call. Every call is that of the manager with the same name,
    and raises the same errors.

    :param url: where Redis is, as for the manager.
    :param stream_name: the key of the stream of the cluster.
    :param options: other options of the manager. ``stream_count``,
                    ``channel_prefix``, ``request_transport`` and the times of
                    heartbeats have to be those of the servers.
    :raises ConfigurationError: an option is unknown or wrong; it is named.
    """

    def __init__(self, url: Any = 'redis://localhost:6379/0',
                 stream_name: str = 'socket.io', **options: Any) -> None:
        if options.get('write_only'):
            raise ConfigurationError(
                'write_only: an observer asks, and waits for answers')
        self._manager = _Watching(url, stream_name, **options)

    @property
    def uid(self) -> str:
        """Its id, under which it is no member."""
        return self._manager.uid

    def start(self) -> None:
        """Begin to follow the streams. Idempotent; every other call does it,
        too."""
        self._manager.start()

    def close(self, timeout: float = 5) -> None:
        """End every task and connection. Idempotent.

        :param timeout: seconds for what was not sent yet.
        """
        self._manager.close(timeout)

    def __enter__(self: Self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # -- servers ----------------------------------------------------------

    def server_count(self, namespace: str = '/') -> int:
        """The number of servers in a namespace."""
        return self._manager.server_count(namespace)

    def nodes(self, namespace: str = '/') -> List[NodeInfo]:
        """The servers of a namespace."""
        return self._manager.nodes(namespace)

    def cluster_stats(self, timeout: float = TIMEOUT) -> List[NodeStats]:
        """The state of every server of the cluster.

        :param timeout: seconds to wait.
        """
        return self._manager.cluster_stats(timeout)

    def server_side_emit(self, event: str, *args: Any,
                         namespace: str = '/') -> None:
        """Send an event to every server. Returns when Redis has it, or, while
        Redis is away, at once: then :meth:`close` waits for it."""
        self._manager.server_side_emit(event, *args, namespace=namespace)

    def server_side_call(self, event: str, *args: Any, namespace: str = '/',
                         timeout: float = TIMEOUT) -> List[Any]:
        """Send an event to every server, and wait for their responses.

        :param timeout: seconds to wait.
        """
        return self._manager.server_side_call(
            event, *args, namespace=namespace, timeout=timeout)

    # -- clients ----------------------------------------------------------

    def fetch_sockets(self, namespace: str = '/', to: Any = None,
                      skip_sid: Any = None,
                      timeout: float = TIMEOUT) -> List[RemoteSocket]:
        """Find clients.

        :param to: a sid, a room, or a list of them; ``None``: everyone.
        :param skip_sid: a sid or a room, or a list of them, left out.
        :param timeout: seconds to wait.
        """
        return self._manager.fetch_sockets(
            namespace, to, skip_sid, timeout=timeout)

    def room_counts(self, namespace: str = '/',
                    timeout: float = TIMEOUT) -> Dict[Room, int]:
        """How many clients are in each room.

        :param timeout: seconds to wait.
        """
        return self._manager.room_counts(namespace, timeout)
