"""Which server of a Redis Cluster has a key.

It is asked anew for each connection, because slots move, and masters fail.
Any member can be asked; all those that any of them has ever told of are, so
that it is enough if one server of the URL is there at the beginning.

(redis-py's client for clusters would do for servers that are all there. It
asks the servers of the URL only, each time anew, and the first of them for
its table of commands besides.)
"""
import random
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

Address = Tuple[str, int]


class Slots(NamedTuple):
    """Some consecutive slots, their master, and its replicas."""

    first: int
    last: int
    servers: Sequence[Address]


class Members:
    """The members of a cluster, as far as they are known.

    Shared by tasks without a lock: each change is one assignment, and who
    comes too late has an older list of the same cluster.

    :param connect: makes a connection to an address, to ask.
    :param errors: what that, and asking, may raise.
    :param addresses: whom to ask first.
    """

    def __init__(self, connect: Callable[[Address], Any],
                 errors: Tuple[Any, ...],
                 addresses: Sequence[Address]) -> None:
        self._connect = connect
        self._errors = errors
        self._given = tuple(addresses)
        self._known = frozenset(addresses)
        #: Who did not answer the last time: asked after all others.
        self._silent = frozenset[Address]()

    def master_of(self, slot: int) -> Optional[Address]:
        """The server that has a slot, as one of the members sees it.

        Blocks until one answers, for no longer than a connection's timeouts
        with each.

        :return: ``None`` where those who answer know of nobody.
        :raises: what asking the last of them has raised, where none
                 answers.
        """
        error: Optional[BaseException] = None
        answered = False
        for address in self._in_turn():
            try:
                slots = self._ask(address)
            except self._errors as exc:
                error = exc
                self._silent |= {address}
                continue
            answered = True
            self._silent -= {address}
            told = {each for some in slots for each in some.servers}
            if told:
                self._known = frozenset(self._given) | told
            for some in slots:
                if some.first <= slot <= some.last:
                    return some.servers[0]
        if error is not None and not answered:
            raise error
        return None

    def _in_turn(self) -> List[Address]:
        # By chance: one that sees an old state of the cluster is not asked
        # each time.
        addresses = sorted(self._known)
        random.shuffle(addresses)
        silent = self._silent
        return sorted(addresses, key=lambda each: each in silent)

    def _ask(self, address: Address) -> List[Slots]:
        connection = self._connect(address)
        try:
            connection.connect()
            connection.send_command('CLUSTER', 'SLOTS')
            reply = connection.read_response()
        finally:
            connection.disconnect()
        return [Slots(first, last, [
            # A member that does not know its own name leaves it out.
            (host.decode() if host else address[0], port)
            for host, port, *_ in servers])
            for first, last, *servers in reply]
