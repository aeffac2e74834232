"""Which other nodes there are, by namespace, and when each was last heard of.
Pure.

The rules are those of ``ClusterAdapterWithHeartbeat`` in the npm package
``socket.io-adapter`` 2.5. Any message is a sign of life. A node that leaves is
dropped at once, and a node that is silent for the heartbeat timeout is dropped
by the next :meth:`Membership.tick`.

Every namespace in the stream is tracked, even if this process does not serve
it: a process can ask the servers of any namespace. A namespace is dropped with
its last member.

A server of this version is not tracked in each namespace: it says which ones
it serves, see :mod:`redis_streams_adapter.protocol.servers`. Node.js and older
versions of this package *need* heartbeats in each namespace.

One rule is our own: only a node that we *could have heard* is dropped. While
the stream cannot be read, and after this process has been asleep, silence
says nothing about the other nodes. :meth:`Membership.refresh` then gives each
of them the whole timeout again.

Times are seconds of the receiver's monotonic clock, and come in as ``now``.
Clocks of different machines are never compared.
"""
from typing import Callable, Dict, FrozenSet, Iterable, List, Mapping, \
    NamedTuple, Optional, Set, Tuple

from ..errors import DecodeError
from ..nodes import JAVASCRIPT, PYTHON
from .codec import Envelope, open_envelope
from .content_parts import MAX_NAME
from .discovery import Knowledge
from .messages import MessageType, SIGNS_OF_LIFE
from .presence import NamespaceSet, read_presence, read_process
from .sequences import Sequences
from .servers import Change, Servers
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
    :param stream_of: returns the number of the stream of a namespace.
    """

    def __init__(self, timeout: float, not_others: Iterable[str] = (),
                 stream_of: Callable[[str], int] = lambda _: 0) -> None:
        self._timeout = timeout
        self._not_others = frozenset(not_others)
        self._seen: Dict[str, Dict[str, float]] = {}
        #: The nodes that send heartbeats, by namespace and uid: whether each
        #: runs this package. Version 0.3 of the Node.js adapter sends none.
        self._beating: Dict[Tuple[str, str], bool] = {}
        #: The nodes that have written as only Node.js does, by namespace and
        #: uid. A node that was listed by another one may be in neither.
        self._foreign: Set[Tuple[str, str]] = set()
        #: Those of them that need heartbeats in the namespace, by namespace.
        self.needing: Dict[str, Set[str]] = {}
        #: The servers that say themselves which namespaces they serve.
        self.servers = Servers()
        self._stream_of = stream_of

    @property
    def seen(self) -> Dict[str, Dict[str, float]]:
        """The last-seen times, by namespace and uid. The owner may replace
        the time of a node that is there."""
        return self._seen

    @property
    def not_others(self) -> FrozenSet[str]:
        """The uids that never belong to another node."""
        return self._not_others

    def present(self, envelope: Envelope, now: float,
                own: Optional[NamespaceSet] = None) -> Optional[Change]:
        """Take in which namespaces a server says that it serves.

        :param own: those of this process in the same stream.
        :return: ``None``: the entry says nothing of it.
        :raises DecodeError: it is not what it should be.
        """
        writer, uid = envelope.writer, envelope.uid
        if writer is None or envelope.extra is None:
            return None
        presence = read_presence(envelope.extra, MAX_NAME)
        if presence is None or uid in self._not_others:
            return None
        process = read_process(envelope.extra.get(b'process'))
        stream = self._stream_of(envelope.namespace)
        is_new = writer not in self.servers.by_writer
        change = self.servers.take(writer, uid, presence, stream,
                                   envelope.namespace, now, own)
        if writer in self.servers.by_writer:
            self.servers.by_writer[writer].process = process
        return self._adopt(writer, stream, change) if is_new else change

    def _adopt(self, writer: bytes, stream: int, change: Change) -> Change:
        """A server may have been heard in some namespaces before it was known
        which ones it serves."""
        uid = change.uid
        before = frozenset(each for each in self._seen
                           if uid in self._seen[each]
                           and self._stream_of(each) == stream)
        for namespace in before:
            self.left(namespace, uid)
        server = self.servers.by_writer.get(writer)
        if server is None:
            return change._replace(left=before)
        joined = change.joined - before
        if server.is_in_doubt:
            server.known = server.known.plus(before)
            before = frozenset()
        return change._replace(joined=joined, left=before - server.known.names)

    def hear(self, envelope: Envelope, now: float) -> bool:
        """Note that a node has written an entry.

        :return: whether the node is new here.
        """
        uid, namespace = envelope.uid, envelope.namespace
        if uid in self._not_others:
            return False
        writer = envelope.writer
        if writer is not None and writer in self.servers.by_writer:
            # Its goodbye in one namespace is for nodes of another kind.
            return envelope.type is not MessageType.ADAPTER_CLOSE \
                and self.servers.appeared(writer, namespace, now)
        nodes = self._seen.get(namespace, ())
        joined = uid not in nodes
        if joined and envelope.writer is None \
                and self._reports(uid, namespace, now):
            return False
        self.heard(namespace, uid, now)
        if envelope.type in SIGNS_OF_LIFE:
            self.needing.setdefault(namespace, set()).add(uid)
        if joined and envelope.writer or envelope.type in SIGNS_OF_LIFE:
            # Node.js writes neither field. The report of a reader that lags
            # has no writer.
            self._beating[namespace, uid] = envelope.writer is not None \
                or b'behind' in (envelope.extra or ()) \
                or self._beating.get((namespace, uid), False)
        elif envelope.writer is None:
            self._foreign.add((namespace, uid))
        return joined

    def _reports(self, uid: str, namespace: str, now: float) -> bool:
        """Whether an entry without a writer is the report of a server whose
        namespaces are known."""
        stream = self._stream_of(namespace)
        found = [each for each in self.servers.of(uid)
                 if each.stream == stream]
        for server in found:
            server.seen = now
        return bool(found)

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
        self._foreign.discard((namespace, uid))
        needing = self.needing.get(namespace)
        if needing is not None:
            needing.discard(uid)
            if not needing:
                del self.needing[namespace]
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
        try:
            if self.present(envelope, seen) is not None:
                return
        except DecodeError:
            return
        if envelope.type is MessageType.ADAPTER_CLOSE:
            self.left(envelope.namespace, envelope.uid)
        else:
            self.hear(envelope, seen)

    def forget(self, stream: int) -> None:
        """Drop all nodes of a stream: its history was read in part only, and
        they may have left in the rest of it."""
        for namespace in list(self._seen):
            if self._stream_of(namespace) == stream:
                for uid in list(self._seen[namespace]):
                    self.left(namespace, uid)
        self.servers.forget(stream)

    def learn(self, namespace: str, listed: Mapping[str, float],
              knowledge: Knowledge, now: float) -> List[str]:
        """Take in a list of all members.

        :param listed: seconds since each was last heard of, by uid.
        :param knowledge: which of them have left since.
        :return: the uids that are new here.
        """
        known = self.nodes(namespace)
        stream = self._stream_of(namespace)
        new = [uid for uid in listed
               if uid not in known and uid not in self._not_others
               and not knowledge.has_left(namespace, uid)
               # Such a server knows it better.
               and all(each.stream != stream
                       for each in self.servers.of(uid))]
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
        self.servers.refresh(now)

    def tick_servers(self, now: float) -> List[Change]:
        """Drop the servers that were silent for the timeout."""
        return self.servers.tick(now, self._timeout)

    def nodes(self, namespace: str) -> Dict[str, float]:
        """The last-seen time of each other node, by uid."""
        nodes = dict(self._seen.get(namespace, {}))
        for server in self.servers.within(namespace):
            nodes[server.uid] = server.seen
        return nodes

    def language(self, namespace: str, uid: str) -> Optional[str]:
        """The language of a node of a namespace, if it is known."""
        beats = self._beating.get((namespace, uid))
        if beats or any(self.servers.of(uid)):
            return PYTHON
        return JAVASCRIPT if beats is False \
            or (namespace, uid) in self._foreign else None

    def count(self, namespace: str) -> int:
        """The number of other nodes."""
        return len(self.nodes(namespace))

    @property
    def uids(self) -> Set[str]:
        """The other nodes of all namespaces."""
        known = {each.uid for each in self.servers.by_writer.copy().values()}
        for nodes in list(self._seen.values()):
            known.update(nodes)
        return known

    def known(self, namespace: str) -> Dict[str, Known]:
        """The other nodes of a namespace, by uid."""
        known = {uid: Known(namespace,
                            self._beating.get((namespace, uid), False))
                 for uid in self._seen.get(namespace, ())}
        for server in self.servers.within(namespace):
            known[server.uid] = Known(namespace, True)
        return known

    def shared(self, namespaces: List[str]) -> Dict[str, List[str]]:
        """In which of these namespaces each other node is, by uid."""
        shared: Dict[str, List[str]] = {}
        for namespace in namespaces:
            for uid in self._seen.get(namespace, ()):
                shared.setdefault(uid, []).append(namespace)
        for server in self.servers.by_writer.values():
            names = [each for each in namespaces
                     if each in server.known.names]
            if names:
                shared.setdefault(server.uid, []).extend(names)
        return shared

    def nodes_to_ask(self, namespaces: Iterable[str]) -> Dict[str, List[str]]:
        """Which nodes to ask in which of these namespaces, so that each node
        is asked once."""
        asked: Dict[str, List[str]] = {}
        known: Set[str] = set()
        servers = list(self.servers.by_writer.values())
        for namespace in namespaces:
            uids = [uid for uid in self._seen.get(namespace, ())
                    if uid not in known]
            found = [each for each in servers
                     if namespace in each.known.names]
            if found:
                servers = [each for each in servers if each not in found]
                uids += [each.uid for each in found if each.uid not in known]
            if uids:
                asked[namespace] = uids
                known.update(uids)
        return asked
