"""What follows from what other servers write about the namespaces that they
serve: who has joined and left, whom to ask, and what they need to count this
node. Pure.
"""
from typing import Callable, Container, List, Optional

from .announcements import Announcements
from .codec import Envelope
from .discovery import Knowledge
from .events import Completed, Event, Learned, NodeJoined, NodeLeft, Send
from .membership import Membership
from .messages import Heartbeat, MessageType, SIGNS_OF_LIFE
from .pending_requests import PendingRequests
from .presence import read_question
from .sequences import Sequences
from .servers import Change


class Arrivals:
    """Takes in signs of life, on behalf of a node.

    :param uid: that of the node.
    :param members: the other nodes.
    :param announcements: the namespaces of the node.
    :param requests: the requests of the node.
    :param stream_of: returns the number of the stream of a namespace.
    """

    def __init__(self, uid: str, members: Membership,
                 announcements: Announcements, requests: PendingRequests,
                 stream_of: Callable[[str], int]) -> None:
        self._uid = uid
        self._members = members
        self._announcements = announcements
        self._requests = requests
        self._stream_of = stream_of

    def hear(self, envelope: Envelope, now: float,
             found: List[Event]) -> bool:
        """Note that a node has written.

        :param found: gets what to write so that it counts this node.
        :return: whether it is new in the namespace.
        """
        uid, namespace, kind, *_ = envelope
        joined = self._members.hear(envelope, now)
        if kind in SIGNS_OF_LIFE \
                and uid in self._members.needing.get(namespace, ()):
            events = self._announcements.needed(namespace, now)
            if kind is not MessageType.INITIAL_HEARTBEAT:
                # That one is answered.
                found.extend(events)
        if joined:
            found.extend(self._question(envelope, now))
        return joined

    def _question(self, envelope: Envelope, now: float) -> List[Event]:
        """What to ask the writer of an entry, if it is a server whose
        namespaces are not known."""
        question = self._members.servers.question(envelope.writer, now)
        return [] if question is None else [
            Send(envelope.namespace, Heartbeat(presence=question))]

    def present(self, envelope: Envelope, now: float,
                found: List[Event], sequences: Sequences,
                knowledge: Optional[Knowledge]) -> bool:
        """Take in what a sign of life says of namespaces.

        :param found: gets the events.
        :return: whether it says of its writer which ones it serves.
        """
        namespace = envelope.namespace
        question = read_question(envelope.extra or {})
        if question is not None and question.uid in ('', self._uid):
            found.extend(self._announcements.answer(
                namespace, question.digest if question.uid else None, now))
        change = self._members.present(
            envelope, now,
            self._announcements.set_of(self._stream_of(namespace)))
        if change is None:
            return False
        found.extend(self.changed(change, namespace, sequences, knowledge))
        found.extend(self._question(envelope, now))
        return True

    def changed(self, change: Change, namespace: str,
                sequences: Optional[Sequences] = None,
                knowledge: Optional[Knowledge] = None,
                silent: bool = False) -> List[Event]:
        """What follows from a change of the namespaces of a server."""
        events: List[Event] = []
        uid = change.uid
        for name in self._requests.namespaces:
            if name in change.joined and sequences is not None:
                self._requests.joined(name, uid, sequences.own)
            elif name in change.left:
                events.extend(map(Completed, self._requests.node_left(
                    name, uid, True)))
        if change.left:
            is_gone = not any(self._members.servers.of(uid))
            if knowledge is not None:
                if is_gone:
                    knowledge.gone(uid)
                else:
                    for name in change.left:
                        knowledge.left(name, uid)
            shown = self._shown(change.left, namespace)
            events.insert(0, NodeLeft(shown, uid, silent,
                                      len(change.left) - 1))
        if change.news and not change.more:
            shown = self._shown(change.joined, namespace)
            events.insert(0, NodeJoined(shown, uid, change.news - 1))
        if change.told:
            events.append(Learned())
        return events

    def _shown(self, names: Container[str], namespace: str) -> str:
        """The namespace to name in the log, of several: one that is served,
        if there is one."""
        if namespace in names:
            return namespace
        return next((name for name in self._announcements.served
                     if name in names), namespace)

    def questions(self, now: float) -> List[Event]:
        """What to ask the servers whose namespaces are not known."""
        servers = self._members.servers
        events: List[Event] = []
        for change in servers.resolve(self._announcements.sets()):
            events.extend(self.changed(change, ''))
        for namespace, question in servers.questions(now):
            events.append(Send(namespace, Heartbeat(presence=question)))
        return events
