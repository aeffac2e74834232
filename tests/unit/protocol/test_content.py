"""The decoding of any content that an entry may have."""
import base64
import json
import struct
from typing import Any, Dict, List, Tuple

import msgpack
import pytest
from hypothesis import example, given, strategies as st
from socketio.packet import EVENT, Packet

from redis_streams_adapter.protocol.codec import open_envelope
from redis_streams_adapter.protocol.content_parts import MAX_NAME
from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.messages import Broadcast, Heartbeat, \
    MessageType
from redis_streams_adapter.protocol.json_parser import MAX_DEPTH
from redis_streams_adapter.protocol.values import LAST_DATE

from .entries import again, ALL, binary, encoder, fields_of, plain, REQUEST, \
    SOCKET, understand


# -- depth -----------------------------------------------------------------

def nested(levels: int, core: Any = 1) -> Any:
    for level in range(levels):
        core = [core] if level % 2 else {'a': core}
    return core


@pytest.mark.parametrize('core', [1, b'x'])
def test_maximum_depth(core: Any) -> None:
    value = nested(MAX_DEPTH, core)
    assert again(value) == value
    Packet(EVENT, data=['event', value], namespace='/').encode()
    with pytest.raises(ValueError, match='deep'):
        again(nested(MAX_DEPTH + 1, core))


def broadcast_with(value: bytes) -> bytes:
    return (b'{"opts":{"rooms":[],"except":[],"flags":{}},"packet":'
            b'{"type":2,"nsp":"/","data":["e",%s]}}' % value)


def test_too_deep_json() -> None:
    for levels in (MAX_DEPTH, MAX_DEPTH + 1, 1000, 100_000):
        data = broadcast_with(b'[' * levels + b']' * levels)
        fields = fields_of(3, data=data)
        if levels == MAX_DEPTH:
            assert len(understand(fields).args) == 2
        else:
            with pytest.raises(DecodeError):
                understand(fields)


def test_many_brackets_without_depth() -> None:
    data = broadcast_with(b'[' + b'[],' * 1000 + b'{}]')
    assert len(understand(fields_of(3, data=data)).args[1]) == 1001


def test_too_deep_msgpack() -> None:
    for levels in (MAX_DEPTH + 1, 400, 100_000):
        # Lists in lists without an end: the depth is exceeded earlier.
        packed = msgpack.packb({'opts': ALL, 'packet': {
            'type': 2, 'nsp': '/', 'data': ['e', 'X']}})
        packed = packed.replace(b'\xa1X', b'\x91' * levels + b'\x01')
        with pytest.raises(DecodeError):
            understand(fields_of(3, data=base64.b64encode(packed)))


# -- malformed entries -------------------------------------------------------

@pytest.mark.parametrize('fields', [
    [], [b'uid'], fields_of(2)[2:], fields_of(2)[:2] + fields_of(2)[4:],
    fields_of(2)[:4], fields_of(2)[:5],
    *(fields_of(2, **{name: value})
      for name in ('uid', 'nsp') for value in (
          b'', b'\xff', b'\xed\xa0\x80', b'x' * (MAX_NAME + 1))),
    *(fields_of(2, type=kind) for kind in (
        b'', b'0', b'14', b'-1', b'02', b' 2', b'2 ', b'2.0', b'x', b'\xb2',
        '\u0662'.encode(), b'2' * 10_000)),
    *(fields_of(2, wid=b'abc', seq=number) for number in (
        b'', b'x', b'-1', b'1.0', b' 1', '\u0661'.encode(), b'9' * 20,
        b'9' * 5000)),
    fields_of(2, wid=b'abc'), fields_of(2, wid=b'', seq=b'1'),
    fields_of(2, wid=b'x' * (MAX_NAME + 1), seq=b'1'),
])
def test_invalid_envelopes(fields: List[bytes]) -> None:
    with pytest.raises(DecodeError):
        open_envelope(fields)


def test_long_names_that_are_accepted() -> None:
    name = b'x' * MAX_NAME
    envelope = open_envelope(
        fields_of(2, uid=name, nsp=name, wid=name, seq=b'9' * 19))
    assert envelope.uid == envelope.namespace == name.decode()


EVENT_PACKET = {'type': 2, 'data': ['a'], 'nsp': '/'}

