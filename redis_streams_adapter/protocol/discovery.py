"""Whether a process knows all members of a stream. Pure.

Each live member writes an entry at least once in every heartbeat timeout. So
a process knows all members once it has seen everything that the stream got
during that time. A reader therefore reads the recent history first, see
:mod:`redis_streams_adapter.stream.read_back`. If the stream still holds all of
that, the process knows all members from the start.

There are four other cases. In each of them the process *asks*: it writes an
INITIAL_HEARTBEAT, which every member answers at once.

==================  =====================================================
the stream          all members are known
==================  =====================================================
is trimmed to less  when a member that knows all of them has listed them in
                    its answer; at the latest after one heartbeat timeout
is young            as above, or after :data:`ANSWER_PATIENCE`. Members that
                    have not written to it yet have lost another stream
                    before it, and answer the question at once
could not be read   as above, or after :data:`RECONNECT_PATIENCE`. Other
at the start        members could not write either, and reconnect
has lost entries    as above; without the patience, unless it was deleted
==================  =====================================================

A list names the position at which it was true. If a process has read
everything from that position on, the list and what it has read make up all
members. A member whose ADAPTER_CLOSE was read before the list arrived is not
taken from the list.

Times are seconds of the process's monotonic clock, and come in as ``now``.
"""
import math
from typing import Dict, NamedTuple, Optional, Set, Tuple

from .position import Position, START

#: How long a process that has asked waits for answers, in seconds, from the
#: moment at which it reads its own question. A member answers at once, but on
#: a busy machine it may have to wait for the processor. A server that starts
#: alone on an empty Redis waits this long before it can say that it is alone.
#: After that time it asks a second time, and counts all answers that it reads
#: before that second question: its own reader may have had to wait too.
ANSWER_PATIENCE = 0.2

#: The same over a slow network: this many times what the question took. An
#: answer goes the same way twice.
TRIPS = 2

#: The longest that :data:`TRIPS` makes it, in seconds. A question may have
#: waited in the outbox for much longer, which says nothing about the network.
LONGEST_PATIENCE = 1.0

#: How long members may take to reconnect and to answer, in seconds, if this
#: process has started during an outage. The longest pause between two of their
#: attempts is 4 seconds.
RECONNECT_PATIENCE = 4.2

#: How often the members are asked while a call waits, in seconds. A member
#: that did not know all others may know them later.
ASK_INTERVAL = 1.0

#: Instead of a namespace: all namespaces of a stream. No namespace has this
#: name.
EVERYWHERE = ''


class Span(NamedTuple):
    """How much of the history of a stream was read.

    :param seconds: of how many of the last seconds everything was read.
    :param whole: whether that is all that the stream ever held.
    :param late: whether Redis could not be reached, or was slow, when this
                 process started.
    """

    seconds: float
    whole: bool
    late: bool = False


