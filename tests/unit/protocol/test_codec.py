"""Messages on the wire."""
import base64
import datetime
import decimal
import json
import math
from typing import Any, Dict, List

import msgpack
import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.protocol import codec
from redis_streams_adapter.protocol.codec import decode, encode_unsigned, \
    Encoder, open_envelope
from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.messages import AdapterClose, Broadcast, \
    BroadcastAck, CAUGHT_UP, DisconnectSockets, EVERYONE, \
    FetchSocketsResponse, Heartbeat, MessageType, ServerSideEmit, \
    ServerSideEmitResponse, Target
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.values import COUNTED, MAX_DEPTH

from ..fake_server import DateJSON
from .entries import again, ALL, binary, encoder, fields_of, MAY_BE_BINARY, \
    plain, REQUEST, SOCKET, TARGET, UID, understand, WIRE
from .test_values import ANYTHING, nested


# -- exact bytes -----------------------------------------------------------

@pytest.mark.parametrize('message, number, data', WIRE)
def test_wire_format(message: Any, number: int, data: Any) -> None:
    fields = encoder.encode('/chat', message)
    assert all(type(each) is bytes for each in fields)
    named = dict(zip(fields[::2], fields[1::2]))
    text = named.pop(b'data', None)
    assert named == {b'uid': UID.encode(), b'nsp': b'/chat',
                     b'type': str(number).encode()}
    if data is None:
        assert text is None
    else:
        assert text is not None and text.startswith(b'{')
        assert json.loads(text) == data
        assert message.type == number


@pytest.mark.parametrize('message, number, data', WIRE)
def test_round_trip(message: Any, number: int, data: Any) -> None:
    envelope = open_envelope(encoder.encode('/chat', message))
    assert envelope.uid == UID
    assert envelope.namespace == '/chat'
    assert envelope.type is MessageType(number)
    assert envelope.writer is None
    assert decode(envelope) == message


@pytest.mark.parametrize('message, number, data', [
    each for each in WIRE if each[2] is not None])
def test_messages_of_node_js(message: Any, number: int, data: Any) -> None:
    data = {name: value for name, value in data.items() if name != 'args'}
    if number == 12:
        message = BroadcastAck(REQUEST, message.args[:1])
    assert understand(fields_of(number, data, nsp=b'/chat')) == message
    if number in MAY_BE_BINARY:
        assert understand(fields_of(
            number, nsp=b'/chat', data=binary(data))) == message


def test_every_type_is_tested() -> None:
    assert {message.type for message, _, _ in WIRE} == set(MessageType)


def test_fields_of_others_are_ignored() -> None:
    data = {'opts': {**ALL, 'more': 1}, 'more': 2,
            'packet': {'type': 2, 'data': ['a'], 'nsp': '/', 'more': 3}}
    assert understand(fields_of(3, data, more=b'\xff')) == Broadcast(('a',))


@pytest.mark.parametrize('data, message', [
    ({'opts': {'rooms': [], 'except': []},
      'packet': {'type': 2, 'data': ['a'], 'nsp': '/'}, 'requestId': None},
     Broadcast(('a',))),
    # An event with binary attachments, as Node.js calls it internally.
    ({'opts': ALL, 'packet': {'type': 5, 'data': ['a'], 'nsp': '/'}},
     Broadcast(('a',))),
    ({'opts': ALL, 'packet': {'type': 2, 'data': [1, 2], 'nsp': '/'}},
     Broadcast((1, 2))),
], ids=['no flags', 'binary event', 'number'])
def test_broadcasts_of_others(data: Any, message: Broadcast) -> None:
    assert understand(fields_of(3, data)) == message


def test_close_is_optional() -> None:
    assert understand(fields_of(6, {'opts': ALL})) == \
        DisconnectSockets(EVERYONE, False)


@pytest.mark.parametrize('data, args', [
    ({}, ()), ({'packet': None}, (None,)), ({'packet': [1, 2]}, ([1, 2],)),
    ({'packet': 1, 'args': [1, 2]}, (1, 2)), ({'args': []}, ())])
def test_acknowledgements(data: Dict[str, Any], args: Any) -> None:
    message = understand(fields_of(12, {'requestId': REQUEST, **data}))
    assert message == BroadcastAck(REQUEST, args)


def test_everyone_is_a_shared_target() -> None:
    """It is the target of most broadcasts."""
    data = {'opts': ALL, 'packet': {'type': 2, 'data': ['a'], 'nsp': '/'}}
    assert understand(fields_of(3, data)).target is EVERYONE


# -- the writer's fields ---------------------------------------------------

def test_writers_fields() -> None:
    envelope = open_envelope(fields_of(2, wid=b'abc', seq=b'17'))
    assert (envelope.writer, envelope.sequence) == (b'abc', 17)


