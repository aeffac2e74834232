"""Which server to connect to, where that changes: the master of a slot in a
Redis Cluster, or the one that Sentinels tell of.

It is asked anew for each connection, and on a connection that is closed
again: one that idles until the next failover may be cut off by then. Who is
asked is left to chance, so that one who sees an old state of things is not
asked each time.

This is not left to redis-py. Its client for clusters asks only the servers
of the URL, and the first of them for its table of commands besides. Its
client for Sentinels writes how it connects to them into the text of its
error, in versions 6 and 7 with the password.
"""
import random
from typing import Any, Callable, FrozenSet, Iterator, List, NamedTuple, \
    Optional, Sequence, Tuple

Address = Tuple[str, int]

#: What a Sentinel says of a master that it does not reach.
DOWN = frozenset(('s_down', 'o_down'))


class Cluster(NamedTuple):
    """How to look up the servers of a Redis Cluster. All three may block, and
    raise the client library's errors.

    :param masters: asks the cluster for the addresses of its masters.
    :param places: asks the cluster which master has which slot. The result
                   maps a key to its master's address; ``None``: no master
                   has the slot.
    :param connect: makes a connection that is not connected yet, given its
                    socket timeout in seconds and a server's address.
    """

    masters: Callable[[], List[Address]]
    places: Callable[[], Callable[[str], Optional[Address]]]
    connect: Callable[[float, Address], Any]


class Slots(NamedTuple):
    """Some consecutive slots, their master, and its replicas."""

    first: int
    last: int
    servers: Sequence[Address]


class Asked:
    """Those who can be asked, as far as they are known.

    Shared by tasks without a lock: each change is one assignment, and who
    comes too late has an older list.

    :param connect: makes a connection to an address, to ask.
    :param errors: what that, and asking, may raise.
    :param addresses: whom to ask first.
    """

    def __init__(self, connect: Callable[[Address], Any],
                 errors: Tuple[Any, ...],
                 addresses: Sequence[Address]) -> None:
        self._connect = connect
        self._errors = errors
        self._given = frozenset(addresses)
        self._known = self._given
        #: Who did not answer the last time: asked after all others.
        self._silent: FrozenSet[Address] = frozenset()

    def _ask(self, *command: str) -> Iterator[Tuple[Address, Any]]:
        """Ask one after the other.

        Blocks with each for no longer than a connection's timeouts.

        :return: who was asked, and the reply, or the error.
        """
        addresses = sorted(self._known)
        random.shuffle(addresses)
        silent = self._silent
        for address in sorted(addresses, key=lambda each: each in silent):
            connection = self._connect(address)
            try:
                connection.connect()
                connection.send_command(*command)
                reply = connection.read_response()
            except self._errors as exc:
                self._silent |= {address}
                yield address, exc
                continue
            finally:
                connection.disconnect()
            self._silent -= {address}
            yield address, reply


class Members(Asked):
    """The members of a cluster. All that any of them has ever told of are
    asked, so that it is enough if one server of the URL is there at the
    beginning."""

    def master_of(self, slot: int) -> Optional[Address]:
        """The server that has a slot, as one of the members sees it.

        :return: ``None`` where those who answer know of nobody.
        :raises: what asking the last of them has raised, where none
                 answers.
        """
        for slots in self._views():
            master = master_in(slots, slot)
            if master is not None:
                return master
        return None

    def table(self) -> List[Slots]:
        """Who has which slots, as one of the members sees it.

        :raises: as :meth:`master_of`.
        """
        for slots in self._views():
            if slots:
                return slots
        return []

    def masters(self) -> List[Address]:
        """All servers that have slots, as one of the members sees them.

        :raises: as :meth:`master_of`.
        """
        return sorted({some.servers[0] for some in self.table()})

    def _views(self) -> Iterator[List[Slots]]:
        """How those who answer see the cluster."""
        error: Optional[BaseException] = None
        answered = False
        for address, reply in self._ask('CLUSTER', 'SLOTS'):
            if isinstance(reply, BaseException):
                error = reply
                continue
            answered = True
            slots = _parse(reply, address)
            told = {each for some in slots for each in some.servers}
            if told:
                self._known = self._given | told
            yield slots
        if error is not None and not answered:
            raise error


def master_in(table: Sequence[Slots], slot: int) -> Optional[Address]:
    """The master of a slot; ``None``: the table does not have the slot."""
    return next((some.servers[0] for some in table
                 if some.first <= slot <= some.last), None)


def _parse(reply: Any, asked: Address) -> List[Slots]:
    """What a member says of the slots."""
    return [Slots(first, last, [
        # A member that does not know its own name leaves it out.
        (host.decode() if host else asked[0], port)
        for host, port, *_ in servers])
        for first, last, *servers in reply]


class Sentinels(Asked):
    """The Sentinels that watch over a master.

    :param failure: makes the error for when none of them tells of it.
    :param service: what they call it.
    :param others: how many other Sentinels one has to know to be believed.
    """

    def __init__(self, connect: Callable[[Address], Any],
                 errors: Tuple[Any, ...], addresses: Sequence[Address],
                 failure: Callable[[str], Exception], service: str,
                 others: int = 0) -> None:
        super().__init__(connect, errors, addresses)
        self._failure = failure
        self._service = service
        self._others = others

    def master(self) -> Address:
        """The server that is the master, as one of them sees it.

        :raises: the failure.
        """
        reasons = []
        for (host, port), reply in self._ask(
                'SENTINEL', 'MASTER', self._service):
            if isinstance(reply, BaseException):
                reasons.append(f'{host}:{port}: {reply}')
                continue
            pairs = iter(reply)
            told = dict(zip(pairs, pairs))
            flags = told[b'flags'].decode().split(',')
            if DOWN.intersection(flags):
                reasons.append(f'{host}:{port}: the master is down')
            elif int(told[b'num-other-sentinels']) < self._others:
                reasons.append(f'{host}:{port}: it knows too few others')
            else:
                return told[b'ip'].decode(), int(told[b'port'])
        raise self._failure(
            f'no Sentinel tells where the master {self._service!r} is '
            f'({"; ".join(sorted(reasons))})')
