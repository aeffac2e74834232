"""Which servers refuse connections, and when each may be asked again.

A server at its limit of clients accepts a connection, sends an error and
closes it; one that is down refuses it. All connections of a manager would try
again, each by itself, and keep out the connections of others. Instead, one
connection tries, after a pause that grows with each refusal. The attempts of
the others end at once, without reaching the server, and name the time of the
next attempt.
"""
import time
from typing import Any, Dict, Hashable, NamedTuple

from ..concurrency.tasks import compute_backoff
from ..protocol.transport import Unavailable

#: Part of the error of a server at its limit of clients (``networking.c``,
#: ``acceptCommonHandler``). It is not the reply to a command.
FULL = 'max number of clients'


class Closed(NamedTuple):
    """A server that refuses connections.

    :param attempts: how many attempts it has refused in a row; those that
                     were under way at the same time count as one.
    :param since: when it refused the first one, by the monotonic clock.
    :param noted: when it refused the last one that counts.
    :param until: when it may be asked again.
    :param reason: its error.
    """

    attempts: int
    since: float
    noted: float
    until: float
    reason: str


class Refusals:
    """The servers that refuse the connections of one manager.

    Tasks share it without a lock. Each change replaces one entry, in one step.
    Two tasks at the same moment may both try, or count one refusal for two. If
    a task is struck during its attempt, another one tries after the pause.
    """

    def __init__(self) -> None:
        #: By the server's address.
        self._closed: Dict[Hashable, Closed] = {}

    def attempt(self, server: Hashable) -> float:
        """Begin an attempt to connect.

        :return: when it began; for :meth:`refused`.
        :raises Unavailable: the server has refused another attempt, and it
                             is too early for the next one.
        """
        now, closed = time.monotonic(), self._closed.get(server)
        if closed is not None:
            if now < closed.until:
                raise Unavailable(closed.reason, pause=closed.until - now)
            # The others wait for the result of this attempt.
            self._closed[server] = closed._replace(
                until=now + compute_backoff(
                    closed.attempts + 1, now - closed.since))
        return now

    def refused(self, server: Hashable, begun: float, reason: str) -> None:
        """Note that the server has refused an attempt.

        :param begun: when it began.
        """
        now = time.monotonic()
        closed = self._closed.get(server) or Closed(0, now, 0.0, 0.0, reason)
        if closed.attempts and begun < closed.noted:
            return
        attempts = closed.attempts + 1
        self._closed[server] = Closed(
            attempts, closed.since, now,
            now + compute_backoff(attempts, now - closed.since), reason)

    def accepted(self, server: Hashable) -> None:
        """Note that the server has accepted a connection, and replied."""
        self._closed.pop(server, None)


def refuses(error: BaseException) -> bool:
    """Whether an error, before the first reply of a server, means that the
    server refuses connections. A server that is frozen does not: each task
    that needs it waits for its reply."""
    names = {each.__name__ for each in type(error).__mro__}
    return 'TimeoutError' not in names and (
        'ResponseError' not in names or FULL in str(error))


def address_of(connection: Any) -> Hashable:
    """The server that one of redis-py's connections is for."""
    return getattr(connection, 'path', None) or (
        getattr(connection, 'host', None), getattr(connection, 'port', None))
