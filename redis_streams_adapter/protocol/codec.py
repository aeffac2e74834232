"""Stream fields to messages and back. Pure, and total in both directions.

An entry's fields are those of ``@socket.io/redis-streams-adapter``
(``dist/adapter.js``, ``encode`` and ``decode``): ``uid``, ``nsp``, ``type``
and ``data``. ``data`` is JSON if it starts with ``{``, and msgpack in base64
otherwise. Only this package has the following fields; Node.js ignores them.

===================  ====================================================
``wid``              the id of the writer
``seq``              its number for this entry
``since``            where the stream ended when the writer began
``behind``           of a HEARTBEAT: the position of a reader that lags
``read``             of a HEARTBEAT: the position of one that does not
``reader``           of a HEARTBEAT: the uid of the node with that reader
``members``, ``at``  of a HEARTBEAT: all members, and the position at
                     which that was true
``asks``             of an INITIAL_HEARTBEAT: asks for that list; of a
                     HEARTBEAT: asks all readers for their positions
``trace``            of an event: the context of its span, see
                     :mod:`redis_streams_adapter.tracing`
``presence``, …      of a sign of life: the namespaces of the server, see
                     :mod:`redis_streams_adapter.protocol.presence`
===================  ====================================================

*Total* means two things. For any bytes in the stream, :func:`open_envelope`
and :func:`decode` return a valid value or raise
:class:`~redis_streams_adapter.errors.DecodeError`. And every node can decode
and pass on whatever :meth:`Encoder.encode` accepts. Therefore
:data:`~redis_streams_adapter.protocol.json_parser.MAX_DEPTH` binds both sides.
"""
import json as standard_json
from functools import lru_cache
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from .application import Application, KEY
from .content import after_arguments, BARE, EXTRA, read_heartbeat, READERS, \
    write_event, write_extra, WRITERS
from .content_parts import MAX_NAME
from ..errors import DecodeError
from .json_parser import load_json
from .messages import Broadcast, EMITTER_UID, Heartbeat, InitialHeartbeat, \
    Message, MessageType, SIGNS_OF_LIFE, Target
from .values import JSONModule, load_base64, load_msgpack, \
    Serialiser, without_nonfinite

#: For how many namespaces is kept what their events share. An application
#: never has so many, but a task can emit to any name.
MAX_SHARED = 1000

#: Names and values in turn, as Redis takes and gives them.
Fields = Sequence[bytes]


class Envelope(NamedTuple):
    """An entry whose ``data`` is not decoded yet.

    :param uid: the uid of the sender.
    :param namespace: the namespace it is for.
    :param type: the message type.
    :param data: the undecoded ``data`` field; empty if it is missing.
    :param writer: the id of the writer; ``None`` if Node.js wrote it, or if it
                   did not come through an outbox.
    :param sequence: the writer's number for this entry; for a sign of life,
                     that of the last message before it.
    :param since: where the stream ended when the writer began, undecoded;
                  see :func:`~redis_streams_adapter.protocol.content.\
read_position`.
    :param extra: for a sign of life, all its fields.
    """

    uid: str
    namespace: str
    type: MessageType
    data: bytes
    writer: Optional[bytes]
    sequence: int
    since: Optional[bytes] = None
    extra: Optional[Mapping[bytes, bytes]] = None


_TYPES: Dict[bytes, MessageType] = {
    str(int(each)).encode(): each for each in MessageType}

#: The types that have fields of this package instead of data.
_SIGNS = frozenset(b'%d' % each for each in SIGNS_OF_LIFE)


#: The names of the fields of most entries, in their order: those of a message
#: with data that a Python node wrote.
FIELD_NAMES = (b'uid', b'nsp', b'type', b'data', b'wid', b'seq', b'since')
_COUNT = 2 * len(FIELD_NAMES)

#: How many beginnings of entries are remembered: one for each namespace, type
#: of message and process that writes it.
HEADS = 1024

_new = tuple.__new__