#: A type, and data that are invalid for it.
WRONG: List[Tuple[int, Any]] = [
    *((number, data) for number in range(3, 13)
      for data in ({}, {'opts': 1}, {'packet': 1}, {'requestId': 1})),
    *((3, {'opts': opts, 'packet': EVENT_PACKET}) for opts in (
        None, [], 'x', {}, {'rooms': []}, {'except': []},
        {'rooms': 'x', 'except': []}, {'rooms': [], 'except': {}},
        {'rooms': [None], 'except': []}, {'rooms': [[]], 'except': []},
        {'rooms': [True], 'except': []}, {'rooms': [1.5], 'except': []},
        {'rooms': [], 'except': [{}]},
        {'rooms': [], 'except': [], 'flags': []},
        {'rooms': [], 'except': [], 'flags': 1})),
    *((3, {'opts': ALL, 'packet': packet}) for packet in (
        None, [], 'x', {}, {**EVENT_PACKET, 'type': 0},
        {**EVENT_PACKET, 'type': 3}, {**EVENT_PACKET, 'type': '2'},
        {**EVENT_PACKET, 'type': [2]}, {**EVENT_PACKET, 'data': None},
        {**EVENT_PACKET, 'data': []}, {**EVENT_PACKET, 'data': 'x'},
        {**EVENT_PACKET, 'data': {'0': 'x'}},
        {**EVENT_PACKET, 'data': [None]}, {**EVENT_PACKET, 'data': [['x']]},
        {**EVENT_PACKET, 'data': [1.5]})),
    *((3, {'opts': ALL, 'packet': EVENT_PACKET, 'requestId': request})
      for request in ('', 1, [], {}, False, 'x' * (MAX_NAME + 1))),
    *((number, {'opts': ALL, 'rooms': rooms}) for number in (4, 5)
      for rooms in (None, 'x', {}, [None], [[]], [False])),
    *((6, {'opts': ALL, 'close': close}) for close in (0, 1, 'yes', [])),
    *((8, {'requestId': REQUEST, 'sockets': sockets}) for sockets in (
        None, {}, 'x', [1], [{}], [{**SOCKET, 'id': 1}],
        [{**SOCKET, 'handshake': None}], [{**SOCKET, 'rooms': 'x'}],
        [SOCKET, None])),
    *((9, {'packet': packet}) for packet in (None, [], 'x', {}, [None])),
    *((11, {'requestId': REQUEST, 'clientCount': count}) for count in (
        None, -1, 1.0, '1', True, [])),
    (12, {'requestId': REQUEST, 'args': 1}),
    (12, {'requestId': REQUEST, 'args': {}}),
]


@pytest.mark.parametrize('number, data', WRONG)
def test_wrong_data(number: int, data: Any) -> None:
    for fields in (fields_of(number, data),
                   fields_of(number, data=binary(data))):
        with pytest.raises(DecodeError):
            understand(fields)


@pytest.mark.parametrize('number', range(3, 13))
@pytest.mark.parametrize('data', [
    b'', b'{', b'{}x', b'{"a":}', b'{"a":' + b'9' * 5000 + b'}', b'{\xff}',
    b'\xff', b'x', b'====', b'AAA', b'gg==', b'[]', b'null', b'"{"',
    base64.b64encode(b''), base64.b64encode(b'\xc1'),
    base64.b64encode(msgpack.packb([1])), base64.b64encode(b'\x80\x80'),
    base64.b64encode(b'\xdf\xff\xff\xff\xff'),
    base64.b64encode(b'\x81\x90\x01'),
    base64.b64encode(b'\x81\xa1a\xa1\xff')])
def test_data_that_are_null(number: int, data: bytes) -> None:
    with pytest.raises(DecodeError):
        understand(fields_of(number, data=data))


@pytest.mark.parametrize('value', [
    msgpack.ExtType(1, b'x'), {b'key': 1}, {'a': {b'key': 1}},
    msgpack.Timestamp(LAST_DATE + 1), msgpack.Timestamp(-LAST_DATE - 1),
    msgpack.Timestamp(2**62), msgpack.Timestamp(-2**62)])
def test_arguments_that_no_client_can_receive(value: Any) -> None:
    data = {'opts': ALL, 'packet': {**EVENT_PACKET, 'data': ['a', value]}}
    with pytest.raises(DecodeError):
        understand(fields_of(3, data=binary(data)))


def test_error_does_not_contain_the_payload() -> None:
    for fields in (fields_of(2, type=b'geheim'), fields_of(3, data=b'geheim'),
                   fields_of(3, data=b'{"geheim": geheim'),
                   fields_of(3, {'opts': 'geheim'}),
                   fields_of(8, {'requestId': REQUEST,
                                 'sockets': [{'id': ['geheim']}]})):
        with pytest.raises(DecodeError) as caught:
            understand(fields)
        assert 'geheim' not in str(caught.value)


@pytest.mark.parametrize('namespace', ['', 'x' * (MAX_NAME + 1), '\ud800'])
def test_names_that_cannot_be_sent(namespace: str) -> None:
    with pytest.raises(ValueError):
        encoder.encode(namespace, Heartbeat())


# -- arbitrary content -------------------------------------------------------

keys = st.one_of(st.text(max_size=5), st.integers(-10**6, 10**6),
                 st.booleans(), st.none(), st.floats(allow_nan=False))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-2**63, 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20), st.binary(max_size=20),
    st.binary(max_size=20).map(bytearray))
