"""A connection to a server that may refuse some commands, or a proxy before
it: it does without them.
"""
import math
import time
from typing import Any, cast, Dict, List, Optional, Sequence

from ..protocol.transport import Unavailable
from .connection import Connection
from .driver import Driver

#: For how many seconds an optional command is not sent after a connection has
#: ended over it. It may have been an outage, so a command without which
#: nothing works is tried again at once.
TRY_AGAIN = 300.0

#: Part of the error for a command that this user may not use.
NO_RIGHT = 'permission'

#: Parts of the error replies to a script if the server permits none.
NO_SCRIPTS = (NO_RIGHT, 'unknown command')


class OptionalCommands(Connection):
    """A connection that knows which commands to avoid.

    :param driver: how to connect.
    :param key: the key that the connection is for.
    :param timeout: the socket timeout, in seconds.
    :param ended: which commands have ended a connection, and when; written by
                  all connections that share it, in one step each.
    """

    def __init__(self, driver: Driver, key: str, timeout: float,
                 ended: Optional[Dict[bytes, float]] = None) -> None:
        super().__init__(driver, key, timeout)
        self._ended: Dict[bytes, float] = {} if ended is None else ended

    def _avoid(self, name: bytes) -> None:
        """Do without a command for now."""
        self._ended[name] = time.monotonic()

    def _try_again(self, *names: bytes) -> None:
        """Avoid these commands no longer: nothing works without one of them,
        and an outage may have ended the connections."""
        for name in names:
            self._ended.pop(name, None)

    def _avoided(self, name: bytes) -> bool:
        """Whether a command is not sent for now."""
        return time.monotonic() - self._ended.get(
            name, -math.inf) < TRY_AGAIN

    def _optional(self, command: Sequence[bytes], *more: Sequence[bytes],
                  name: bytes = b'', twice: bool = False) -> List[Any]:
        """The replies to a command that a proxy may end the connection over,
        and to others that go with it. For a while, they are not sent on the
        next connections: the replies are then ``None``.

        :param name: that of the command; its first two words if empty.
        :param twice: avoid it only after it has ended two connections in a
                      row: it is costly to do without, and the first time may
                      have been an outage.
        :raises Unavailable: the connection is broken.
        """
        name = name or b' '.join(command[:2])
        if self._avoided(name):
            return [None] * (1 + len(more))
        once = b'once ' + name
        try:
            replies = self._commands(command, *more)
        except Unavailable as exc:
            if twice and once not in self._ended:
                self._ended[once] = time.monotonic()
                raise
            self._avoid(name)
            raise Unavailable(f'{exc} (after {name.decode()}, which is not '
                              f'needed, and not tried again for now)') from exc
        self._ended.pop(once, None)
        return replies

    def _script(self, script: bytes, *arguments: bytes) -> Optional[List[Any]]:
        """The reply to a script, a list; ``None``: it was refused."""
        reply, = self._optional(
            (b'EVAL', script, b'1', self._key.encode(), *arguments),
            name=b'EVAL')
        if not isinstance(reply, self._error_reply):
            return cast(Optional[List[Any]], reply)
        if any(text in str(reply) for text in NO_SCRIPTS):
            self._avoid(b'EVAL')
        return None
