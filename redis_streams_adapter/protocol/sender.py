"""The uid under which a process writes. Pure.

A server counts a uid as a member of a namespace as soon as it sees any message
of it there (``socket.io-adapter`` 2.5, ``ClusterAdapterWithHeartbeat.\
onMessage``), and waits for its answers from then on. Only the uid ``emitter``
never counts. So a process writes under its own uid in the namespaces of which
it is a member, and as ``emitter`` in all others.

The order of the *outbox* decides: the process is a member from its
INITIAL_HEARTBEAT in the outbox until its ADAPTER_CLOSE there, or from the sign
of life that names the namespace as joined until the one that names it as left,
see :mod:`redis_streams_adapter.protocol.presence`. A message may be
encoded before one of them and enter the outbox after it. It then gets the uid
that is right at its place in the outbox.
"""
from typing import Set

from .codec import Fields
from .messages import EMITTER_UID, MessageType, SIGNS_OF_LIFE
from .presence import EMPTY, read_names

_EMITTER = EMITTER_UID.encode()
_JOIN = b'%d' % MessageType.INITIAL_HEARTBEAT
_LEAVE = b'%d' % MessageType.ADAPTER_CLOSE
_SIGNS = frozenset(b'%d' % each for each in SIGNS_OF_LIFE)
_NONE = EMPTY.encode()


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
        if kind in _SIGNS and uid != _EMITTER and b'presence' in fields[6::2]:
            return self._present(fields)
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

    def _present(self, fields: Fields) -> Fields:
        """Note the namespaces that a sign of life names."""
        extra = dict(zip(fields[6::2], fields[7::2]))
        if extra[b'presence'] == _NONE:
            # The goodbye in all namespaces, but not the second one.
            was_member = fields[3] in self._joined
            self._joined.clear()
            return fields if was_member else (fields[0], _EMITTER, *fields[2:])
        self._joined.update(
            name.encode() for name in read_names(extra.get(b'joins')))
        signed = fields if fields[3] in self._joined \
            else (fields[0], _EMITTER, *fields[2:])
        self._joined.difference_update(
            name.encode() for name in read_names(extra.get(b'leaves')))
        return signed
