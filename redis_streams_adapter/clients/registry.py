"""python-socketio's register of local clients and their rooms, made safe for
sids that outlive a connection.

In python-socketio a sid belongs to one connection forever: a task that sees a
connection end looks up its sid, and disconnects that. A recovered client has
the sid of an earlier connection. A task that looks up a sid, and acts after
another task has disconnected it, would disconnect the next connection's
client, which stays connected and receives nothing. Here only one task
disconnects a client, and never the client of a later connection.

Tasks may be threads. A room is removed when its last client leaves it, and
another client may enter it at that moment.

:attr:`Registry.lock` protects the register, which any task writes. It is
taken after the order lock, and the lock of the sessions after it; nothing is
waited for under it. If an exception strikes between two of python-socketio's
lines, a client may be registered in part; it is unregistered when its
connection ends. Nothing of the register survives the process.
"""
import contextvars
from typing import Any, Callable, ContextManager, Dict, Iterable, List, \
    Optional, Protocol

from bidict import ValueDuplicationError
from socketio.base_manager import BaseManager

from ..concurrency.locks import Lock
from ..protocol.messages import Room
from ..runtime.delivery import Client

#: Since python-socketio 5.17 a client is registered by ``pre_connect``, and
#: by ``connect`` when its handler is done; before, by ``connect`` alone.
HAS_PRE_CONNECT = hasattr(BaseManager, 'pre_connect')

#: The connection whose end this task has seen, until it has found which client
#: that was.
ending: contextvars.ContextVar[Optional[str]] = contextvars.ContextVar(
    'ending', default=None)


class AlreadyGone(Exception):
    """A client that is to be disconnected is disconnected already, or another
    task is disconnecting it."""


class ClientManager(Protocol):
    """A client manager of python-socketio, and its register. What the
    attributes hold was read from 5.12 and 5.18."""

    server: Any
    rooms: Dict[str, Dict[Optional[Room], Dict[str, str]]]
    pending_disconnect: Dict[str, List[str]]
    #: Since 5.17.
    pending_connect: Dict[str, List[str]]

    callbacks: Dict[str, Dict[int, Callable[..., Any]]]

    def get_namespaces(self) -> Iterable[str]: ...

    def _generate_ack_id(self, sid: str,
                         callback: Callable[..., Any]) -> Any: ...


