"""The short way for most entries: the next event of a writer that is known.
Pure.

Nearly all entries of a busy stream are such events, and each server reads all
of them. Whatever is unusual about an entry, it is left to
:meth:`~redis_streams_adapter.protocol.node.Node.receive`, which comes to the
same result for a plain event, with three times as many function calls:
``tests/unit/protocol/test_plain_events.py`` compares the two. Nothing has
changed then.
"""
from typing import Container, Optional, Sequence, Tuple

from ..errors import DecodeError
from .codec import FIELD_NAMES, read_head
from .event_text import find_event
from .events import Act, Event, Returned
from .membership import Membership
from .messages import MessageType
from .pending_requests import PendingRequests
from .sequences import MAX_NUMBER, Sequences
from .transport import Entry

_EVENT = b'%d' % MessageType.BROADCAST

_new = tuple.__new__
_NOTHING: Tuple[Event, ...] = ()


class PlainEvents:
    """Takes in plain events, on behalf of a node.

    :param served: the namespaces that the node serves.
    :param members: the other nodes.
    :param requests: the requests of the node.
    """

    def __init__(self, served: Container[str], members: Membership,
                 requests: PendingRequests) -> None:
        self._served = served
        self._seen = members.seen
        self._servers = members.servers.by_writer
        self._not_others = members.not_others
        self._requests = requests

    def receive(self, entry: Entry, now: float,
                sequences: Sequences) -> Optional[Sequence[Event]]:
        """See :meth:`~redis_streams_adapter.protocol.node.Node.receive`.

        :return: ``None``: it is no plain event. Nothing has changed.
        """
        try:
            # Operators and look-ups by a key are no function calls.
            (uid_name, uid_text, nsp_name, nsp, kind_name, kind, data_name,
             data, writer_name, writer, number_name, number, since_name, _
             ) = entry.fields
            if kind != _EVENT or (
                    uid_name, nsp_name, kind_name, data_name, writer_name,
                    number_name, since_name) != FIELD_NAMES:
                return None
            uid, namespace, _ = read_head(uid_text, nsp, kind)
            if writer == sequences.own:
                read_back = self._requests.read_back
                sequence = read_back[writer] + 1
                if number != b'%d' % sequence or sequence > MAX_NUMBER \
                        or self._requests.open_ended:
                    return None
                read_back[writer] = sequence
                return (_new(Returned, (sequence, True)),)
            highest = sequences.young
            sequence = highest[writer] + 1
            if number != b'%d' % sequence or sequence > MAX_NUMBER:
                return None
            times = server = None
            if uid not in self._not_others:
                if writer in self._servers:
                    server = self._servers[writer]
                    if namespace not in server.known.names:
                        return None
                else:
                    times = self._seen[namespace]
                    if uid not in times:
                        return None
            events = _NOTHING
            if namespace in self._served:
                message = find_event(data)
                if message is None:
                    return None
                events = (_new(Act, (namespace, uid, message, None)),)
        except (LookupError, ValueError, DecodeError):
            return None
        highest[writer] = sequence
        if times is not None:
            times[uid] = now
        elif server is not None:
            server.seen = now
        return events