class Knowledge:
    """What one process knows of the members of one stream.

    Not synchronised: its owner, the runtime, lets one task in at a time. It
    dies with the process.

    :param timeout: the heartbeat timeout, in seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        #: Everything since this time was read; ``None``: nothing was read yet.
        self._since: Optional[float] = None
        #: The position from which on everything was read.
        self._start = START
        #: When this process last asked because of a loss.
        self._lost = -math.inf
        #: Whether all members that are unknown answer a question within the
        #: patience.
        self._young = False
        #: The patience at least, in seconds.
        self._least = ANSWER_PATIENCE
        #: Whether all members are known, in every namespace.
        self._settled = False
        # The rest is empty once all members are known.
        #: The namespaces whose members are all known: one has listed all of
        #: them, or all that are unknown had the time to answer.
        self._told: Set[str] = set()
        #: When the first and the last question was written, by namespace.
        self._asked: Dict[str, Tuple[float, float]] = {}
        #: The time by which answers are expected, by namespace.
        self._patience: Dict[str, float] = {}
        #: The members that have left meanwhile: namespace and uid.
        self._left: Set[Tuple[str, str]] = set()
        #: The uids of those that have left all namespaces.
        self._gone: Set[str] = set()

    def begin(self, start: Position, span: Span, now: float) -> None:
        """The stream is read from a position on.

        :param span: what was read of the history before it.
        """
        is_covered = span.seconds >= self._timeout
        if span.late:
            self._restart(start, now, span.whole or is_covered)
            self._least = RECONNECT_PATIENCE
        else:
            self._restart(start, now - span.seconds, span.whole)
            if is_covered:
                self._settle()

    def lose(self, start: Position, young: bool, now: float) -> bool:
        """Entries were lost before they were read.

        :param start: a position after all that is lost. Everything from it
                      on will be read.
        :param young: the stream is another one, and will be read as a whole.
        :return: whether to ask the members. False while the answers to the
                 last question may still be under way, and before the stream
                 is read at all.
        """
        if self._since is None:
            return False
        self._restart(start, now, young)
        if now - self._lost <= LONGEST_PATIENCE:
            return False
        self._lost = now
        return True

    def _restart(self, start: Position, since: float, young: bool) -> None:
        self._start, self._since, self._young = start, since, young
        self._least = ANSWER_PATIENCE
        self._settled = False
        self._forget()

    def _settle(self) -> None:
        self._settled = True
        self._forget()

    def _forget(self) -> None:
        self._told.clear()
        self._asked.clear()
        self._patience.clear()
        self._left.clear()
        self._gone.clear()

    @property
    def settled(self) -> bool:
        """Whether all members are known, in every namespace."""
        return self._settled

    def asked(self, namespace: str, now: float) -> None:
        """A question was written."""
        if not self._settled:
            first, _ = self._asked.get(namespace, (now, now))
            self._asked[namespace] = first, now

    def is_to_ask(self, namespace: str, now: float) -> bool:
        """Whether it is time to ask, for a call that needs all members."""
        if self._settled or self._since is None:
            return False
        if namespace not in self._asked:
            return True
        _, last = self._asked[namespace]
        return now - last >= ASK_INTERVAL or self._young \
            and last < self._patience.get(namespace, last) <= now

    def asked_back(self, namespace: str, now: float) -> None:
        """A question of this process was read back, and so were all answers
        before it."""
        if self._settled:
            return
        patience = self._patience.get(namespace)
        if patience is None:
            first, _ = self._asked.get(namespace, (now, now))
            self._patience[namespace] = now + max(self._least, min(
                TRIPS * (now - first), LONGEST_PATIENCE))
        elif self._young and now >= patience:
            self._told.add(namespace)

    def tell(self, namespace: str, at: Position) -> bool:
        """A member lists all members.

        :param at: the position at which the list was true.
        :return: whether the list is of use: not all members were known, and
                 everything after the position was read.
        """
        if self._settled or namespace in self._told or self._since is None \
                or at < self._start:
            return False
        self._told.add(namespace)
        return True

    def left(self, namespace: str, uid: str) -> None:
        """A member has left."""
        if not self._settled:
            self._left.add((namespace, uid))

    def gone(self, uid: str) -> None:
        """A member has left the stream."""
        if not self._settled:
            self._gone.add(uid)

    def has_left(self, namespace: str, uid: str) -> bool:
        """Whether a member has left since a list may have been made."""
        return uid in self._gone or (namespace, uid) in self._left

    def suspend(self, seconds: float) -> None:
        """No member could be heard for this many seconds, which do not
        count."""
        if not self._settled and self._since is not None:
            self._since += seconds

    def remaining(self, namespace: str, now: float) -> Optional[float]:
        """In how many seconds to check again whether all members of a
        namespace are known. 0: they are known; ``None``: the stream is not
        read yet."""
        if self._settled:
            return 0.0
        if self._since is None:
            return None
        left = self._since + self._timeout - now
        if left <= 0:
            self._settle()
            return 0.0
        if namespace in self._told:
            return 0.0
        patience = self._patience.get(namespace, now)
        # After the patience, the second question has to come back.
        return min(left, patience - now) \
            if self._young and patience > now else left
