"""Commands for keys that may be on several servers. Each command is sent to
the server that has its key, in one pipeline for each server. If a key moves,
its command follows it.

One task uses this. Other tasks may only interrupt it, or abandon it after a
fork.
"""
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, \
    Tuple

from ..protocol.transport import Unavailable
from .driver import Driver
from .topology import Address
from .connection import Connection, describe, translated

#: Errors of a cluster whose keys have moved: the command was not carried out.
#: The names of redis-py's classes, and the codes for redis-py 5.0, which has
#: no classes for them.
MOVED = ('MovedError', 'TryAgainError')
MOVED_CODES = ('MOVED ', 'TRYAGAIN ')

#: The error while a slot moves, if the key has moved already or does not
#: exist. It names the server to ask for this one command.
ASK, ASK_CODE = 'AskError', 'ASK '

#: Errors of a server that another one has replaced: names and codes, as
#: above.
DEPOSED = ('ReadOnlyError', 'MasterDownError', 'ClusterDownError')
DEPOSED_CODES = ('READONLY ', 'MASTERDOWN ', 'CLUSTERDOWN ')

#: A command and the key that it is for.
Command = Tuple[str, Sequence[bytes]]


class Servers:
    """The servers that have the keys, and a connection to each server that
    was needed so far."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        #: By the address of the server; ``None``: there is no cluster, or
        #: the server of the key is not known.
        self._links: Dict[Any, Connection] = {}
        self._place: Optional[Callable[[str], Any]] = None
        exceptions = driver.module.exceptions
        self._moved = tuple(getattr(exceptions, each) for each in MOVED)
        self._ask: Any = getattr(exceptions, ASK)
        self._deposed = tuple(getattr(exceptions, each) for each in DEPOSED)
        #: Counts each start of a round, and each reconnect to one server. If
        #: it has grown, a server may have lost keys since.
        self.connections = 0

    def open(self) -> None:
        """Look up where keys are, and connect to one server.

        :raises Unavailable: either has failed.
        """
        self._find_places()
        self._link('')
        self.connections += 1

    def interrupt(self) -> None:
        """End a wait for a reply."""
        for link in list(self._links.values()):
            link.interrupt()

    def abandon(self) -> None:
        """See :meth:`~redis_streams_adapter.protocol.transport.Link.abandon`.\
"""
        for link in list(self._links.values()):
            link.abandon()

    def close(self) -> None:
        """Close all connections."""
        for link in list(self._links.values()):
            link.close()
        self._links.clear()

    def carry_out(self, commands: Sequence[Command]) -> List[Any]:
        """Send commands, each to its server.

        :return: the replies, errors included.
        :raises Unavailable: some commands may have been carried out, but not
                             all.
        """
        replies: List[Any] = [None] * len(commands)
        moved = self._send(commands, range(len(commands)), replies)
        if moved:
            # Their keys are elsewhere now; they were not carried out.
            self._find_places()
            self._send(commands, moved, replies)
        return replies

    def _send(self, commands: Sequence[Command], which: Iterable[int],
              replies: List[Any]) -> List[int]:
        """Send some of the commands, and note the replies.

        :return: the indexes of commands whose key is on another server.
        """
        by_place: Dict[Any, List[int]] = {}
        for index in which:
            place = self._place and self._place(commands[index][0])
            by_place.setdefault(place, []).append(index)
        moved: List[int] = []
        moving: Dict[Address, List[int]] = {}
        for place, indexes in by_place.items():
            link = self._link(commands[indexes[0]][0], place)
            for index in self._exchange(link, commands, indexes, replies):
                reply = replies[index]
                # redis-py's MovedError is an AskError.
                if isinstance(reply, self._ask) \
                        and not isinstance(reply, self._moved) \
                        or str(reply).startswith(ASK_CODE):
                    moving.setdefault(
                        _asked_for(reply, link.host), []).append(index)
                else:
                    moved.append(index)
        for address, indexes in moving.items():
            moved += self._exchange(self._link_at(address), commands, indexes,
                                    replies, [(b'ASKING',)])
        return moved

    def _exchange(self, link: Connection, commands: Sequence[Command],
                  indexes: Sequence[int], replies: List[Any],
                  before: Sequence[Sequence[bytes]] = ()) -> List[int]:
        """Send some of the commands over a connection, and note the replies.

        :param before: what is sent before each.
        :return: the indexes of commands whose key is on another server.
        """
        found = link.exchange([
            command for index in indexes
            for command in (*before, commands[index][1])])
        elsewhere = []
        for index, reply in zip(
                indexes, found[len(before)::len(before) + 1]):
            replies[index] = reply
            if not isinstance(reply, Exception):
                continue
            text = str(reply)
            if isinstance(reply, (*self._moved, self._ask)) \
                    or text.startswith((*MOVED_CODES, ASK_CODE)):
                if self._driver.cluster is None:
                    # There is no other server to ask.
                    raise Unavailable(link.describe(reply)) from reply
                elsewhere.append(index)
            elif isinstance(reply, self._deposed) \
                    or text.startswith(DEPOSED_CODES):
                raise Unavailable(describe(reply)) from reply
        return elsewhere

    def _find_places(self) -> None:
        cluster = self._driver.cluster
        if cluster is None:
            return
        self.close()
        with translated(self._driver):
            self._place = cluster.places()

    def _link(self, key: str, place: Any = None) -> Connection:
        """The connection to the server that has a key."""
        if self._place is not None and place is None:
            place = self._place(key)
        link = self._links.get(place)
        if link is None or link.ended:
            if link is not None:
                # It has broken since its last use.
                link.close()
                self.connections += 1
            # Noted before it connects, so that this can be interrupted.
            link = self._links[place] = Connection(
                self._driver, key, self._driver.socket_timeout)
            link.connect()
        return link

    def _link_at(self, address: Address) -> Connection:
        """A connection to a server of a cluster."""
        driver, link = self._driver, self._links.get(address)
        if link is None or link.ended:
            if link is not None:
                link.close()
            link = self._links[address] = Connection(
                driver.connecting_to(address), '', driver.socket_timeout)
            link.connect()
        return link


def _asked_for(reply: Exception, host: str) -> Address:
    """The address that an ASK error names, in its last word.

    :param host: the host of the server that replied. It stands for an empty
                 host: a server that does not know its own name leaves it out.
    """
    named, _, port = str(reply).split()[-1].rpartition(':')
    return named or host, int(port)
