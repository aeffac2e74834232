"""The bytes of an event are taken out as the packet class of python-socketio
does it, of exactly the events that it accepts."""
import base64
import json
import math
from typing import Any, Dict, List

import msgpack
import pytest
from hypothesis import given, strategies as st
from socketio.packet import EVENT, Packet

from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.content import read_broadcast
from redis_streams_adapter.protocol.event_bytes import take_out, unpack_event
from redis_streams_adapter.protocol.json_parser import MAX_DEPTH
from redis_streams_adapter.protocol.messages import Broadcast, EVERYONE, \
    Target
from redis_streams_adapter.protocol.values import load_base64, \
    without_nonfinite

from .entries import binary
from .test_content import packables

ROOM = Target(('room', 5), ('sid',))

OPTS: Dict[str, Any] = {'rooms': [], 'except': [], 'flags': {}}


def event(*args: Any, opts: Any = OPTS, **packet: Any) -> Dict[str, Any]:
    return {'opts': opts, 'packet': {
        'type': 2, 'data': ['e', *args], 'nsp': '/', **packet}}


def unpacked(data: bytes) -> Broadcast:
    message = unpack_event(data)
    assert message is not None
    return message


def whole(data: bytes) -> Any:
    """The message, read as a whole."""
    content = without_nonfinite(load_base64(data))
    if not isinstance(content, dict):
        raise DecodeError('not a mapping')
    return read_broadcast(content)


@pytest.mark.parametrize('target', [EVERYONE, ROOM])
@pytest.mark.parametrize('args', [
    (b'x',), (b'', 1, {'a': [b'\xff', None]}), ([[b'1'], b'2'], b'3')])
def test_event_is_taken_apart(args: Any, target: Target) -> None:
    data = Encoder('x').encode('/chat', Broadcast(('e', *args), target))[-1]
    message = unpacked(data)
    assert message.target == target
    assert message.request_id is None
    message.read()
    first, *rest = Packet(
        EVENT, data=['e', *args], namespace='/').encode()
    assert message.text == first[first.index('-') + 1:]
    assert message.attachments == tuple(rest)
    assert message.args == ('e', *args)
    assert message.args is message.args
    assert message == Broadcast(('e', *args), target)


def test_dates_infinity_and_keys() -> None:
    """As JSON has them."""
    args = [msgpack.Timestamp(0), {'a': msgpack.Timestamp(1)}, math.inf,
            [math.nan], {1: 1.5, None: True}]
    message = unpacked(binary(event(*args)))
    message.read()
    assert message.text is not None
    assert json.loads(message.text) == [
        'e', '1970-01-01T00:00:00.000Z', {'a': '1970-01-01T00:00:01.000Z'},
        None, [None], {'1': 1.5, 'null': True}]
    assert message.attachments == ()
    assert list(message.args) == json.loads(message.text)


@pytest.mark.parametrize('args', [
    (msgpack.ExtType(5, b'x'),), ({b'key': 1},), ({'a': {b'key': b'x'}},),
    (msgpack.Timestamp(2**60),)])
def test_arguments_are_validated_when_they_are_needed(args: Any) -> None:
    message = unpacked(binary(event(*args)))
    assert message.target == EVERYONE
    for _ in range(2):
        with pytest.raises(DecodeError):
            message.read()
        assert message.text is None and message.attachments == ()
        with pytest.raises(DecodeError):
            message.args


@pytest.mark.parametrize('packed', [
    [], 'e', {}, None, [None], [[1]], [1.5], [b'e']])
def test_event_without_name(packed: Any) -> None:
    message = unpacked(binary(event(data=packed)))
    with pytest.raises(DecodeError, match='name'):
        message.read()


def test_depth() -> None:
    """As deep as in the whole message."""
    for levels in (MAX_DEPTH, MAX_DEPTH + 1):
        value: Any = b'x'
        for _ in range(levels):
            value = [value]
        message = unpacked(binary(event(value)))
        if levels == MAX_DEPTH:
            message.read()
            whole(binary(event(value)))
        else:
            with pytest.raises(DecodeError, match='deep'):
                message.read()
            with pytest.raises(DecodeError, match='deep'):
                whole(binary(event(value)))


def test_what_is_taken_out_is_not_changed() -> None:
    value = [b'x', {'a': [math.inf]}]
    found: List[bytes] = []
    assert take_out(value, 9, found) == [
        {'_placeholder': True, 'num': 0}, {'a': [None]}]
    assert value == [b'x', {'a': [math.inf]}]
    assert found == [b'x']


@pytest.mark.parametrize('data', [
    b'', b'!', b'x', base64.b64encode(b'\xc1'), base64.b64encode(b'\x81')])
def test_malformed_data(data: bytes) -> None:
    if data:
        with pytest.raises(DecodeError):
            unpack_event(data)


@pytest.mark.parametrize('content', [
    1, [], {}, {'opts': OPTS}, {'opts': 5, 'packet': 5},
    event(opts={'rooms': [], 'except': []}), event(opts={**OPTS, 'more': 1}),
    event(opts={**OPTS, 'flags': {'volatile': True}}),
    event(opts={**OPTS, 'rooms': [True]}), event(opts={**OPTS, 'rooms': 'x'}),
    event(opts={**OPTS, 'except': [b'x']}), event(nsp=5), event(type=3),
    event(type=[]), event(more=1), {**event(), 'requestId': 'x'},
    {**event(), 'more': msgpack.ExtType(5, b'x')}])
def test_anything_else_is_read_as_a_whole(content: Any) -> None:
    assert unpack_event(binary(content)) is None


# -- any data ----------------------------------------------------------------

CONTENTS = st.builds(
    lambda args, rooms, flags, packet, more: {
        'opts': {'rooms': rooms, 'except': [], 'flags': flags},
        'packet': {'type': 2, 'data': args, **packet}, **more},
    st.lists(packables, max_size=4).map(lambda args: ['e', *args]) | packables,
    st.lists(st.text(max_size=3) | st.integers(0, 9), max_size=3) | packables,
    st.just({}) | packables,
    st.just({}) | st.just({'nsp': '/'}) | st.dictionaries(
        st.sampled_from(['nsp', 'type', 'more']), packables),
    st.just({}) | st.dictionaries(
        st.sampled_from(['requestId', 'more']), packables))


@given(CONTENTS)
def test_what_is_unpacked_is_what_the_whole_data_hold(content: Any) -> None:
    data = binary(content)
    message = unpack_event(data)
    if message is None:
        return
    try:
        expected = whole(data)
    except DecodeError:
        with pytest.raises(DecodeError):
            message.read()
        return
    message.read()
    assert message.text is not None
    assert message.target == expected.target
    assert repr(message.args) == repr(expected.args)
    encoded = Packet(EVENT, data=list(expected.args), namespace='/').encode()
    if isinstance(encoded, str):
        encoded = [encoded]
    else:
        assert encoded[0].startswith(f'5{len(encoded) - 1}-')
    assert encoded[0].endswith(message.text)
    assert tuple(encoded[1:]) == message.attachments
