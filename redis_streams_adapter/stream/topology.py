"""Which server to connect to, if that can change: the master of a slot in a
Redis Cluster, or the master that Sentinels report.

Each new connection needs a new look-up. A look-up opens a connection and
closes it again: a connection that idles until the next failover may be cut
off by then. The servers are asked in random order, so that a server with an
outdated view is not asked first each time.

redis-py is not used for this. Its cluster client asks only the servers of
the URL, and also asks the first of them for its table of commands. Its
Sentinel client puts its connection arguments into the text of its error, in
versions 6 and 7 with the password.
"""
import random
from typing import Any, Callable, FrozenSet, Iterator, List, NamedTuple, \
    Optional, Sequence, Tuple

from ..protocol.transport import Unavailable
from .refusals import Refusals, refuses

Address = Tuple[str, int]

#: The flags that a Sentinel reports for a master it cannot reach.
DOWN = frozenset(('s_down', 'o_down'))


class Present(NamedTuple):
    """The servers of a Redis Cluster, as one of them sees them.

    :param masters: those that have slots.
    :param replicas: those that follow them.
    """

    masters: Sequence[Address]
    replicas: Sequence[Address] = ()


class Cluster(NamedTuple):
    """How to look up the servers of a Redis Cluster. All three may block, and
    raise the client library's errors.

    :param servers: asks the cluster which servers there are.
    :param places: asks the cluster which master has which slot. The result
                   maps a key to its master's address; ``None``: no master
                   has the slot.
    :param connect: makes a connection that is not connected yet, given its
                    socket timeout in seconds and a server's address.
    """

    servers: Callable[[], Present]
    places: Callable[[], Callable[[str], Optional[Address]]]
    connect: Callable[[float, Address], Any]


class Slots(NamedTuple):
    """Some consecutive slots, their master, and its replicas."""

    first: int
    last: int
    servers: Sequence[Address]


class Asked:
    """The servers that can be asked, as far as they are known.

    Tasks share it without a lock. Each change is one assignment, and a task
    may use a list that is slightly out of date.

    :param connect: makes a connection to an address.
    :param errors: what connecting and asking may raise.
    :param addresses: the servers to ask at first.
    """

    def __init__(self, connect: Callable[[Address], Any],
                 errors: Tuple[Any, ...],
                 addresses: Sequence[Address]) -> None:
        self._connect = connect
        self._errors = errors
        self._given = frozenset(addresses)
        self._known = self._given
        #: Those that refuse connections are not asked.
        self.refusals = Refusals()
        #: The servers that did not answer the last time. They are asked
        #: after all others.
        self._silent: FrozenSet[Address] = frozenset()

    def _ask(self, *command: str) -> Iterator[Tuple[Address, Any]]:
        """Ask one server after the other.

        Each server blocks for no longer than the timeouts of a connection.

        :return: the address of a server, and its reply or the error.
        """
        addresses = sorted(self._known)
        random.shuffle(addresses)
        silent = self._silent
        for address in sorted(addresses, key=lambda each: each in silent):
            try:
                begun = self.refusals.attempt(address)
            except Unavailable as exc:
                yield address, exc
                continue
            connection = self._connect(address)
            try:
                connection.connect()
                connection.send_command(*command)
                reply = connection.read_response()
            except self._errors as exc:
                if refuses(exc):
                    self.refusals.refused(
                        address, begun, f'{type(exc).__name__}: {exc}')
                self._silent |= {address}
                yield address, exc
                continue
            finally:
                connection.disconnect()
            self.refusals.accepted(address)
            self._silent -= {address}
            yield address, reply


class Members(Asked):
    """The members of a cluster.

    It is enough if one server of the URL can be reached at first: from then
    on every server that a member has reported is asked, too.
    """

    def master_of(self, slot: int) -> Optional[Address]:
        """The server that has a slot, as one of the members sees it.

        :return: ``None``: no member that answers knows of one.
        :raises: the error of the last member, if none answers.
        """
        for slots in self._views():
            master = master_in(slots, slot)
            if master is not None:
                return master
        return None

    def table(self) -> List[Slots]:
        """The slots of each master, as one of the members sees them.

        :raises: as :meth:`master_of`.
        """
        for slots in self._views():
            if slots:
                return slots
        return []

    def present(self) -> Present:
        """All servers that have slots, and their replicas.

        :raises: as :meth:`master_of`.
        """
        table = self.table()
        masters = {some.servers[0] for some in table}
        return Present(sorted(masters), sorted({
            each for some in table for each in some.servers} - masters))

    def _views(self) -> Iterator[List[Slots]]:
        """The tables of the members that answer."""
        error: Optional[BaseException] = None
        answered = False
        for address, reply in self._ask('CLUSTER', 'SLOTS'):
            if isinstance(reply, BaseException):
                error = reply
                continue
            answered = True
            slots = _parse(reply, address)
            reported = {each for some in slots for each in some.servers}
            if reported:
                self._known = self._given | reported
            yield slots
        if error is not None and not answered:
            raise error


def master_in(table: Sequence[Slots], slot: int) -> Optional[Address]:
    """The master of a slot; ``None``: the table does not have the slot."""
    return next((some.servers[0] for some in table
                 if some.first <= slot <= some.last), None)


def _parse(reply: Any, asked: Address) -> List[Slots]:
    """The table in a member's reply.

    :param asked: the address of that member.
    """
    return [Slots(first, last, [
        # A member that does not know its own host name leaves it out.
        (host.decode() if host else asked[0], port)
        for host, port, *_ in servers])
        for first, last, *servers in reply]


class Sentinels(Asked):
    """The Sentinels that watch over a master.

    :param failure: makes the error to raise if none of them reports it.
    :param service: the name of the master among the Sentinels.
    :param others: how many other Sentinels one has to know, or its answer
                   does not count.
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
        """The address of the master, as one of them sees it.

        :raises: the failure.
        """
        reasons = []
        for (host, port), reply in self._ask(
                'SENTINEL', 'MASTER', self._service):
            if isinstance(reply, BaseException):
                reasons.append(f'{host}:{port}: {reply}')
                continue
            pairs = iter(reply)
            reported = dict(zip(pairs, pairs))
            flags = reported[b'flags'].decode().split(',')
            if DOWN.intersection(flags):
                reasons.append(f'{host}:{port}: the master is down')
            elif int(reported[b'num-other-sentinels']) < self._others:
                reasons.append(
                    f'{host}:{port}: it sees too few other Sentinels')
            else:
                return reported[b'ip'].decode(), int(reported[b'port'])
        raise self._failure(
            f'no Sentinel knows the address of the master {self._service!r} '
            f'({"; ".join(sorted(reasons))})')