values = st.recursive(scalars, lambda children: st.one_of(
    st.lists(children, max_size=4),
    st.lists(children, max_size=4).map(tuple),
    st.dictionaries(keys, children, max_size=4)), max_leaves=10)


@given(values)
@example([b'', {1: 1, '1': 2}])
@example({'a': '\ud800'})
def test_every_accepted_value_arrives(value: Any) -> None:
    assert again(value) == plain(value)


names = st.sampled_from([b'uid', b'nsp', b'type', b'data', b'wid', b'seq',
                         b'behind', b'read', b'asks'])
kinds = st.sampled_from([b'%d' % number for number in range(15)])
jsons = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(),
              st.text(st.characters(codec=None), max_size=5)),
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.dictionaries(st.text(max_size=5), children, max_size=4)),
    max_leaves=10)
#: Anything that msgpack can express: this package would not write it.
packables = st.recursive(
    st.one_of(scalars, st.builds(msgpack.ExtType, st.integers(0, 127),
                                 st.binary(max_size=16)),
              st.builds(msgpack.Timestamp, st.integers(-2**63, 2**63 - 1),
                        st.integers(0, 10**9 - 1))),
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.dictionaries(st.one_of(keys, st.binary(max_size=3)), children,
                        max_size=4)), max_leaves=10)


def known(children: Any) -> Any:
    """Mappings that look like the data of messages."""
    opts = st.fixed_dictionaries({}, optional={
        'rooms': children | st.lists(children), 'flags': children,
        'except': children | st.lists(children)})
    packet = st.fixed_dictionaries({}, optional={
        'type': st.sampled_from([2, 5]) | children,
        'data': st.lists(children, min_size=1) | children, 'nsp': children})
    event = st.builds(
        lambda args, opts: {'packet': {'type': 2, 'data': ['e', *args],
                                       'nsp': '/'}, 'opts': opts},
        st.lists(children), opts | st.just(ALL))
    return event | st.fixed_dictionaries({}, optional={
        'opts': opts | children, 'packet': packet | children,
        'requestId': st.just(REQUEST) | children,
        'rooms': st.lists(children) | children, 'close': children,
        'sockets': st.lists(children) | children,
        'clientCount': children, 'args': st.lists(children) | children})


def check_decoding(fields: List[bytes]) -> None:
    """A message or a DecodeError; and an event for clients can be sent."""
    try:
        message = understand(fields)
    except DecodeError as exc:
        assert str(exc)
        return
    assert message.type in MessageType
    if isinstance(message, Broadcast):
        encoded = Packet(EVENT, data=list(message.args), namespace='/x',
                         id=1).encode()
        assert encoded


@given(st.lists(st.binary(max_size=50) | names))
def test_any_fields(fields: List[bytes]) -> None:
    check_decoding(fields)


@given(st.dictionaries(names, st.binary(max_size=50) | kinds))
def test_any_values_of_the_fields(fields: Dict[bytes, bytes]) -> None:
    check_decoding([each for pair in fields.items() for each in pair])


@given(kinds, st.binary(max_size=200))
def test_any_data(kind: bytes, data: bytes) -> None:
    check_decoding(fields_of(0, type=kind, data=data))
    check_decoding(fields_of(0, type=kind, data=b'{' + data))
    check_decoding(fields_of(0, type=kind, data=base64.b64encode(data)))


@given(kinds, jsons | known(jsons))
@example(b'3', {'opts': ALL, 'packet': {
    'type': 2, 'nsp': '/', 'data': ['e', '\ud800', 1e400]}})
def test_any_json(kind: bytes, data: Any) -> None:
    check_decoding(fields_of(0, type=kind, data=json.dumps(data).encode()))


@given(kinds, packables | known(packables))
def test_any_msgpack(kind: bytes, data: Any) -> None:
    check_decoding(fields_of(0, type=kind, data=binary(data)))


@given(kinds, known(packables), st.data())
def test_damaged_msgpack(kind: bytes, data: Any, draw: Any) -> None:
    packed = bytearray(msgpack.packb(data))
    position = draw.draw(st.integers(0, len(packed) - 1))
    packed[position] = draw.draw(st.integers(0, 255))
    check_decoding(fields_of(0, type=kind, data=base64.b64encode(packed)))


@given(st.integers(-2**63, 2**63 - 1), st.integers(0, 2**32 - 1))
@example(253_402_300_799, 999_999_999)
@example(-62_135_596_800, 0)
@example(LAST_DATE, 0)
@example(-LAST_DATE, 0)
def test_any_date(seconds: int, nanoseconds: int) -> None:
    """The extension's longest form exceeds the range of dates."""
    packed = msgpack.packb({'opts': ALL, 'packet': {
        'type': 2, 'nsp': '/', 'data': ['e', 'X']}})
    stamp = b'\xc7\x0c\xff' + struct.pack('>Iq', nanoseconds, seconds)
    check_decoding(fields_of(3, data=base64.b64encode(
        packed.replace(b'\xa1X', stamp))))
