"""Asks Redis, in one task and without a manager.

Nothing is written. A connection that breaks is made again by the next
question.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..protocol.transport import Unavailable
from ..stream.connection import Connection, describe, Refused, translated
from ..stream.driver import Driver
from ..stream.servers import Command, Servers

__all__ = ['Redis', 'Refused', 'Unavailable']


class Redis:
    """The Redis of a cluster. One task uses it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._servers = Servers(driver)
        self._is_open = False

    def __enter__(self) -> Redis:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._servers.close()

    def ask(self, key: str, *command: bytes) -> Any:
        """The reply to one command.

        :param key: the key that it is for, which decides on the server of a
                    cluster.
        :raises Refused: it is an error.
        :raises Unavailable: there is none.
        """
        reply, = self.ask_all([(key, command)])
        if isinstance(reply, Exception):
            raise Refused(describe(reply)) from reply
        return reply

    def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands, errors included.

        :raises Unavailable: there are none.
        """
        try:
            if not self._is_open:
                self._servers.close()
                self._servers.open()
                self._is_open = True
            return self._servers.carry_out(commands)
        except Unavailable as exc:
            if not isinstance(exc, Refused):
                self._is_open = False
            raise

    def check(self) -> None:
        """Connect.

        :raises Unavailable: Redis cannot be reached.
        """
        self.ask_all([])

    def renew(self) -> None:
        """Ask the next question over a new connection."""
        self._is_open = False

    def masters(self, and_replicas: bool = False) -> Iterator[Connection]:
        """A connection to each server that has keys, one after the other.

        :param and_replicas: to the replicas of a cluster, too.
        :raises Unavailable: one cannot be reached.
        """
        cluster = self._driver.cluster
        addresses: Sequence[Any] = [None]
        if cluster is not None:
            with translated(self._driver):
                present = cluster.servers()
            addresses = [*present.masters,
                         *(present.replicas if and_replicas else ())]
        for address in addresses:
            link = Connection(self._driver.connecting_to(address), '',
                              self._driver.socket_timeout)
            try:
                link.connect()
                yield link
            finally:
                link.close()


def pairs(reply: Sequence[Any]) -> dict[bytes, Any]:
    """A reply of names and values in turn."""
    items = iter(reply)
    return dict(zip(items, items))


def lines(reply: Any) -> dict[str, str]:
    """A reply to INFO."""
    found = {}
    for line in bytes(reply).decode('utf-8', 'replace').splitlines():
        name, colon, value = line.partition(':')
        if colon:
            found[name] = value
    return found