def test_position_in_a_heartbeat() -> None:
    for position in (Position(1700000000000, 12), CAUGHT_UP):
        fields = encoder.encode('/', Heartbeat(position))
        assert fields[-2:] == (
            b'behind', bytes(position) if position else b'')
        assert understand(fields) == Heartbeat(position)
    # In other messages it has no meaning.
    assert understand(fields_of(13, behind=b'x')) == AdapterClose()


def test_report_of_a_reader_that_keeps_up() -> None:
    report = Heartbeat(CAUGHT_UP, 'a-reader', read=Position(17, 3))
    fields = encode_unsigned(report)
    # No node counts the writer as a member. Earlier versions only see that
    # the reader does not lag.
    assert fields == (
        b'uid', b'emitter', b'nsp', b'/', b'type', b'2', b'behind', b'',
        b'read', b'17-3', b'reader', b'a-reader')
    assert understand(fields) == report
    assert understand(fields_of(13, read=b'x')) == AdapterClose()


def test_question_for_the_positions_of_readers() -> None:
    fields = encode_unsigned(Heartbeat(asks=True))
    assert fields == (b'uid', b'emitter', b'nsp', b'/', b'type', b'2',
                      b'asks', b'1')
    assert understand(fields) == Heartbeat(asks=True)
    assert understand(fields_of(2, asks=b'')) == Heartbeat()


@pytest.mark.parametrize('position', [
    b'x', b'1', b'-', b'1-', b'-1', b'1-1-1', b'1-x', b' 1-1', b'1-1\n',
    b'9' * 5000 + b'-0', '\u0661-1'.encode()])
def test_invalid_position(position: bytes) -> None:
    for field in 'behind', 'read':
        with pytest.raises(DecodeError):
            understand(fields_of(2, **{field: position}))


# -- bytes, dates, numbers -------------------------------------------------

@pytest.mark.parametrize('value', [
    b'', b'\x00\xff', bytes(range(256)), [b'a'], {'a': {'b': [b'c']}},
    (b'a', 'b'), [1, [2, [b'3']]]])
def test_bytes_are_sent_as_msgpack(value: Any) -> None:
    fields = encoder.encode('/', Broadcast(('event', value)))
    assert not fields[-1].startswith(b'{')
    data = msgpack.unpackb(base64.b64decode(fields[-1], validate=True))
    assert set(data) == {'opts', 'packet'}
    assert data['packet']['nsp'] == '/'
    assert again(value) == plain(value)


@pytest.mark.parametrize('message', [
    FetchSocketsResponse(REQUEST, ({**SOCKET, 'data': {'blob': b'x'}},)),
    ServerSideEmit(('hello', b'x')), ServerSideEmit(('hello', b'x'), REQUEST),
    ServerSideEmitResponse(REQUEST, b'x'),
    BroadcastAck(REQUEST, (b'x', 1)), BroadcastAck(REQUEST, (1, b'x')),
    Broadcast(('hello', b'x'), TARGET, REQUEST)])
def test_bytes_in_each_message_that_may_have_them(message: Any) -> None:
    fields = encoder.encode('/', message)
    assert not fields[-1].startswith(b'{')
    assert understand(fields) == message


def test_bytearray_becomes_bytes() -> None:
    assert again([bytearray(b'abc')]) == [b'abc']


@pytest.mark.parametrize('number', [
    0, -1, 2**31, 2**53 + 1, 2**63, 2**64, -2**63 - 1, 2**200, 1.5, -0.1,
    1e300, 5e-324])
def test_numbers(number: Any) -> None:
    assert again(number) == number


def test_number_too_long_for_msgpack() -> None:
    for number in (2**64 - 1, -2**63):
        assert again([number, b'x']) == [number, b'x']
    for number in (2**64, -2**63 - 1):
        with pytest.raises((TypeError, ValueError)):
            again([number, b'x'])
        # A key is always a string.
        assert again({number: b'x'}) == {str(number): b'x'}


@pytest.mark.parametrize('key, text', [
    (1, '1'), (1.5, '1.5'), (True, 'true'), (None, 'null'),
    (math.inf, 'Infinity')])
def test_keys_are_those_of_json(key: Any, text: str) -> None:
    assert again({key: 'x'}) == {text: 'x'}
    assert again({key: b'x'}) == {text: b'x'}


@pytest.mark.parametrize('value', [
    object(), {1, 2}, [object()], {'a': object()}, 1j,
    datetime.datetime(2024, 1, 1), decimal.Decimal(1), {b'key': 1},
    {(1, 2): 'x'}, {'a': {b'key': 1}}, range(3), msgpack.ExtType(5, b'x')])
@pytest.mark.parametrize('companion', ['text', b'bytes'])
def test_unserialisable_values(value: Any, companion: Any) -> None:
    """It raises here, not on another node."""
    with pytest.raises((TypeError, ValueError)):
        encoder.encode('/', Broadcast(('event', value, companion)))


