"""What an entry of the stream says, as people and programs read it. Pure.

The pid of a session, the secret with which a client gets its session back, is
in the handshake of clients that servers in Node.js describe. It is taken out.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DecodeError
from ..protocol.codec import decode, Envelope, open_envelope
from ..protocol.json_parser import load_json
from ..protocol.messages import Broadcast, EVERYONE, Message, MessageType
from ..protocol.position import Position
from ..protocol.values import load_base64

#: The kind of an entry that is no message.
MALFORMED = 'malformed'

#: The kinds of messages, by their types.
KINDS = {each: each.name.lower().replace('_', '-') for each in MessageType}

#: Every word that ``--kind`` takes.
CHOICES = (*sorted(KINDS.values()), MALFORMED)

#: What stands for a pid.
HIDDEN = '(hidden)'


def record_of(stream: str, entry_id: bytes, fields: Sequence[bytes],
              now: float, with_data: bool) -> dict[str, Any]:
    """Describe an entry.

    :param now: the time of Redis, in seconds.
    :param with_data: with the payload, too.
    :return: ``stream, id, age, node, kind, namespace, rooms, except, size``,
             and ``data``; for one that is malformed also ``error``.
    """
    record: dict[str, Any] = {
        'stream': stream, 'id': entry_id.decode('ascii', 'replace'),
        'age': age_of(entry_id, now), 'node': None, 'kind': MALFORMED,
        'namespace': None, 'rooms': [], 'except': [],
        'size': sum(map(len, fields))}
    try:
        envelope = open_envelope(fields)
        record.update(node=envelope.uid, namespace=envelope.namespace)
        message = decode(envelope)
        if isinstance(message, Broadcast):
            message.read()
        record['kind'] = KINDS[envelope.type]
        _add_target(record, message)
        if with_data:
            record['data'] = _payload(envelope)
    except DecodeError as exc:
        record['kind'], record['error'] = MALFORMED, str(exc)
    return record


def age_of(entry_id: bytes, now: float) -> float | None:
    """How long ago an entry was added, in seconds.

    :param now: the time of Redis, in seconds.
    """
    try:
        added = Position.parse(entry_id).milliseconds / 1000
    except DecodeError:
        return None
    return round(max(0.0, now - added), 3)


def _add_target(record: dict[str, Any], message: Message) -> None:
    target = getattr(message, 'target', EVERYONE)
    record['rooms'] = list(target.rooms)
    record['except'] = list(target.except_rooms)


def _payload(envelope: Envelope) -> Any:
    """The field ``data``, decoded.

    :raises DecodeError: it is not valid.
    """
    raw = envelope.data
    if not raw:
        return None
    data = load_json(raw) if raw.startswith(b'{') else load_base64(raw)
    if isinstance(data, dict) and isinstance(data.get('sockets'), list):
        data['sockets'] = [without_pid(each) for each in data['sockets']]
    return data


def without_pid(socket: Any) -> Any:
    """The description of a client without the pid of its session."""
    if not isinstance(socket, Mapping):
        return socket
    handshake = socket.get('handshake')
    if not isinstance(handshake, Mapping):
        return socket
    auth = handshake.get('auth')
    if not isinstance(auth, Mapping) or 'pid' not in auth:
        return socket
    return {**socket, 'handshake': {
        **handshake, 'auth': {**auth, 'pid': HIDDEN}}}
