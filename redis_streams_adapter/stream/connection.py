"""One connection to Redis, and what breaks it.

Nothing is retried here: redis-py would reconnect by itself before anything
could find out what became of the last command.
"""
import os
import socket
from contextlib import contextmanager
from itertools import chain
from typing import Any, Iterator, List, Sequence

from ..protocol.transport import Unavailable
from .cluster_mode import ELSEWHERE, HINT
from .driver import Driver
from .library import errors_of
from .refusals import address_of, Refusals, refuses


#: Parts of errors, and what they mean for the options.
HINTS = {
    'not allowed in cluster mode':
        'use a URL with redis+cluster://, without a database',
    # Of SELECT in a cluster of Valkey, too.
    'DB index is out of range':
        'there is no such database; a cluster needs a URL with '
        'redis+cluster://, without a database',
    'cluster support disabled': "use a URL without '+cluster'",
    # Of XADD in Redis 5.0 and 6.0, which take MINID for the entry's id; and of
    # XTRIM.
    'Invalid stream ID specified': 'retention and recovery need Redis 6.2',
    'syntax error': 'retention and recovery need Redis 6.2',
}


class Refused(Unavailable):
    """The server has answered with an error: the command was not carried
    out, and the connection is whole."""


class Connection:
    """One connection. One task uses it; other tasks may only call
    :meth:`interrupt`.

    :param driver: how to connect.
    :param key: the key that it is for, which decides on the server of a
                cluster.
    :param timeout: how long to wait for a reply, in seconds, before the
                    connection is taken for dead.
    """

    def __init__(self, driver: Driver, key: str, timeout: float) -> None:
        self._driver = driver
        self._key = key
        self._timeout = timeout
        self._connection: Any = None
        self._refusals = driver.refusals or Refusals()
        #: A fork copies green threads, and they must not go on.
        self._pid = os.getpid()
        self._error_reply = driver.module.exceptions.ResponseError
        self._broken = (OSError, *errors_of(driver.module))

    def connect(self) -> None:
        """Connect.

        :raises Unavailable: the server cannot be reached, or refuses us.
        """
        with translated(self._driver):
            self._connection = self._driver.make(self._timeout, self._key)
        self._begin()
        self._prepare()
        mode = self._driver.mode
        if mode is not None and mode.asks:
            mode.examine(self._command)

    def _begin(self) -> None:
        """Connect, and wait for a reply. A frozen server accepts connections,
        and so does one at its limit of clients: only a reply, be it an
        error, shows that it works."""
        connection, refusals = self._connection, self._refusals
        server = address_of(connection)
        begun = refusals.attempt(server)
        try:
            connection.connect()
            connection.send_packed_command(connection.pack_command(b'PING'))
            self._answer_to_ping(connection)
        except self._broken as exc:
            reason = self.describe(exc)
            if refuses(exc):
                refusals.refused(server, begun, reason)
            raise Unavailable(reason) from exc
        refusals.accepted(server)

    def _answer_to_ping(self, connection: Any) -> None:
        try:
            connection.read_response()
        except self._error_reply as exc:
            # Otherwise a reply: this user may not send PING, say.
            if refuses(exc):
                raise

    def _prepare(self) -> None:
        """Called when the connection is there, before the first command."""

    def interrupt(self) -> None:
        """End a wait for a reply."""
        # redis-py has no public way to end a read from outside:
        # disconnect() takes the parser away from the task that is in it.
        sock = getattr(self._connection, '_sock', None)
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                # No longer connected, so nothing waits.
                return

    def abandon(self) -> None:
        """After a fork: drop the copy of the parent's connection."""
        sock = getattr(self._connection, '_sock', None)
        if sock is not None:
            # No shutdown: that would end the connection for the parent.
            sock.close()

    def close(self) -> None:
        """Close the connection. Never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def ask(self, *command: bytes) -> Any:
        """The reply to a command.

        :raises Refused: it is an error.
        :raises Unavailable: the connection is broken.
        """
        return self._check(self._command(*command))

    def exchange(self, commands: Sequence[Sequence[bytes]]) -> List[Any]:
        """The replies to commands that are sent at once, errors included.

        :raises Unavailable: the connection is broken.
        """
        return self._commands(*commands)

    @property
    def host(self) -> str:
        """The host of the server."""
        return str(getattr(self._open(), 'host', ''))

    @property
    def ended(self) -> bool:
        """Whether the server has ended the connection, as far as is known.
        Ask only while no reply is due."""
        try:
            return bool(self._open().can_read(0))
        except (Unavailable, *self._broken):
            return True

    def describe(self, error: BaseException) -> str:
        """An error as the log and ``health()`` show it."""
        text = describe(error)
        if self._driver.cluster is None and text.startswith(ELSEWHERE):
            text += f'; the server is part of a Redis Cluster: {HINT}'
        return text

    def _check(self, reply: Any) -> Any:
        if isinstance(reply, self._error_reply):
            raise Refused(self.describe(reply)) from reply
        return reply

    def _command(self, *command: bytes) -> Any:
        """The reply to a command, errors included."""
        return self._commands(command)[0]

    def _commands(self, *commands: Sequence[bytes]) -> List[Any]:
        """The replies to commands that are sent at once, errors included."""
        connection = self._open()
        try:
            connection.send_packed_command(list(chain.from_iterable(
                connection.pack_command(*each) for each in commands)))
            return [self._answer() for _ in commands]
        except self._broken as exc:
            raise self._lost(exc) from exc

    def _answer(self) -> Any:
        try:
            return self._connection.read_response()
        except self._error_reply as exc:
            return exc

    def _lost(self, error: BaseException,
              in_doubt: bool = False) -> Unavailable:
        self.close()
        return Unavailable(self.describe(error), in_doubt)

    def _open(self) -> Any:
        if self._connection is None or os.getpid() != self._pid:
            raise Unavailable('the connection is closed')
        return self._connection


@contextmanager
def translated(driver: Driver) -> Iterator[None]:
    """Connect, or ask a cluster where its keys are, with one kind of error.

    :raises Unavailable: in place of the errors of the client library.
    """
    try:
        yield
    except (OSError, *errors_of(driver.module)) as exc:
        raise Unavailable(describe(exc)) from exc


def describe(error: BaseException) -> str:
    """An error, and what it means for the options."""
    text = f'{type(error).__name__}: {error}'
    return text + next((f'; {hint}' for part, hint in HINTS.items()
                        if part in text), '')