def test_circular_value() -> None:
    circle: List[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match='deep'):
        again(circle)


def test_json_module_of_the_application() -> None:
    knows_dates = Encoder(UID, DateJSON())
    day = datetime.date(2024, 2, 29)
    for companion in ('text', b'bytes'):
        fields = knows_dates.encode('/', Broadcast(('e', [day], companion)))
        assert understand(fields).args == ('e', ['2024-02-29'], companion)
    with pytest.raises((TypeError, ValueError, AttributeError)):
        knows_dates.encode('/', Broadcast(('e', object(), b'bytes')))


def test_only_plaintext() -> None:
    plaintext = Encoder(UID, only_plaintext=True)
    message = Broadcast(('event', 'text', 1.5))
    assert understand(plaintext.encode('/', message)) == message
    for value in (b'x', [b'x'], bytearray(b'')):
        with pytest.raises(TypeError, match='only_plaintext'):
            plaintext.encode('/', Broadcast(('event', value)))
    with pytest.raises(TypeError, match='only_plaintext'):
        plaintext.encode('/', ServerSideEmit(('event', math.inf)))


def test_only_plaintext_reads_everything() -> None:
    """The option affects only what this node writes."""
    assert again(b'x') == b'x'


# -- events ------------------------------------------------------------------

NAMES = st.text(max_size=5) | st.integers(-9, 2**70)

TARGETS = st.just(EVERYONE) | st.builds(
    Target, st.lists(NAMES, max_size=3).map(tuple),
    st.lists(NAMES, max_size=2).map(tuple),
    st.just({}) | st.just({'volatile': True, 'x': None}))


def outcome(encode: Any) -> Any:
    """What a call returns, or the error that it raises."""
    try:
        return encode()
    except (TypeError, ValueError) as exc:
        return type(exc), str(exc)


@given(st.lists(ANYTHING, max_size=4), TARGETS,
       st.text(max_size=10), st.booleans())
def test_event_is_encoded_as_any_message(
        values: List[Any], target: Target, namespace: str,
        only_plaintext: bool) -> None:
    """Events have a way of their own, with the same bytes and errors."""
    encoder = Encoder(UID, only_plaintext=only_plaintext)
    args = 'name', *values
    for _ in range(2):
        found = outcome(lambda: encoder.event(namespace, args, target))
        expected = outcome(
            lambda: encoder.encode(namespace, Broadcast(args, target)))
        if isinstance(found[0], Broadcast):
            message, fields = found
            assert fields == expected
            assert message.args is args and message.target is target
            assert message.request_id is None
            data = fields[-1]
            if message.text is not None:
                assert f'"data":{message.text},' in data.decode()
            elif data.startswith(b'{'):
                # The encoder in C refuses them as keys, which are text.
                assert any(b'"%b":' % key in data
                           for key in (b'Infinity', b'-Infinity', b'NaN'))
        else:
            assert found == expected


@pytest.mark.parametrize('depth, size, good', [
    (MAX_DEPTH, 1, True), (MAX_DEPTH, COUNTED, True),
    (MAX_DEPTH + 1, 1, False), (MAX_DEPTH + 1, COUNTED, False)])
def test_depth_of_an_event(depth: int, size: int, good: bool) -> None:
    args = 'name', 'x' * size, nested(depth)
    if good:
        message, fields = encoder.event('/', args, EVERYONE)
        assert json.loads(message.text or '') == list(args)
        assert understand(fields) == Broadcast(args)
    else:
        with pytest.raises(ValueError, match='nested'):
            encoder.event('/', args, EVERYONE)


def test_text_is_that_of_pythons_json_only() -> None:
    """Another module may write what a client cannot parse."""
    other = Encoder(UID, DateJSON)
    message, fields = other.event('/', ('a', 1), EVERYONE)
    assert message.text is None
    assert fields == encoder.event('/', ('a', 1), EVERYONE)[1]


def test_event_has_the_uid_of_the_moment() -> None:
    """A process may become a node after it has emitted."""
    own = Encoder('emitter')
    assert own.event('/', ('a',), EVERYONE)[1][1] == b'emitter'
    own.uid = UID
    assert own.event('/', ('a',), EVERYONE)[1][1] == UID.encode()
    assert own.event('/', ('a',), EVERYONE)[1][3] == b'/'


def test_unused_names_take_no_memory(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """A task can emit to any name."""
    monkeypatch.setattr(codec, 'MAX_SHARED', 2)
    own = Encoder('emitter')
    for _ in range(2):
        for number in range(4):
            _, fields = own.event(f'/{number}', ('a',), EVERYONE)
            assert fields[3] == b'/%d' % number
            assert fields[-1].endswith(b'"nsp":"/%d"}}' % number)
        assert len(own._shared) == 2
        # The names that it knows get the new uid.
        own.uid = UID
    assert {uid for uid, *_ in own._shared.values()} == {UID}
