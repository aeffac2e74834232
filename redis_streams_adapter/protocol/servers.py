"""The other servers that say by one sign of life which namespaces they serve,
see :mod:`redis_streams_adapter.protocol.presence`. Pure.

A server has one writer for each stream, and is known by it. As long as the
digest in its last sign of life is not that of the set that is known here, the
server is *in doubt*: it may serve any namespace. It is asked, and calls wait
for its answer, or until it has been silent for the heartbeat timeout.
"""
import math
from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Optional, \
    Set, Tuple

from .discovery import ASK_INTERVAL
from .presence import EMPTY, NamespaceSet, Presence, Process, Question

_NONE: FrozenSet[str] = frozenset()


class Change(NamedTuple):
    """What has changed for the namespaces of one server.

    :param joined: the namespaces in which it is new.
    :param left: those that it has left.
    :param told: whether it is no longer in doubt.
    :param more: whether the next entry continues the change.
    :param news: how many namespaces it has joined, with those of the entries
                 before this one.
    """

    uid: str
    joined: FrozenSet[str] = _NONE
    left: FrozenSet[str] = _NONE
    told: bool = False
    more: bool = False
    news: int = 0


class Server:
    """One server in one stream. Changed in place.

    :param stream: the number of the stream.
    :param namespace: one whose messages go to that stream.
    """

    __slots__ = ('uid', 'stream', 'namespace', 'seen', 'known', 'listing',
                 'digest', 'asked', 'news', 'process')

    def __init__(self, uid: str, stream: int, namespace: str,
                 now: float) -> None:
        self.uid = uid
        self.stream = stream
        self.namespace = namespace
        #: When it last wrote.
        self.seen = now
        #: The namespaces that it is known to serve.
        self.known = NamespaceSet()
        #: What was read of a whole list; ``None``: none has begun.
        self.listing: Optional[NamespaceSet] = None
        #: The digest that it has named last; ``None``: it may have named
        #: another one in an entry that was lost.
        self.digest: Optional[str] = EMPTY
        #: Where it runs, as far as it has said so.
        self.process = Process()
        #: When it was last asked.
        self.asked = -math.inf
        #: How many namespaces it has joined since that was reported.
        self.news = 0

    @property
    def is_in_doubt(self) -> bool:
        """Whether it may serve more namespaces than are known."""
        return self.known.digest != self.digest


