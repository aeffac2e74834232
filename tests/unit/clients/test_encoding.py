"""An event is encoded as packets, with and without an offset."""
import datetime
import itertools
import sys
from typing import Any, List

from hypothesis import given, strategies as st
import pytest
import socketio
from socketio import packet

from redis_streams_adapter.clients.encoding import _encode_text, Encoded, \
    PacketEncoder
from redis_streams_adapter.protocol.position import Position

from ..fake_server import DateJSON, make_server

OFFSET = Position(1700000000000, 12)
LATER = Position(1700000000000, 13)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(
        st.text(), inner), max_leaves=10)


@given(st.sampled_from(['/', '/chat', '/a/b']), st.text(), st.lists(VALUES))
def test_shortcut_encodes_like_packet_class(namespace: str, event: str,
                                            args: List[Any]) -> None:
    data = [event, *args]
    expected = packet.Packet(
        packet.EVENT, namespace=namespace, data=data).encode()
    assert _encode_text(namespace, data) == expected


@pytest.mark.parametrize('value', [
    b'x', bytearray(b'x'), [b'x'], {'a': [1, {'b': b'x'}]}, object()])
def test_shortcut_leaves_bytes_to_packet_class(value: Any) -> None:
    assert _encode_text('/', ['event', value]) is None


def decoded(server: socketio.Server, parts: Any) -> Any:
    """The packets as a client decodes them."""
    first, *rest = [part.data for part in parts]
    result = server.packet_class(encoded_packet=first)
    for part in rest:
        result.add_attachment(part)
    return result


@pytest.fixture(params=['default', 'msgpack'])
def encoder(request: pytest.FixtureRequest) -> PacketEncoder:
    """An encoder for each serializer of python-socketio."""
    return PacketEncoder(make_server(client_manager=socketio.Manager(),
                                     serializer=request.param))


@pytest.mark.parametrize('args', [
    (), ('text',), (1,), (None,), ([],), ({},), ('', 'x', ''), (5, ']'),
    ('"]',), ('\\',), ('\u2603\U0001f600',), (['a', ['b']],),
    ({'a': {'b': 'c'}},), (b'x',), (b'x', 'text'), ({'a': [b'1', b'2']}, 5),
    (1.5, True, 'x', None)], ids=repr)
@pytest.mark.parametrize('namespace', ['/', '/chat'])
def test_packet_is_encoded_with_and_without_offset(
        encoder: PacketEncoder, args: Any, namespace: str) -> None:
    server = encoder._server
    encoded = encoder.encode(namespace, ['hello', *args])
    for _ in range(2):
        plain = decoded(server, encoded.plain())
        assert plain.data == ['hello', *args]
        for offset in (OFFSET, LATER, LATER):
            marked = decoded(server, encoded.marked(offset))
            assert marked.data == ['hello', *args, str(offset)]
            assert (marked.namespace or '/') == namespace
            assert marked.packet_type == plain.packet_type
            assert marked.id is None
    # A client would take even the event's name for an offset.
    assert encoded.ends_in_text is isinstance((args or ('hello',))[-1], str)


def test_packet_is_marked_once_for_each_offset(encoder: PacketEncoder) -> None:
    encoded = encoder.encode('/', ['hello', 1])
    assert encoded.marked(OFFSET) is encoded.marked(OFFSET)
    assert encoded.plain() is encoded.plain()
    assert encoded.marked(OFFSET) is not encoded.marked(LATER)


def test_packet_is_ready_for_offset_once_encoded() -> None:
    """JSON is always ready. Other packets are ready after they were
    encoded."""
    assert Encoded(['2["x"]'], None, False).is_ready(OFFSET)
    encoded = Encoded([b'x'], lambda text: [text.encode()], False)
    assert not encoded.is_ready(OFFSET)
    encoded.prepare(OFFSET)
    assert encoded.is_ready(OFFSET) and not encoded.is_ready(LATER)


def test_concurrent_marking_is_safe() -> None:
    """The reader's task marks a packet without a lock for its clients, and
    another task does for a client that leaves."""
    # Python 3.12 reports opcodes only if a frame requests them before
    # tracing starts.
    sys._getframe().f_trace_opcodes = True
    for moment in itertools.count():
        encoded = Encoded(['2["hello",1]'], lambda text: [text], True)
        moments = itertools.count()

        def other_task(frame: Any, event: str, _: Any) -> Any:
            if frame.f_code is not Encoded.marked.__code__:
                return None
            frame.f_trace_opcodes = True
            if event == 'opcode' and next(moments) == moment:
                sys.settrace(None)
                encoded.marked(LATER)
            return other_task

        former = sys.gettrace()
        sys.settrace(other_task)
        try:
            packet, = encoded.marked(OFFSET)
        finally:
            is_over = sys.gettrace() is not None
            sys.settrace(former)
        if is_over:
            break
        assert packet.data == str(OFFSET)
        for offset in (OFFSET, LATER):
            assert encoded.marked(offset)[0].data == str(offset)
    assert moment > 10


def test_packet_keeps_data_from_time_of_emit(encoder: PacketEncoder) -> None:
    """Later changes by the application do not change the packet."""
    data: Any = {'a': [1, b'x'], 'b': {}}
    encoded = encoder.encode('/', ['hello', data])
    data['a'].append(2)
    data['b']['c'] = 3
    data['d'] = b'y'
    expected = {'a': [1, b'x'], 'b': {}}
    server = encoder._server
    assert decoded(server, encoded.plain()).data == ['hello', expected]
    assert decoded(server, encoded.marked(OFFSET)).data == [
        'hello', expected, str(OFFSET)]


def test_event_with_callback_has_no_offset(encoder: PacketEncoder) -> None:
    """The acknowledgement function would follow the offset."""
    encoded = encoder.encode('/', ['hello', 'text'], 5)
    assert not encoded.ends_in_text
    assert decoded(encoder._server, encoded.plain()).id == 5


@pytest.mark.usefixtures('default_json_module')
def test_value_encoded_as_text_ends_in_text() -> None:
    """A client gets a date, for example, as a string."""
    server = make_server(client_manager=socketio.Manager(), json=DateJSON)
    encoded = PacketEncoder(server).encode(
        '/', ['hello', datetime.date(2020, 1, 2)])
    assert encoded.ends_in_text
    assert decoded(server, encoded.marked(OFFSET)).data == [
        'hello', '2020-01-02', str(OFFSET)]
