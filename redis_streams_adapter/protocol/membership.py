"""Which other nodes there are, by namespace, and when each was last heard of.
Pure.

The rules are those of ``ClusterAdapterWithHeartbeat`` in the npm package
``socket.io-adapter`` 2.5. Any message is a sign of life. A node that leaves is
dropped at once, and a node that is silent for the heartbeat timeout is dropped
by the next :meth:`Membership.tick`.

Every namespace in the stream is tracked, even if this process does not serve
it: a process can ask the servers of any namespace. A namespace is dropped with
its last member.

One rule is our own: only a node that we *could have heard* is dropped. While
the stream cannot be read, and after this process has been asleep, silence
says nothing about the other nodes. :meth:`Membership.refresh` then gives each
of them the whole timeout again.

Times are seconds of the receiver's monotonic clock, and come in as ``now``.
Clocks of different machines are never compared.
"""
from typing import Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, \
    Optional, Set, Tuple

from ..errors import DecodeError
from .codec import Envelope, open_envelope
from .discovery import Knowledge
from .messages import MessageType, SIGNS_OF_LIFE
from .sequences import Sequences
from .transport import Entry

#: How many members an answer lists at most, and how many bytes their uids
#: have at most. Every member answers a new node that asks, so what is written
#: grows with the square of their number. In a larger cluster a new node waits
#: for one heartbeat timeout instead, and only if the stream keeps less than
#: that.
MAX_LISTED = 100
MAX_LISTED_BYTES = 8192


class Known(NamedTuple):
    """Another node, as far as the stream shows it.

    :param namespace: a namespace that it serves.
    :param python: whether it runs this package, and so listens to PUB/SUB
                   too.
    """

    namespace: str
    python: bool


class Membership:
    """Last-seen times of the *other* nodes.

    Not synchronised: the owner, a node, is called by one task at a time.

    :param timeout: seconds of silence after which a node is dropped.
    :param not_others: uids that never belong to another node.
    """

    def __init__(self, timeout: float,
                 not_others: Iterable[str] = ()) -> None:
        self._timeout = timeout
        self._not_others = frozenset(not_others)
        self._seen: Dict[str, Dict[str, float]] = {}
        #: The nodes that send heartbeats, by namespace and uid: whether each
        #: runs this package. Version 0.3 of the Node.js adapter sends none.
        self._beating: Dict[Tuple[str, str], bool] = {}

    @property
    def seen(self) -> Dict[str, Dict[str, float]]:
        """The last-seen times, by namespace and uid. The owner may replace
        the time of a node that is there."""
        return self._seen

    @property
    def not_others(self) -> FrozenSet[str]:
        """The uids that never belong to another node."""
        return self._not_others

    def hear(self, envelope: Envelope, now: float) -> bool:
        """Note that a node has written an entry.

        :return: whether the node is new here.
        """
        uid, namespace = envelope.uid, envelope.namespace
        if uid in self._not_others:
            return False
        nodes = self._seen.get(namespace, ())
        joined = uid not in nodes
        if joined:
            self.heard(namespace, uid, now)
        else:
            self._seen[namespace][uid] = now
        if joined and envelope.writer or envelope.type in SIGNS_OF_LIFE:
            # Node.js writes neither field. The report of a reader that lags
            # has no writer.
            self._beating[namespace, uid] = envelope.writer is not None \
                or b'behind' in (envelope.extra or ()) \
                or self._beating.get((namespace, uid), False)
        return joined

    def heard(self, namespace: str, uid: str, now: float) -> bool:
        """Note a sign of life.

        :return: whether the node is new here.
        """
        nodes = self._seen.get(namespace)
        if nodes is None:
            self._seen[namespace] = {uid: now}
            return True
        new = uid not in nodes
        nodes[uid] = now
        return new

    def left(self, namespace: str, uid: str) -> bool:
        """Note that a node has left.

        :return: whether it was known.
        """
        nodes = self._seen.get(namespace)
        if nodes is None or nodes.pop(uid, None) is None:
            return False
        if not nodes:
            del self._seen[namespace]
        self._beating.pop((namespace, uid), None)
        return True

    def recall(self, entry: Entry, seen: float,
               sequences: Sequences) -> None:
        """Take in an entry of the history, from before the first position
        that is read. Only note which node was a member then.

        :param seen: when it was written, by our own clock.
        :param sequences: what was seen of the history.
        """
        try:
            envelope = open_envelope(entry.fields)
        except DecodeError:
            # Readers reported it when it was new.
            return
        if envelope.writer is not None and sequences.missing_before(
                envelope.writer, envelope.sequence,
                envelope.type not in SIGNS_OF_LIFE) < 0:
            return
        if envelope.type is MessageType.ADAPTER_CLOSE:
            self.left(envelope.namespace, envelope.uid)
        else:
            self.hear(envelope, seen)

    def learn(self, namespace: str, listed: Mapping[str, float],
              knowledge: Knowledge, now: float) -> List[str]:
        """Take in a list of all members.

        :param listed: seconds since each was last heard of, by uid.
        :param knowledge: which of them have left since.
        :return: the uids that are new here.
        """
        known = self._seen.get(namespace, {})
        new = [uid for uid in listed
               if uid not in known and uid not in self._not_others
               and not knowledge.has_left(namespace, uid)]
        for uid in new:
            self.heard(namespace, uid, now - listed[uid])
        return new

    def ages(self, namespace: str,
             now: float) -> Optional[Dict[str, float]]:
        """The list of all other members: seconds since each was last heard
        of, by uid. ``None``: the list would be too long."""
        seen = self.nodes(namespace)
        if len(seen) > MAX_LISTED or sum(
                len(uid.encode()) for uid in seen) > MAX_LISTED_BYTES:
            return None
        return {uid: round(max(0.0, now - at), 1) for uid, at in seen.items()}

    def tick(self, now: float) -> List[Tuple[str, str, bool]]:
        """Drop the nodes that were silent for the timeout.

        :return: the namespace and the uid of each dropped node, and whether
                 it sent heartbeats.
        """
        gone = [(namespace, uid, (namespace, uid) in self._beating)
                for namespace, nodes in self._seen.items()
                for uid, seen in nodes.items()
                if now - seen > self._timeout]
        for namespace, uid, _ in gone:
            self.left(namespace, uid)
        return gone

    def refresh(self, now: float) -> None:
        """Count every node as heard of just now."""
        for nodes in self._seen.values():
            for uid in nodes:
                nodes[uid] = now

    def nodes(self, namespace: str) -> Dict[str, float]:
        """The last-seen time of each other node, by uid."""
        return dict(self._seen.get(namespace, {}))

    def count(self, namespace: str) -> int:
        """The number of other nodes."""
        return len(self._seen.get(namespace, ()))

    @property
    def uids(self) -> Set[str]:
        """The other nodes of all namespaces."""
        known: Set[str] = set()
        for nodes in list(self._seen.values()):
            known.update(nodes)
        return known

    def known(self, namespace: str) -> Dict[str, Known]:
        """The other nodes of a namespace, by uid."""
        return {uid: Known(namespace,
                           self._beating.get((namespace, uid), False))
                for uid in self.nodes(namespace)}

    def nodes_to_ask(self, namespaces: Iterable[str]) -> Dict[str, List[str]]:
        """Which nodes to ask in which of these namespaces, so that each node
        is asked once."""
        asked: Dict[str, List[str]] = {}
        known: Set[str] = set()
        for namespace in namespaces:
            uids = [uid for uid in self.nodes(namespace) if uid not in known]
            if uids:
                asked[namespace] = uids
                known.update(uids)
        return asked
