"""Is a server, to which a plain URL leads, part of a Redis Cluster?

The server has only some of the keys. If the streams are among them, much
works by chance, and sessions fail in silence.
"""
import re
from typing import Any, Callable

from ..protocol.transport import Unavailable

_SIZE = re.compile(rb'cluster_size:(\d+)')


class ClusterMode:
    """What is known of the server in this process.

    Any task that connects may ask; two may ask at the same time.
    """

    def __init__(self) -> None:
        #: Whether to ask. Cleared before each question, without a lock: a
        #: proxy may end the connection over it, and is not asked again.
        self.asks = True

    def examine(self, command: Callable[..., Any]) -> None:
        """Ask the server.

        :param command: sends a command, and returns the reply or the error.
        :raises Unavailable: it is one of several masters; or the connection
                             broke.
        """
        self.asks = False
        reply = command(b'CLUSTER', b'INFO')
        if not isinstance(reply, bytes):
            # An error: no cluster, or no permission.
            return
        # It may get more masters later.
        self.asks = True
        found = _SIZE.search(reply)
        if found is not None and int(found.group(1)) > 1:
            raise Unavailable(
                f'the server is one of {int(found.group(1))} masters of a '
                f'Redis Cluster: use a URL with redis+cluster://, or a '
                f'RedisCluster object')
