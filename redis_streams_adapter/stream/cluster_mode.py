"""Is a server, to which a plain URL leads, part of a Redis Cluster?

The server has only some of the keys. If the streams are among them, much
works by chance, and sessions fail in silence.

The only master of a cluster has all keys, and works as any other server. So
does a service that shows itself as such a master, whatever is behind it.
"""
import re
from typing import Any, Callable

from ..protocol.transport import Unavailable

#: What to do about it.
HINT = 'use a URL with redis+cluster://, or a RedisCluster object'

#: Errors of a server of a cluster for a key that is on another one. The names
#: of redis-py's classes, and the codes for redis-py 5.0, which has no classes
#: for them.
ELSEWHERE = ('MovedError: ', 'AskError: ', 'ResponseError: MOVED ',
             'ResponseError: ASK ')

_SIZE = re.compile(rb'cluster_size:(\d+)')


class ClusterMode:
    """What is known of the server in this process.

    Any task that connects may ask; two may ask at the same time.
    """

    def __init__(self) -> None:
        #: Whether to ask. Cleared without a lock, in one step, when the server
        #: is in no cluster, does not say, or has ended the connection over the
        #: question, as a proxy may. Then no connection asks again. A task that
        #: is struck before it is cleared only asks once more.
        self.asks = True

    def examine(self, command: Callable[..., Any]) -> None:
        """Ask the server.

        :param command: sends a command, and returns the reply or the error.
        :raises Unavailable: it is one of several masters; or the connection
                             broke.
        """
        try:
            reply = command(b'CLUSTER', b'INFO')
        except Unavailable:
            self.asks = False
            raise
        if not isinstance(reply, bytes):
            # An error: no cluster, or no permission.
            self.asks = False
            return
        # If there is one master now, there may be more later.
        found = _SIZE.search(reply)
        if found is not None and int(found.group(1)) > 1:
            raise Unavailable(
                f'the server is one of {int(found.group(1))} masters of a '
                f'Redis Cluster: {HINT}')
