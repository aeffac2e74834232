"""Messages in the form used over PUB/SUB, decoded from any bytes."""
from typing import Any, Dict

import msgpack
import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.protocol.codec import Encoder, Packed, unpack
from redis_streams_adapter.protocol.content_parts import MAX_NAME
from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.messages import Broadcast, BroadcastAck, \
    BroadcastClientCount, EVERYONE, FetchSockets, FetchSocketsResponse, \
    MessageType, ServerSideEmit, ServerSideEmitResponse, Target

from .test_codec import WIRE

encoder = Encoder('me')

OURS = Application('socket.io', 0)

ALL = {'rooms': [], 'except': [], 'flags': {}}

#: A request as Node.js packs it.
REQUEST = {'uid': 'a', 'nsp': '/', 'type': 7,
           'data': {'opts': ALL, 'requestId': 'r'}}


def packed(**others: Any) -> bytes:
    """A request with some changes."""
    data = {**REQUEST, **others}
    return bytes(msgpack.packb(
        {name: value for name, value in data.items() if value is not ...}))


@pytest.mark.parametrize('message, number, data', [
    each for each in WIRE if each[2] is not None])
def test_data_are_as_in_the_stream(message: Any, number: int,
                                   data: Dict[str, Any]) -> None:
    """The whole message is packed, with the same data."""
    raw = encoder.pack('/chat', message, OURS)
    assert msgpack.unpackb(raw) == {
        'uid': 'me', 'nsp': '/chat', 'app': OURS.name, 'type': number,
        'data': data}
    assert unpack(raw, OURS) == Packed('me', '/chat', message)


@pytest.mark.parametrize('message', [
    Broadcast(('event', b'\x00\xff'), EVERYONE, 'r'),
    FetchSocketsResponse('r', ({
        'id': 's', 'handshake': {}, 'rooms': ['s'], 'data': b'\x01'},)),
    ServerSideEmit(('event', {'a': [b'\x01']}), 'r'),
    ServerSideEmitResponse('r', b''), BroadcastAck('r', (b'\x01', 2)),
    FetchSockets(Target(('ä', 5), ('x',)), 'r'),
    BroadcastClientCount('r', 0)])
def test_bytes(message: Any) -> None:
    assert unpack(encoder.pack('/', message, OURS), OURS) == Packed(
        'me', '/', message)


@pytest.mark.parametrize('name', ['a' * MAX_NAME, 'Zoë 🎉'])
def test_names(name: str) -> None:
    message = unpack(packed(uid=name, nsp=name), OURS)
    assert message is not None and message[:2] == (name, name)


@pytest.mark.parametrize('others', [
    {'uid': ...}, {'uid': ''}, {'uid': 5}, {'uid': b'a'},
    {'uid': 'a' * (MAX_NAME + 1)}, {'nsp': ...}, {'nsp': ''}, {'nsp': None},
    {'nsp': '/' * (MAX_NAME + 1)}, {'type': ...}, {'type': 0}, {'type': 14},
    {'type': 1}, {'type': 2}, {'type': 13}, {'type': '7'}, {'type': [7]},
    {'type': {}}, {'type': float('nan')}, {'type': True}, {'data': ...},
    {'data': None}, {'data': []}, {'data': 'x'}, {'data': {}},
    {'data': {'opts': ALL}}, {'data': {'requestId': 'r'}},
    {'data': {'opts': ALL, 'requestId': 5}},
    {'data': {'opts': ALL, 'requestId': ''}}])
def test_malformed(others: Dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        unpack(packed(**others), OURS)


@pytest.mark.parametrize('name', [
    Application('other', 0).name, Application('socket.io', 1).name, '', 0,
    False, [], {}, b'', OURS.name.encode()], ids=repr)
@pytest.mark.parametrize('others', [
    {}, {'uid': 5}, {'type': 13}, {'data': None}], ids=repr)
def test_message_of_another_application(name: Any,
                                        others: Dict[str, Any]) -> None:
    """Valid or not, it is ignored."""
    assert unpack(packed(app=name, **others), OURS) is None


@pytest.mark.parametrize('name', [..., None, OURS.name])
def test_message_of_this_application(name: Any) -> None:
    """Or of one that does not name itself: Node.js, or an older version."""
    message = unpack(packed(app=name), OURS)
    assert message is not None and message.uid == 'a'


@pytest.mark.parametrize('raw', [
    b'', b'\xc0', b'\x01', b'\x90', b'\xc1', packed()[:-1], packed() + b'x',
    b'{"uid":"a"}', b'\xdf\xff\xff\xff\xff', b'\x91' * 2000])
def test_packed_value_that_is_no_mapping(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack(raw, OURS)


def check(raw: bytes) -> None:
    """The result is a message or a DecodeError, and nothing else."""
    try:
        heard = unpack(raw, OURS)
    except DecodeError:
        return
    assert heard is not None
    uid, namespace, message = heard
    assert uid and namespace
    assert isinstance(message.type, MessageType)
    # A message that one node understands is understood by every node.
    again = unpack(Encoder(uid).pack(namespace, message, OURS), OURS)
    assert again is not None and again[:2] == (uid, namespace)


@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    check(raw)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2**63, 2**64 - 1) | st.floats()
    | st.text(max_size=5) | st.binary(max_size=5)
    | st.builds(msgpack.Timestamp, st.integers(-2**63, 2**63 - 1),
                st.integers(0, 10**9 - 1)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.text(max_size=5), inner, max_size=3), max_leaves=8)

opts = st.fixed_dictionaries({
    'rooms': st.lists(st.text(max_size=3) | values, max_size=2),
    'except': st.lists(st.integers(0, 5), max_size=2)},
    optional={'flags': values}) | values

data_of_any_type = st.fixed_dictionaries({}, optional={
    'opts': opts, 'requestId': st.text(max_size=3) | values,
    'packet': st.fixed_dictionaries({
        'type': st.sampled_from([2, 5]), 'data': st.lists(values)})
    | st.lists(values) | values,
    'rooms': st.lists(st.text(max_size=3), max_size=2) | values,
    'close': values, 'clientCount': st.integers() | values,
    'args': st.lists(values) | values,
    'sockets': st.lists(st.fixed_dictionaries({
        'id': st.text(max_size=3), 'handshake': st.just({}) | values,
        'rooms': st.lists(st.text(max_size=3), max_size=2)}), max_size=2)
    | values})


@given(st.integers(0, 15) | values, data_of_any_type | values)
def test_any_data(kind: Any, data: Any) -> None:
    try:
        raw = packed(type=kind, data=data)
    except (OverflowError, ValueError):
        return  # an integer too large for msgpack
    check(raw)


def test_values_that_cannot_be_packed() -> None:
    for value in object(), {b'key': 1}, msgpack.ExtType(5, b'x'):
        with pytest.raises(TypeError):
            encoder.pack('/', ServerSideEmit(('event', value), 'r'), OURS)
    with pytest.raises(ValueError):
        encoder.pack('/', ServerSideEmit(('event', 2**64), 'r'), OURS)
    with pytest.raises(TypeError):
        Encoder('me', only_plaintext=True).pack(
            '/', ServerSideEmit(('event', b''), 'r'), OURS)


@pytest.mark.parametrize('namespace', ['', '/' * (MAX_NAME + 1)])
def test_namespace_that_no_node_would_accept(namespace: str) -> None:
    with pytest.raises(ValueError):
        encoder.pack(namespace, FetchSockets(EVERYONE, 'r'), OURS)
