"""What a node writes so that the others know which namespaces it serves.
Pure.

For servers of this version it writes one sign of life for each stream and
interval, whatever the number of namespaces, see
:mod:`redis_streams_adapter.protocol.presence`. Servers in Node.js and those of
older versions of this package count a node in a namespace only if it writes
there. In namespaces in which they write, the node therefore writes heartbeats
of their kind, too, and an ADAPTER_CLOSE.

A process that does not know all members does not know where such servers are.
It then announces itself in :data:`ANNOUNCED` namespaces of a stream. In the
others, it writes a heartbeat as soon as it hears of such a server, which
writes at least once in every heartbeat interval.
"""
import math
from dataclasses import replace
from typing import Callable, Container, Dict, Iterable, List, Mapping, \
    Optional, Set

from .events import Send
from .messages import AdapterClose, Heartbeat, InitialHeartbeat
from .presence import EMPTY, NamespaceSet, pages, Presence

#: In how many namespaces of a stream a node announces itself, at most, if it
#: does not know whether there are servers that count it in each namespace.
#: Each other server answers in each of them.
ANNOUNCED = 16

#: How long a node that has written its digest, or the list of its namespaces,
#: does not write it again to answer a question, in seconds. All that ask read
#: the same answer. Less than what they wait before they ask again.
LIST_PAUSE = 0.5

#: As in :mod:`redis_streams_adapter.protocol.node`, in seconds.
TICK_INTERVAL = 1.0
TICK_MINIMUM = 0.01


class _Stream:
    """What this node says in one stream. Changed in place."""

    __slots__ = ('names', 'set', 'beat', 'listed', 'told', 'is_unsaid')

    def __init__(self, now: float) -> None:
        #: The namespaces that are served there, in order, and as a set.
        self.names: Dict[str, None] = {}
        self.set = NamespaceSet()
        #: When the last sign of life was due.
        self.beat = now
        #: When the list was last due, and the digest as an answer.
        self.listed = self.told = -math.inf
        #: Whether a change could not be written.
        self.is_unsaid = False

    @property
    def carrier(self) -> str:
        """The namespace in which signs of life are written."""
        return next(iter(self.names))


