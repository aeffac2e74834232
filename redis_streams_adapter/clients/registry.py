"""python-socketio's register of own clients and their rooms, made safe where a
sid may be that of another connection a moment later.

There a client is known by its sid, which belongs to one connection for ever:
whoever sees its end looks up the sid, and disconnects that. A client that is
recovered has the sid of a connection before it, so a task that looks up, and
acts when somebody else was faster, would disconnect the next connection's
client, which then is connected and gets nothing. Here each client is
disconnected by one task alone, and by one that means its connection.

And where tasks are threads, a room is forgotten when the last client leaves
it, maybe in the moment in which another one enters it.

The register is written under :attr:`Registry.registry_lock`, by any task. It
is taken behind the order lock, and the keeper's behind it; nothing is waited
for under it. Nothing of the register survives the process.
"""
import contextvars
from typing import Any, Dict, Iterable, List, Optional

from bidict import ValueDuplicationError
from socketio import PubSubManager
from socketio.base_manager import BaseManager

from ..concurrency.locks import Lock
from ..protocol.messages import Room

#: Since python-socketio 5.17 a client is registered by ``pre_connect``, and
#: by ``connect`` when its handler is done; before, by ``connect`` alone.
HAS_PRE_CONNECT = hasattr(BaseManager, 'pre_connect')

#: The connection whose end this task has seen, until it has found what client
#: that was.
ending: contextvars.ContextVar[Optional[str]] = contextvars.ContextVar(
    'ending', default=None)


class AlreadyGone(Exception):
    """A client that is to be disconnected is so already, or another task is
    about it."""


class Registry(PubSubManager):
    """See the module."""

    #: Both from python-socketio; what they are like is read from 5.12 and
    #: 5.18.
    rooms: Dict[str, Dict[Optional[Room], Dict[str, str]]]
    pending_disconnect: Dict[str, List[str]]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.registry_lock = Lock()

    def after_fork(self) -> None:
        """In a child process."""
        # The parent may have held it.
        self.registry_lock = Lock()

    def register(self, sid: str, eio_sid: str, namespace: str,
                 rooms: Iterable[Room]) -> bool:
        """Register a client under a sid of our choice, as ``pre_connect``
        does under one of its own.

        :return: whether that could be done: a connection is in a namespace
                 once, and so is a sid.
        """
        with self.registry_lock:
            if self.eio_sid_from_sid(sid, namespace) is not None:
                return False
            try:
                Registry.basic_enter_room(
                    self, sid, namespace, None, eio_sid)
            except ValueDuplicationError:
                return False
            for room in (sid, *rooms):
                try:
                    Registry.basic_enter_room(
                        self, sid, namespace, room, eio_sid)
                except ValueError:
                    # A room that is now named like another client's sid,
                    # which python-socketio refuses since 5.17.
                    continue
            if HAS_PRE_CONNECT:
                self.pending_connect.setdefault(namespace, []).append(sid)
            return True

    def pre_connect(self, eio_sid: str, namespace: str) -> Optional[str]:
        """Register a client; since python-socketio 5.17."""
        with self.registry_lock:
            sid: Optional[str] = super().pre_connect(eio_sid, namespace)
        return sid

    def connect(self, sid: str, namespace: str) -> Optional[str]:
        """Its connect handler is done; before 5.17, register a client."""
        with self.registry_lock:
            connected: Optional[str] = super().connect(sid, namespace)
        return connected

    def pre_disconnect(self, sid: str, namespace: str) -> Optional[str]:
        """This task is going to disconnect a client.

        :return: its connection.
        """
        with self.registry_lock:
            eio_sid: Optional[str] = super().pre_disconnect(sid, namespace)
        return eio_sid

    def check_disconnect(self, sid: str, namespace: str) -> None:
        """Make sure that this task may disconnect a client; under the lock.

        :raises AlreadyGone: it must not.
        """
        meant = ending.get()
        # The disconnect handler may disconnect others.
        ending.set(None)
        eio_sid = self.eio_sid_from_sid(sid, namespace)
        if eio_sid is None or meant not in (None, eio_sid) \
                or sid in self.pending_disconnect.get(namespace, ()):
            raise AlreadyGone

    def basic_disconnect(self, sid: str, namespace: str,
                         **kwargs: Any) -> None:
        """A client is not registered any more."""
        with self.registry_lock:
            super().basic_disconnect(sid, namespace, **kwargs)

    def eio_sid_from_sid(self, sid: str, namespace: str) -> Optional[str]:
        """The connection of a client."""
        # One lookup after the other: the last client may just be leaving.
        clients = self.rooms.get(namespace, {}).get(None, {})
        return clients.get(sid)

    def basic_enter_room(self, sid: str, namespace: str,
                         room: Optional[Room],
                         eio_sid: Optional[str] = None) -> None:
        """An own client enters a room."""
        with self.registry_lock:
            try:
                super().basic_enter_room(
                    sid, namespace, room, eio_sid=eio_sid)
            finally:
                # The room is made before the client is looked for.
                self._forget_empty(namespace, room)

    def _forget_empty(self, namespace: str, room: Optional[Room]) -> None:
        members = self.rooms.get(namespace, {})
        if not members.get(room, True):
            del members[room]
            if not members:
                del self.rooms[namespace]

    def basic_leave_room(self, sid: str, namespace: str,
                         room: Room) -> None:
        """An own client leaves a room."""
        with self.registry_lock:
            super().basic_leave_room(sid, namespace, room)

    def get_rooms(self, sid: str, namespace: str) -> List[Room]:
        """The rooms of a local client. python-socketio (5.18) goes through
        all rooms, and fails if another thread makes one meanwhile."""
        with self.registry_lock:
            rooms: List[Room] = super().get_rooms(sid, namespace)
        return rooms
