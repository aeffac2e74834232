"""An event is encoded as packets, with and without an offset."""
import datetime
import itertools
import json
import sys
from typing import Any, List, Optional

from hypothesis import given, strategies as st
import pytest
import socketio
from socketio import packet

from redis_streams_adapter.clients.encoding import Encoded, PacketEncoder
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.event_bytes import unpack_event
from redis_streams_adapter.protocol.messages import Broadcast
from redis_streams_adapter.protocol.position import Position

from ..fake_server import DateJSON, make_server

OFFSET = Position(1700000000000, 12)
LATER = Position(1700000000000, 13)

#: With python-socketio's packets and JSON.
SHORTCUT = PacketEncoder(make_server(client_manager=socketio.Manager()))

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(
        st.text(), inner), max_leaves=10)


@given(st.sampled_from(['/', '/chat', '/a/b']), st.text(), st.lists(VALUES),
       st.sampled_from([None, 0, 17]))
def test_shortcut_encodes_like_packet_class(
        namespace: str, event: str, args: List[Any],
        ack_id: Optional[int]) -> None:
    data = [event, *args]
    encoded = SHORTCUT.encode(namespace, Broadcast(tuple(data)), ack_id)
    assert encoded.parts == [packet.Packet(
        packet.EVENT, namespace=namespace, data=data, id=ack_id).encode()]
    # A client would take a last text for an offset.
    assert encoded.ends_in_text is (
        ack_id is None and isinstance(data[-1], str))


@pytest.mark.parametrize('value', [
    b'x', [b'x'], {'a': [1, {'b': b'x'}]}])
def test_shortcut_leaves_bytes_to_packet_class(value: Any) -> None:
    encoded = SHORTCUT.encode('/', Broadcast(('event', value)))
    assert encoded.parts == packet.Packet(
        packet.EVENT, data=['event', value]).encode()


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
    encoded = encoder.encode(namespace, Broadcast(('hello', *args)))
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


@pytest.mark.parametrize('namespace', ['/', '/chat'])
@pytest.mark.parametrize('ack_id', [None, 7])
@pytest.mark.parametrize('args', [('hello',), ('hello', 'x'),
                                  ('hello', 1, {'a': ['\u2603']})])
def test_text_of_event_is_sent_as_it_is(
        encoder: PacketEncoder, namespace: str, ack_id: Optional[int],
        args: Any) -> None:
    """Or its arguments are encoded again, as a packet of another kind."""
    text = json.dumps(args, separators=(',', ':'), ensure_ascii=False)
    message = Broadcast(None, text=text)
    encoded = encoder.encode(namespace, message, ack_id)
    known = encoder.encode(namespace, Broadcast(args), ack_id)
    server = encoder._server
    plain = decoded(server, encoded.plain())
    assert plain.data == [*args]
    assert (plain.namespace or '/', plain.id) == (namespace, ack_id)
    assert encoded.ends_in_text is known.ends_in_text
    assert decoded(server, encoded.marked(OFFSET)).data == [
        *args, str(OFFSET)]
    if server.packet_class is packet.Packet:
        assert encoded.parts[0].endswith(text)


@pytest.mark.parametrize('namespace', ['/', '/chat'])
def test_bytes_that_were_taken_out_are_sent_as_attachments(
        encoder: PacketEncoder, namespace: str) -> None:
    args = ('hello', b'x', {'a': [b'', 5]}, 'text')
    message = unpack_event(Encoder('x').encode('/', Broadcast(args))[-1])
    assert message is not None
    encoded = encoder.encode(namespace, message)
    known = encoder.encode(namespace, Broadcast(args))
    assert encoded.parts == known.parts
    assert encoded.ends_in_text and known.ends_in_text
    for parts in (encoded, known):
        marked = decoded(encoder._server, parts.marked(OFFSET))
        assert marked.data == [*args, str(OFFSET)]
        assert (marked.namespace or '/') == namespace


@pytest.mark.usefixtures('default_json_module')
def test_other_json_module_encodes_arguments() -> None:
    server = make_server(client_manager=socketio.Manager(), json=DateJSON)
    encoded = PacketEncoder(server).encode(
        '/', Broadcast(('hello', datetime.date(2020, 1, 2)), text='["no"]'))
    assert decoded(server, encoded.plain()).data == ['hello', '2020-01-02']


def test_packet_is_marked_once_for_each_offset(encoder: PacketEncoder) -> None:
    encoded = encoder.encode('/', Broadcast(('hello', 1)))
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
    encoded = encoder.encode('/', Broadcast(('hello', data)))
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
    encoded = encoder.encode('/', Broadcast(('hello', 'text')), 5)
    assert not encoded.ends_in_text
    assert decoded(encoder._server, encoded.plain()).id == 5


@pytest.mark.usefixtures('default_json_module')
def test_value_encoded_as_text_ends_in_text() -> None:
    """A client gets a date, for example, as a string."""
    server = make_server(client_manager=socketio.Manager(), json=DateJSON)
    encoded = PacketEncoder(server).encode(
        '/', Broadcast(('hello', datetime.date(2020, 1, 2))))
    assert encoded.ends_in_text
    assert decoded(server, encoded.marked(OFFSET)).data == [
        'hello', '2020-01-02', str(OFFSET)]
