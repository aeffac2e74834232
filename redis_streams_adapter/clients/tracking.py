"""What the manager reports of the local clients, and asks about them.

With connection state recovery
(:class:`~redis_streams_adapter.recovery.tracker.ClientTracker`) a client may
return under its sid: its session follows what is reported. Without it
(:class:`NoTracking`) a client that reconnects is a new one, and nothing has to
be remembered. :mod:`redis_streams_adapter.composition` decides which of the
two a manager has.
"""
from typing import Any, Callable, Dict, List, Optional, Protocol

from ..protocol.messages import DisconnectSockets, Room
from ..runtime.delivery import Client
from .delivery import Delivery
from .registry import Registry


class Tracking(Protocol):
    """Follows the local clients from their connection to their end."""

    @property
    def namespaces(self) -> List[str]:
        """Namespaces that clients are being let into."""

    def admit(self, eio_sid: str, namespace: str,
              appear_in: Callable[[str], None]) -> Optional[str]:
        """Register a client that connects.

        :param appear_in: makes this node a member of a namespace.
        :return: its sid; ``None`` if its connection is in the namespace
                 already, or is dropped.
        """

    def entered(self, sid: str, namespace: str,
                room: Optional[Room]) -> None:
        """A client has entered a room."""

    def left(self, sid: str, namespace: str, room: Room) -> None:
        """A client has left a room."""

    def is_leaving(self, sid: str, namespace: str) -> bool:
        """Whether a client that is still here may return elsewhere: what is
        done to it is sent to the other servers, too."""

    def discard(self, namespace: str, address: Client) -> None:
        """A client is going to be disconnected on purpose: it cannot be
        recovered."""

    def leave(self, sid: str, namespace: str) -> None:
        """A client is about to be disconnected; its disconnect handler is
        next."""

    def may_unregister(self, sid: str, namespace: str) -> bool:
        """A client is about to be unregistered.

        :return: whether this task may do so.
        """

    def unregister(self, sid: str, namespace: str) -> None:
        """A client is unregistered."""

    def disconnect(self, namespace: str, message: DisconnectSockets) -> None:
        """Carry out a command to disconnect clients."""

    def outcome(self, sid: str, namespace: str) -> Any:
        """What became of a client's attempt to be recovered."""

    def stats(self) -> Dict[str, int]:
        """What is counted of it."""


class NoTracking:
    """Implements :class:`Tracking` without recovery; it has no state.

    :param local: the local clients; ``None``: there is no server.
    """

    namespaces: List[str] = []

    def __init__(self, registry: Registry,
                 local: Optional[Delivery] = None) -> None:
        self._registry = registry
        self._local = local

    def admit(self, eio_sid: str, namespace: str,
              appear_in: Callable[[str], None]) -> Optional[str]:
        """See :class:`Tracking`."""
        sid = self._registry.admit(eio_sid, namespace)
        appear_in(namespace)
        return sid

    def entered(self, sid: str, namespace: str,
                room: Optional[Room]) -> None:
        """See :class:`Tracking`."""

    def left(self, sid: str, namespace: str, room: Room) -> None:
        """See :class:`Tracking`."""

    def is_leaving(self, sid: str, namespace: str) -> bool:
        """See :class:`Tracking`."""
        return False

    def discard(self, namespace: str, address: Client) -> None:
        """See :class:`Tracking`."""

    def leave(self, sid: str, namespace: str) -> None:
        """See :class:`Tracking`."""

    def may_unregister(self, sid: str, namespace: str) -> bool:
        """See :class:`Tracking`."""
        return True

    def unregister(self, sid: str, namespace: str) -> None:
        """See :class:`Tracking`."""

    def disconnect(self, namespace: str, message: DisconnectSockets) -> None:
        """See :class:`Tracking`."""
        if self._local is not None:
            self._local.disconnect(namespace, message.target, message.close)

    def outcome(self, sid: str, namespace: str) -> None:
        """See :class:`Tracking`."""

    def stats(self) -> Dict[str, int]:
        """See :class:`Tracking`."""
        return {}