# The cache of functools has a lock of its own, and no head changes: any task
# may call it. It saves 0.8 of 2 microseconds an entry.
@lru_cache(maxsize=HEADS)
def read_head(uid: bytes, namespace: bytes,
              kind: bytes) -> Tuple[str, str, MessageType]:
    """Read what is the same in many entries.

    :raises DecodeError: it is not what it should be.
    """
    if not 0 < len(uid) <= MAX_NAME or not 0 < len(namespace) <= MAX_NAME:
        raise DecodeError('field uid or nsp is empty or too long')
    try:
        return uid.decode(), namespace.decode(), _TYPES[kind]
    except KeyError as exc:
        raise DecodeError('unknown message type') from exc
    except UnicodeDecodeError as exc:
        raise DecodeError('field uid or nsp is not UTF-8') from exc


def open_envelope(fields: Fields) -> Envelope:
    """Read the fields of an entry, all but the data.

    :param fields: names and values in turn.
    :raises DecodeError: a field is missing or is not what it should be.
    """
    data: bytes
    writer: Optional[bytes]
    since: Optional[bytes]
    extra: Optional[Dict[bytes, bytes]] = None
    if len(fields) == _COUNT and tuple(fields[::2]) == FIELD_NAMES:
        # Without a mapping, it takes half of the time.
        uid, namespace, kind, data, writer, number, since = fields[1::2]
    else:
        pairs = iter(fields)
        entry = dict(zip(pairs, pairs))
        try:
            uid, namespace = entry[b'uid'], entry[b'nsp']
            kind = entry[b'type']
        except KeyError as exc:
            raise DecodeError(
                f'field {exc.args[0].decode()} is missing') from exc
        data, since = entry.get(b'data', b''), entry.get(b'since')
        writer, number = entry.get(b'wid'), entry.get(b'seq', b'')
        extra = entry
    head = read_head(uid, namespace, kind)
    sequence = 0
    if writer is not None:
        # No writer reaches a number of more than nineteen digits.
        if not number.isdigit() or len(number) > 19:
            raise DecodeError('field seq is not a number')
        if not 0 < len(writer) <= MAX_NAME:
            raise DecodeError('field wid is empty or too long')
        sequence = int(number)
    if extra is not None and kind not in _SIGNS:
        extra = None
    # As Envelope() does, in a quarter of the time.
    return _new(Envelope, (*head, data, writer, sequence, since, extra))


def decode(envelope: Envelope) -> Message:
    """Decode the message in an envelope.

    :raises DecodeError: the data are not those of a message of this type.
    """
    reader = READERS.get(envelope.type)
    if reader is None:
        bare = BARE[envelope.type]
        if envelope.extra is None or not EXTRA.intersection(envelope.extra):
            return bare
        if envelope.type is MessageType.HEARTBEAT:
            return read_heartbeat(envelope.extra)
        if envelope.type is MessageType.ADAPTER_CLOSE:
            return bare
        return InitialHeartbeat(asks=bool(envelope.extra.get(b'asks')))
    raw = envelope.data
    if raw.startswith(b'{'):
        data = load_json(raw)
    else:
        data = load_base64(raw)
        if envelope.type is MessageType.BROADCAST:
            data = without_nonfinite(data)
    if not isinstance(data, dict):
        raise DecodeError('field data is not a mapping')
    return reader(data)


class Packed(NamedTuple):
    """A message that came over PUB/SUB, with its sender and namespace."""

    uid: str
    namespace: str
    message: Message


def unpack(packed: bytes, application: Application) -> Optional[Packed]:
    """Decode what came over PUB/SUB.

    :param application: ours.
    :return: ``None`` for a message of another application, valid or not.
    :raises DecodeError: it is no request and no answer.
    """
    data = load_msgpack(packed)
    if not isinstance(data, dict):
        raise DecodeError('the message is not a mapping')
    if application.is_foreign(data.get(KEY)):
        return None
    uid, namespace = data.get('uid'), data.get('nsp')
    for name in (uid, namespace):
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise DecodeError('uid or nsp is missing, empty or too long')
    kind: Any = data.get('type')
    try:
        # Messages without data travel over the stream only.
        reader = READERS[MessageType(kind)]
    except (KeyError, ValueError) as exc:
        raise DecodeError('unknown message type') from exc
    content = data.get('data')
    if not isinstance(content, dict):
        raise DecodeError('data is not a mapping')
    if kind == MessageType.BROADCAST:
        content = without_nonfinite(content)
    return Packed(str(uid), str(namespace), reader(content))


