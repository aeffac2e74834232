"""The uid under which a process writes. Pure.

A server counts a uid as a member of a namespace as soon as it sees any message
of it there (``socket.io-adapter`` 2.5, ``ClusterAdapterWithHeartbeat.\
onMessage``), and waits for its answers from then on. Only the uid ``emitter``
never counts. So a process writes under its own uid in the namespaces of which
it is a member, and as ``emitter`` in all others.

The order of the *outbox* decides: the process is a member from its
INITIAL_HEARTBEAT in the outbox until its ADAPTER_CLOSE there. A message may be
encoded before one of them and enter the outbox after it. It then gets the uid
that is right at its place in the outbox.
"""
from typing import Set

from .codec import Fields
from .messages import EMITTER_UID, MessageType

_EMITTER = EMITTER_UID.encode()
_JOIN = b'%d' % MessageType.INITIAL_HEARTBEAT
_LEAVE = b'%d' % MessageType.ADAPTER_CLOSE


class Signature:
    """Gives the fields of an entry the right uid.

    Called under the lock of the outbox, which protects the set. If an
    exception strikes between the call and the outbox, a join is noted whose
    entry is missing; the next message of the process makes up for it. The
    set dies with the process.
    """

    def __init__(self) -> None:
        #: The namespaces of which the process is a member.
        self._joined: Set[bytes] = set()

    def joined(self, namespace: str) -> bool:
        """Whether the process is a member of a namespace. Needs no lock."""
        return namespace.encode() in self._joined

    def __call__(self, fields: Fields) -> Fields:
        """Return the fields with the right uid.

        :param fields: in the order of
                       :meth:`~redis_streams_adapter.protocol.codec.Encoder.\
encode`: ``uid``, ``nsp`` and ``type`` come first.
        """
        uid, namespace, kind = fields[1], fields[3], fields[5]
        if namespace in self._joined:
            if kind == _LEAVE and uid != _EMITTER:
                self._joined.discard(namespace)
            return fields
        if uid == _EMITTER:
            return fields
        if kind == _JOIN:
            self._joined.add(namespace)
            return fields
        return (fields[0], _EMITTER, *fields[2:])