class Servers:
    """The servers of all streams, by the id of the writer.

    Not synchronised: the owner, the membership, is called by one task at a
    time.
    """

    def __init__(self) -> None:
        self.by_writer: Dict[bytes, Server] = {}

    def take(self, writer: bytes, uid: str, presence: Presence, stream: int,
             namespace: str, now: float,
             own: Optional[NamespaceSet] = None) -> Change:
        """Take in a sign of life.

        :param own: the namespaces of this process in that stream.
        """
        server = self.by_writer.get(writer)
        if presence.digest == EMPTY:
            return Change(uid) if server is None else self._drop(writer)
        if server is None:
            server = self.by_writer[writer] = Server(
                uid, stream, namespace, now)
        before, doubted = server.known, server.is_in_doubt
        server.seen, server.namespace = now, namespace
        server.digest = presence.digest
        if presence.begins:
            server.listing = NamespaceSet()
        self._apply(server, presence, own)
        if presence.more:
            # The rest follows.
            server.asked = now
        return self._change(server, before, doubted, presence.more)

    def _apply(self, server: Server, presence: Presence,
               own: Optional[NamespaceSet]) -> None:
        if server.listing is not None:
            server.listing = server.listing.plus(
                presence.joins).minus(presence.leaves)
        if server.is_in_doubt and not self._look_up(server, own):
            server.known = server.known.plus(
                presence.joins).minus(presence.leaves)
            if server.listing is not None \
                    and server.listing.digest == server.digest:
                server.known = server.listing
        if not server.is_in_doubt:
            server.listing = None

    def _look_up(self, server: Server, own: Optional[NamespaceSet]) -> bool:
        """Find the set of a server among those of the others: most have the
        same, and share it in memory, too."""
        if own is not None and own.digest == server.digest:
            server.known = own
            return True
        for each in self.by_writer.values():
            if each.known.digest == server.digest:
                server.known = each.known
                return True
        return False

    @staticmethod
    def _change(server: Server, before: NamespaceSet, doubted: bool,
                more: bool) -> Change:
        known = server.known
        joined = left = _NONE
        if known is not before:
            joined = known.names - before.names
            left = before.names - known.names
        news = server.news + len(joined)
        server.news = news if more else 0
        return Change(server.uid, joined, left,
                      doubted and not server.is_in_doubt, more, news)

    def appeared(self, writer: bytes, namespace: str, now: float) -> bool:
        """A known server has written something in a namespace.

        :return: whether it was not known to serve it.
        """
        server = self.by_writer[writer]
        server.seen = now
        if namespace in server.known.names:
            return False
        server.known = server.known.plus([namespace])
        return True

    def resolve(self, own: Dict[int, NamespaceSet]) -> List[Change]:
        """Look for the sets of servers in doubt among those of this process.

        :param own: its namespaces, by stream.
        """
        changes = []
        for server in self.by_writer.values():
            before = server.known
            if server.is_in_doubt \
                    and self._look_up(server, own.get(server.stream)):
                server.listing = None
                changes.append(self._change(server, before, True, False))
        return changes

    def questions(self, now: float) -> List[Tuple[str, Question]]:
        """The questions to servers in doubt that are due now, each with a
        namespace in whose stream to write it."""
        questions = []
        asked: Set[int] = set()
        for writer, server in self.by_writer.items():
            if server.digest is None and now - server.asked >= ASK_INTERVAL:
                # Entries were lost, and it has named no digest since: one
                # question asks all servers.
                server.asked = now
                if server.stream not in asked:
                    asked.add(server.stream)
                    questions.append((server.namespace, Question('', '')))
                continue
            question = self.question(writer, now)
            if question is not None:
                questions.append((server.namespace, question))
        return questions

    def question(self, writer: Optional[bytes],
                 now: float) -> Optional[Question]:
        """A question to the server with this writer, if it is due."""
        server = self.by_writer.get(writer or b'')
        if server is None or not server.is_in_doubt \
                or now - server.asked < ASK_INTERVAL:
            return None
        server.asked = now
        return Question(server.uid, server.known.digest)

    def lose_sight(self, stream: int) -> None:
        """Entries of a stream were lost: each server may have joined or left
        namespaces."""
        for server in self.by_writer.values():
            if server.stream == stream:
                server.digest, server.asked = None, -math.inf

    def forget(self, stream: int) -> None:
        """Drop the servers of a stream."""
        for writer, server in list(self.by_writer.items()):
            if server.stream == stream:
                del self.by_writer[writer]

    def tick(self, now: float, timeout: float) -> List[Change]:
        """Drop the servers that were silent for the timeout."""
        return [self._drop(writer)
                for writer, server in list(self.by_writer.items())
                if now - server.seen > timeout]

    def refresh(self, now: float) -> None:
        """Count every server as heard of just now."""
        for server in self.by_writer.values():
            server.seen = now

    def _drop(self, writer: bytes) -> Change:
        server = self.by_writer.pop(writer)
        return Change(server.uid, _NONE, server.known.names,
                      server.is_in_doubt)

    def of(self, uid: str) -> Iterable[Server]:
        """The streams in which a server is."""
        return [each for each in self.by_writer.values() if each.uid == uid]

    def within(self, namespace: str) -> List[Server]:
        """The servers that are known to serve a namespace."""
        return [each for each in self.by_writer.values()
                if namespace in each.known.names]

    def doubt(self, namespace: str, stream: int) -> bool:
        """Whether a server may serve a namespace that is not known to."""
        return any(each.is_in_doubt and each.stream == stream
                   and namespace not in each.known.names
                   for each in self.by_writer.values())