class Registry:
    """See the module. Its methods have the names of those of python-socketio
    that they replace.

    :param manager: holds the register.
    :param plain: python-socketio's own methods of the manager: its
                  ``super()``.
    :param order: returns the order lock. While python-socketio writes the
                  register, it calls methods that others replace with ones
                  that emit (its admin UI does so, in development mode). An
                  emit takes the order lock, which therefore comes first.
    """

    def __init__(self, manager: ClientManager, plain: Any,
                 order: Callable[[], ContextManager[Any]]) -> None:
        self._manager = manager
        self._plain = plain
        self._order = order
        self.lock = Lock()

    def after_fork(self) -> None:
        """In a child process: the parent may have held the lock."""
        self.lock = Lock()

    # -- clients ----------------------------------------------------------

    def register(self, sid: str, eio_sid: str, namespace: str,
                 rooms: Iterable[Room]) -> bool:
        """Register a client under a sid of our choice, as ``pre_connect``
        does under a new one.

        :return: whether that could be done: a connection is in a namespace
                 once, and so is a sid.
        """
        with self.lock:
            if self.eio_sid_from_sid(sid, namespace) is not None:
                return False
            # Not the manager's methods, which would report these rooms.
            try:
                self.basic_enter_room(sid, namespace, None, eio_sid)
            except ValueDuplicationError:
                return False
            for room in (sid, *rooms):
                try:
                    self.basic_enter_room(sid, namespace, room, eio_sid)
                except ValueError:
                    # A room that is now named like another client's sid,
                    # which python-socketio refuses since 5.17.
                    continue
            if HAS_PRE_CONNECT:
                self._manager.pending_connect.setdefault(
                    namespace, []).append(sid)
            return True

    def admit(self, eio_sid: str, namespace: str) -> Optional[str]:
        """Register a client under a new sid.

        :return: its sid.
        """
        register = self._plain.pre_connect if HAS_PRE_CONNECT \
            else self._plain.connect
        with self._order(), self.lock:
            sid: Optional[str] = register(eio_sid, namespace)
        return sid

    def connect(self, sid: str, namespace: str) -> Optional[str]:
        """Its connect handler is done; since python-socketio 5.17."""
        with self._order(), self.lock:
            connected: Optional[str] = self._plain.connect(sid, namespace)
        return connected

    def pre_disconnect(self, sid: str, namespace: str) -> Optional[str]:
        """This task is going to disconnect a client.

        :return: its connection.
        :raises AlreadyGone: this task must not disconnect it.
        """
        with self.lock:
            meant = ending.get()
            # The disconnect handler may disconnect others.
            ending.set(None)
            eio_sid = self.eio_sid_from_sid(sid, namespace)
            if eio_sid is None or meant not in (None, eio_sid) \
                    or sid in self._manager.pending_disconnect.get(
                        namespace, ()):
                raise AlreadyGone
            self._plain.pre_disconnect(sid, namespace)
        return eio_sid

    def basic_disconnect(self, sid: str, namespace: str,
                         **kwargs: Any) -> None:
        """A client is no longer registered."""
        with self._order(), self.lock:
            self._plain.basic_disconnect(sid, namespace, **kwargs)

    def eio_sid_from_sid(self, sid: str, namespace: str) -> Optional[str]:
        """The connection of a client."""
        # One lookup after the other: the last client may just be leaving.
        clients = self._manager.rooms.get(namespace, {}).get(None, {})
        return clients.get(sid)

    # -- acknowledgements -------------------------------------------------

    def expect_ack(self, sid: str, callback: Callable[..., Any]) -> int:
        """Wait for an acknowledgement of a client.

        :param callback: called with its arguments.
        :return: the id that the event has to have.
        """
        number: int = self._manager._generate_ack_id(sid, callback)
        return number

    def forget_acks(self, clients: Iterable[Client],
                    callback: Callable[..., Any]) -> None:
        """Wait no longer for acknowledgements that go to this callback.

        What was registered shows in the register alone: an exception may
        have struck python-socketio after it did so, and before it returned.
        """
        for sid, _ in clients:
            acks = self._manager.callbacks.get(sid)
            if acks:
                for number, each in list(acks.items()):
                    if each is callback:
                        acks.pop(number, None)

    # -- rooms ------------------------------------------------------------

    def basic_enter_room(self, sid: str, namespace: str,
                         room: Optional[Room],
                         eio_sid: Optional[str] = None) -> None:
        """A local client enters a room."""
        with self.lock:
            try:
                self._plain.basic_enter_room(
                    sid, namespace, room, eio_sid=eio_sid)
            finally:
                # The room is made before the client is looked for.
                self._remove_empty(namespace, room)

    def _remove_empty(self, namespace: str, room: Optional[Room]) -> None:
        rooms = self._manager.rooms
        members = rooms.get(namespace, {})
        if not members.get(room, True):
            del members[room]
            if not members:
                del rooms[namespace]

    def basic_leave_room(self, sid: str, namespace: str,
                         room: Room) -> None:
        """A local client leaves a room."""
        with self.lock:
            self._plain.basic_leave_room(sid, namespace, room)

    def get_rooms(self, sid: str, namespace: str) -> List[Room]:
        """The rooms of a local client. python-socketio (5.18) goes through
        all rooms, and fails if another thread makes one meanwhile."""
        with self.lock:
            rooms: List[Room] = self._plain.get_rooms(sid, namespace)
        return rooms

    # -- namespaces -------------------------------------------------------

    def namespaces(self) -> List[str]:
        """The namespaces that are served here: those with handlers, those in
        the server's list, and those with clients."""
        server = self._manager.server
        if server is None:
            return ['/']
        served = [*server.handlers, *server.namespace_handlers,
                  *self._manager.get_namespaces()]
        if server.namespaces != '*':
            served.extend(server.namespaces)
        return [each for each in dict.fromkeys(served) if each != '*']