class Announcements:
    """The namespaces that a node serves, and what is to be written of them.

    Not synchronised: the owner, the node, is called by one task at a time.
    Any task may call :meth:`spoke`, which is one assignment.

    :param interval: seconds between two signs of life.
    :param stream_of: returns the number of the stream of a namespace.
    :param needing: the namespaces with servers that need heartbeats there.
    """

    def __init__(self, interval: float, stream_of: Callable[[str], int],
                 needing: Mapping[str, Container[str]]) -> None:
        self.interval = interval
        self._stream_of = stream_of
        self._needing = needing
        #: The namespaces that are served, in order.
        self.served: Dict[str, None] = {}
        self._streams: Dict[int, _Stream] = {}
        #: The served namespaces in which this node has written something that
        #: servers that need it count.
        self._announced: Set[str] = set()
        #: When this node last wrote in a served namespace in which heartbeats
        #: are needed. Any task may change a time.
        self._spoke: Dict[str, float] = {}
        #: Where an INITIAL_HEARTBEAT alone could not be written.
        self._unsaid: Set[str] = set()

    # -- what is served ---------------------------------------------------

    def serve(self, namespaces: Iterable[str], now: float,
              settled: Container[int]) -> List[Send]:
        """Serve exactly these namespaces from now on.

        :param settled: the streams of which all members are known.
        :return: what to write, in this order.
        """
        wanted = dict.fromkeys(namespaces)
        gone: Dict[int, List[str]] = {}
        new: Dict[int, List[str]] = {}
        for namespace in self.served:
            if namespace not in wanted:
                gone.setdefault(self._stream_of(namespace), []).append(
                    namespace)
        for namespace in wanted:
            if namespace not in self.served:
                new.setdefault(self._stream_of(namespace), []).append(
                    namespace)
        events: List[Send] = []
        for stream, names in gone.items():
            events += self._leave(stream, names)
        for stream, names in new.items():
            events += self._join(stream, names, now, stream in settled)
        return events

    # If an exception strikes one of the next two, the names stay among those
    # to join or to leave, and the next call does all of it again.

    def _leave(self, stream: int, names: List[str]) -> List[Send]:
        state = self._streams.get(stream)
        gone = frozenset(names)
        rest = {} if state is None else {
            name: None for name in state.names if name not in gone}
        if state is None or not rest:
            events = self._goodbyes(names, NamespaceSet())
            self._streams.pop(stream, None)
        else:
            state.names, state.set = rest, state.set.minus(names)
            events = self._goodbyes(names, state.set)
        for name in names:
            self._announced.discard(name)
            self._unsaid.discard(name)
            self._spoke.pop(name, None)
            self.served.pop(name, None)
        return events

    def _goodbyes(self, names: List[str], rest: NamespaceSet) -> List[Send]:
        """What to write in a stream to leave these of its namespaces.

        :param rest: those that stay.
        """
        heard = [name for name in names
                 if name in self._announced or name in self._needing]
        carrier = heard[-1] if heard else names[-1]
        events = [Send(name, AdapterClose()) for name in heard[:-1]]
        if rest.digest == EMPTY:
            return [*events, Send(carrier, AdapterClose(Presence(EMPTY)))]
        # The last page holds the carrier, which is left with it.
        *before, last = pages(
            sorted(names, key=lambda name: name == carrier))
        events += [Send(carrier, Heartbeat(presence=Presence(
            rest.digest, leaves=page, more=True))) for page in before]
        return [*events, Send(carrier, AdapterClose(
            Presence(rest.digest, leaves=last)))]

    def _join(self, stream: int, names: List[str], now: float,
              settled: bool) -> List[Send]:
        state = self._streams.get(stream) or _Stream(now)
        state.names = {**state.names, **dict.fromkeys(names)}
        state.set = state.set.plus(names)
        self._streams[stream] = state
        chosen = self._audible(names, 0 if settled else ANNOUNCED)
        self._announced.update(chosen)
        for name in chosen:
            if name in self._needing:
                self._spoke[name] = now
        self.served.update(dict.fromkeys(names))
        return [*self._pages(names[0], names, state.set.digest),
                *(Send(name, InitialHeartbeat()) for name in chosen[1:])]

    def _audible(self, names: Iterable[str], count: int) -> List[str]:
        """The first one of these names, those in which heartbeats are needed,
        and others, up to a number of them."""
        first, *others = names
        left = count - 1 - sum(name in self._needing for name in others)
        chosen = [first]
        for name in others:
            if name in self._needing:
                chosen.append(name)
            elif left > 0:
                left -= 1
                chosen.append(name)
        return chosen

    @staticmethod
    def _pages(carrier: str, names: Iterable[str], digest: str,
               begins: bool = False, joins: bool = True) -> List[Send]:
        """What to write to name namespaces, page by page.

        :param begins: whether they are the whole list.
        :param joins: whether the servers that need it are to answer.
        """
        parts = list(pages(names))
        presences = [Presence(digest, page, (), begins and not number,
                              number + 1 < len(parts))
                     for number, page in enumerate(parts)]
        return [Send(carrier, Heartbeat(presence=presence)
                     if number or not joins
                     else InitialHeartbeat(presence=presence))
                for number, presence in enumerate(presences)]

    def farewell(self) -> List[Send]:
        """What to write to leave all namespaces, without leaving them."""
        return [event for state in self._streams.values()
                for event in self._goodbyes(list(state.names),
                                            NamespaceSet())]

    def sets(self) -> Dict[int, NamespaceSet]:
        """The namespaces of this node, by stream."""
        return {stream: state.set for stream, state in self._streams.items()}

    def set_of(self, stream: int) -> Optional[NamespaceSet]:
        """The namespaces of this node in a stream."""
        state = self._streams.get(stream)
        return None if state is None else state.set

    def carrier(self, stream: int) -> Optional[str]:
        """A namespace in which to write what concerns a stream."""
        state = self._streams.get(stream)
        return None if state is None else state.carrier

    def audible(self, stream: int) -> List[str]:
        """The served namespaces in which to ask all members of a stream."""
        state = self._streams.get(stream)
        return [] if state is None else self._audible(state.names, ANNOUNCED)

    # -- what is due ------------------------------------------------------

    def needed(self, namespace: str, now: float) -> List[Send]:
        """A server needs heartbeats in a namespace. Write the first one at
        once if it may not have counted this node yet."""
        if namespace not in self.served:
            return []
        self._spoke.setdefault(namespace, now)
        if namespace in self._announced:
            return []
        self._announced.add(namespace)
        return [Send(namespace, Heartbeat())]

    def unsaid(self, namespace: str, changed: bool = False) -> None:
        """An INITIAL_HEARTBEAT could not be written. The next tick tries
        again.

        :param changed: it was to say what has changed: the next tick writes
                        the list.
        """
        state = self._streams.get(self._stream_of(namespace))
        if changed and state is not None:
            state.is_unsaid = True
            if namespace == state.carrier:
                # The list is written there.
                return
        if namespace in self.served:
            self._unsaid.add(namespace)

    def unsaid_all(self) -> None:
        """An exception may have struck before changes were written."""
        for state in self._streams.values():
            state.is_unsaid = True

    def due(self, interval: float, now: float) -> List[Send]:
        """The signs of life for the streams and namespaces in which this node
        has written none for ``interval`` seconds."""
        events: List[Send] = []
        written: Set[str] = set()
        for state in self._streams.values():
            carrier, digest = state.carrier, state.set.digest
            if state.is_unsaid:
                state.is_unsaid = False
                events.append(Send(carrier, InitialHeartbeat(
                    presence=Presence(digest, begins=True))))
            elif now - state.beat >= interval:
                events.append(Send(carrier, Heartbeat(
                    presence=Presence(digest))))
            else:
                continue
            state.beat = now
            written.add(carrier)
        events += [Send(name, InitialHeartbeat()) for name in self._unsaid]
        written |= self._unsaid
        self._unsaid.clear()
        for namespace in self._needing:
            if namespace not in self.served:
                continue
            if namespace in written:
                self._spoke[namespace] = now
            elif now - self._spoke.setdefault(namespace, now) >= interval:
                events.append(Send(namespace, Heartbeat()))
        return events

    def answer(self, namespace: str, digest: Optional[str],
               now: float) -> List[Send]:
        """The answer to a server that asks for the namespaces in a stream.

        :param namespace: one that goes to that stream.
        :param digest: that of the set that the server knows; ``None``: it
                       asks for the digest alone.
        """
        state = self._streams.get(self._stream_of(namespace))
        if state is None:
            return []
        if digest is not None and digest != state.set.digest:
            if now - state.listed < LIST_PAUSE:
                return []
            return [Send(state.carrier, Heartbeat(
                presence=Presence(state.set.digest, begins=True)))]
        if now - state.told < LIST_PAUSE:
            return []
        state.told = now
        return [Send(state.carrier, Heartbeat(
            presence=Presence(state.set.digest)))]

    def current(self, event: Send, now: float) -> List[Send]:
        """What to write for an event that was decided earlier: the namespaces
        may have changed since, and a digest of old must not follow."""
        namespace, message = event.namespace, event.message
        if isinstance(message, InitialHeartbeat) \
                and namespace not in self.served:
            return []
        if not isinstance(message, (InitialHeartbeat, Heartbeat)) \
                or not isinstance(message.presence, Presence):
            return [event]
        presence = message.presence
        state = self._streams.get(self._stream_of(namespace))
        if state is None:
            return []
        if presence.begins:
            state.listed = now
            return self._pages(
                state.carrier, state.names, state.set.digest, True,
                isinstance(message, InitialHeartbeat))
        return [Send(state.carrier, replace(
            message, presence=Presence(state.set.digest)))]

    def next_due(self, now: float) -> float:
        """In how many seconds the next sign of life is due, at the latest
        after a tick."""
        last = min((self._spoke[name] for name in self._needing
                    if name in self._spoke), default=now)
        for state in self._streams.values():
            last = min(last, state.beat)
        due = last + self.interval - now
        # An overdue heartbeat could not be sent: do not retry at once.
        return min(TICK_INTERVAL, max(due, TICK_MINIMUM)) if due > 0 \
            else TICK_INTERVAL

    def spoke(self, namespace: str, now: float) -> None:
        """Note that this node has written: no heartbeat is due there for a
        while.

        One assignment, which needs no lock. Every task that emits calls it.
        """
        if namespace in self._spoke:
            self._spoke[namespace] = now