class Encoder:
    """Messages to fields, on behalf of one sender.

    :param uid: the ``uid`` of the node, or ``emitter``. :attr:`uid` may
                change, because a process may become a node later.
    :param json: the application's JSON module. Values that it can serialise
                 can be sent.
    :param only_plaintext: refuse values that JSON cannot carry.
    """

    def __init__(self, uid: str, json: JSONModule = standard_json,
                 only_plaintext: bool = False) -> None:
        self.uid = uid
        #: What signs of life say of the process, see
        #: :mod:`redis_streams_adapter.protocol.presence`.
        self.process = b''
        self._serialiser = Serialiser(json, only_plaintext)
        #: What all events of a namespace share: a uid, the fields before the
        #: data, and the end of the data. Any task writes it, without a lock:
        #: of a namespace and a uid, always the same.
        self._shared: Dict[str, Tuple[str, Tuple[bytes, ...], str]] = {}

    def event(self, namespace: str, args: Tuple[Any, ...],
              target: Target) -> Tuple[Broadcast, Tuple[bytes, ...]]:
        """Make an event for clients, and encode it as :meth:`encode` does.

        The arguments are written once, for the stream and for local clients.
        That and what is shared takes 45 % of the time of :meth:`encode`.

        :param args: the event's name, then its arguments.
        :return: the event, with its text if JSON can carry it; its fields.
        :raises TypeError, ValueError: as :meth:`encode`.
        """
        text = self._serialiser.text(args)
        message = Broadcast(args, target, None, text)
        shared = self._shared.get(namespace)
        if shared is None or shared[0] != self.uid:
            shared = self._share(namespace)
        _, head, rest = shared
        if text is None:
            write = WRITERS[MessageType.BROADCAST]
            return message, (*head, self._serialiser.dump_event(
                args, lambda given: write(
                    namespace, Broadcast(tuple(given), target))))
        return message, (*head, write_event(text, target, rest).encode())

    def _share(self, namespace: str) -> Tuple[str, Tuple[bytes, ...], str]:
        uid = self.uid
        shared = uid, (
            b'uid', uid.encode(), b'nsp', _name_of(namespace),
            b'type', b'%d' % MessageType.BROADCAST, b'data'
        ), after_arguments(namespace)
        if namespace in self._shared or len(self._shared) < MAX_SHARED:
            self._shared[namespace] = shared
        return shared

    def encode(self, namespace: str, message: Message) -> Tuple[bytes, ...]:
        """Encode a message.

        :param namespace: the namespace that it is for.
        :return: names and values in turn, without those of the writer.
        :raises TypeError: something in it cannot be serialised.
        :raises ValueError: something in it is nested too deeply, a name is
                            too long, or an event for clients holds infinity
                            or NaN.
        """
        name = _name_of(namespace)
        head = (b'uid', self.uid.encode(), b'nsp', name,
                b'type', b'%d' % message.type)
        writer = WRITERS.get(message.type)
        if writer is None:
            # `sender.Signature` needs the uid, namespace and type first.
            presence = getattr(message, 'presence', None)
            return head + write_extra(message) + (
                () if presence is None else presence.fields(self.process))
        return head + (b'data', self._serialiser.dump(
            writer(namespace, message),
            message.type is MessageType.BROADCAST))

    def pack(self, namespace: str, message: Message,
             application: Application) -> bytes:
        """Encode a request or an answer as it travels over PUB/SUB.

        :param application: ours.
        :raises TypeError, ValueError: as :meth:`encode`.
        """
        _name_of(namespace)
        return self._serialiser.pack({
            'uid': self.uid, 'nsp': namespace, KEY: application.name,
            'type': int(message.type),
            'data': WRITERS[message.type](namespace, message)},
            message.type is MessageType.BROADCAST)


def encode_unsigned(message: Heartbeat) -> Fields:
    """Encode a heartbeat that is no sign of life: it is written as an
    emitter, which no node takes for a member."""
    return (b'uid', EMITTER_UID.encode(), b'nsp', b'/', b'type',
            b'%d' % message.type, *write_extra(message))


def _name_of(namespace: str) -> bytes:
    """The name of a namespace, checked."""
    name = namespace.encode()
    if not 0 < len(name) <= MAX_NAME:
        raise ValueError(
            f'namespace must have 1 to {MAX_NAME} bytes, not {len(name)}')
    return name
