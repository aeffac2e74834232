"""The text of an event is passed on as it came, if it is exactly that of the
message that the whole data hold."""
import json
from typing import Any, Dict, List, Optional

import pytest
from hypothesis import given, HealthCheck, settings, strategies as st

from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol import event_text, json_parser
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.content import read_broadcast
from redis_streams_adapter.protocol.event_text import find_event, FRAMES, \
    LONGEST
from redis_streams_adapter.protocol.json_parser import load_json, MAX_DEPTH
from redis_streams_adapter.protocol.messages import Broadcast, EVERYONE, \
    Target

from ..examples import examples
from .test_json_parser import JSON, PIECES

pytestmark = pytest.mark.usefixtures('parser')

ROOM = Target(('room', 5), ('sid',), {'volatile': True})

OPTS: Dict[str, Any] = {'rooms': [], 'except': [], 'flags': {}}


def python_data(*args: Any, target: Target = EVERYONE,
                namespace: str = '/') -> bytes:
    return Encoder('x').encode(namespace, Broadcast(args, target))[-1]


def node_data(*args: Any, opts: Dict[str, Any] = OPTS, **packet: Any
              ) -> bytes:
    """As the adapter for Node.js writes it: ``JSON.stringify``."""
    return json.dumps({
        'packet': {'type': 2, 'data': args, **packet}, 'opts': opts},
        ensure_ascii=False, separators=(',', ':')).encode()


def found(data: bytes) -> Broadcast:
    message = find_event(data)
    assert message is not None
    return message


@pytest.mark.parametrize('target', [EVERYONE, ROOM])
@pytest.mark.parametrize('namespace', ['/', '/chat', '/a"b\\', '/\u2603'])
@pytest.mark.parametrize('args', [
    ('hello',), ('hello', 1, {'a': [None]}), ('\u2603', ']},"opts":{'),
    ('a', '],"nsp":"/"}}'), ('a', '"data":['), ('a', {'data': [1]}),
    ('a', {'x': [{'packet': {'data': [1], 'nsp': '/'}}]}), ('a', 'NaN')])
def test_event_of_python(args: Any, namespace: str, target: Target) -> None:
    message = found(python_data(*args, target=target, namespace=namespace))
    assert message.target == target
    assert message.request_id is None
    assert message.args == args
    assert message.text == json.dumps(args, separators=(',', ':'))


@pytest.mark.parametrize('packet', [{}, {'nsp': '/'}])
@pytest.mark.parametrize('args', [
    ('hello',), ('hello', 1, {'a': [None]}), ('\u2603', ']},"opts":{'),
    ('a', {'x': [{'packet': {'data': [1]}, 'opts': OPTS}]})])
def test_event_of_node(args: Any, packet: Any) -> None:
    data = node_data(*args, opts={**OPTS, 'rooms': ['a']}, **packet)
    message = find_event(data)
    if packet:
        # It is read as a whole.
        assert message is None
        return
    assert message is not None
    assert message.target == Target(('a',))
    assert message.args == args
    assert message.text == json.dumps(
        args, ensure_ascii=False, separators=(',', ':'))


def test_everyone_is_a_shared_target() -> None:
    assert found(python_data('a')).target is EVERYONE


def test_event_with_bytes_is_unpacked() -> None:
    message = found(python_data('a', b'x', target=Target(('room',))))
    assert message == Broadcast(('a', b'x'), Target(('room',)))
    assert message.attachments == (b'x',)
    with pytest.raises(DecodeError):
        find_event(b'nonsense')


def test_text_is_read_when_it_is_needed() -> None:
    data = python_data('hello', 1).replace(b'"hello",1', b'"hello",nonsense')
    message = found(data)
    assert message.target is EVERYONE
    for _ in range(2):
        with pytest.raises(DecodeError):
            message.read()
        assert message.text is None
        with pytest.raises(DecodeError):
            message.args


@pytest.mark.parametrize('data', [
    b'{', b'{}', b'{"data":[],"nsp":"', b'{],"nsp":"',
    b'{"data":["a"],"nsp":"/"}',
    python_data('a').replace(b'"rooms":[]', b'"rooms":[null]'),
    python_data('a').replace(b'"rooms":[]', b'"rooms":[NaN]'),
    python_data('a').replace(b'"rooms":[]', b'"rooms":[1.0]'),
    python_data('a').replace(b'"rooms":[]', b'"rooms":[01]'),
    python_data('a').replace(b'"flags":{}', b'"flags":{"a":1e999}'),
    python_data('a').replace(b'"flags":{}', b'"flags":{"data":["b"]}'),
    python_data('a').replace(b'"type":2', b'"type":3'),
    python_data('a').replace(b'"nsp":"/"', b'"nsp":"\xff"'),
    python_data('a').replace(b'"nsp":"/"', b'"nsp":"/","data":["b"]'),
    python_data('a').replace(b'"data":', b'"data" :'),
    python_data('a') + b'x',
    Encoder('x').encode('/', Broadcast(('a',), EVERYONE, 'request'))[-1]])
def test_anything_else_is_read_as_a_whole(data: bytes) -> None:
    assert find_event(data) is None


def test_depth_of_frame() -> None:
    """As deep as in the whole message, in which flags are the third level."""
    for levels in (MAX_DEPTH, MAX_DEPTH + 1):
        flags: Any = 1
        for _ in range(levels):
            flags = [flags]
        data = json.dumps({
            'opts': {**OPTS, 'flags': {'a': flags}},
            'packet': {'type': 2, 'data': ['a'], 'nsp': '/'}},
            separators=(',', ':')).encode()
        if levels == MAX_DEPTH:
            assert found(data).args == read_broadcast(load_json(data)).args
        else:
            assert find_event(data) is None
            with pytest.raises(DecodeError, match='deep'):
                load_json(data)


@pytest.mark.parametrize('between', [
    b'"more":["b"],', b'"type":2,"more":[{"data":["b"],"nsp":"/"}],'])
def test_other_fields_may_follow_the_text(between: bytes) -> None:
    """They are searched up to the last place that looks like the end."""
    data = python_data('a', 1).replace(b'"nsp":', between + b'"nsp":')
    message = found(data)
    assert message.args == ('a', 1)
    assert message.text is None


def test_event_for_others_than_it_seems_is_not_delivered() -> None:
    """No JSON module writes a key twice."""
    data = python_data('a').replace(
        b'"nsp":', b'"nsp":""},"opts":{"rooms":["x"],"except":[]},"packet":'
        b'{"type":2,"data":["a"],"nsp":')
    with pytest.raises(DecodeError):
        found(data).read()


@pytest.mark.parametrize('data', [
    python_data('a').replace(
        b'"nsp":"/"}', b'"nsp":"/"},"requestId":"x","more":{"a":[1],'
        b'"nsp":"/"}'),
    node_data('a').replace(
        b',"opts":', b',"requestId":"x","more":{"a":[1]},"opts":')])
def test_event_that_asks_is_not_taken_for_one_that_does_not(
        data: bytes) -> None:
    """The request id is between the text and what was searched for. Nobody
    writes such fields."""
    assert read_broadcast(load_json(data)).request_id == 'x'
    with pytest.raises(DecodeError):
        found(data).read()


def test_frames_are_remembered() -> None:
    event_text._read_frame.cache_clear()
    for number in range(3):
        assert found(python_data('a', number, target=ROOM)).target == ROOM
    info = event_text._read_frame.cache_info()
    assert (info.hits, info.misses) == (2, 1)


def test_long_frames_are_not_remembered() -> None:
    target = Target(('x' * LONGEST,))
    event_text._read_frame.cache_clear()
    for _ in range(2):
        assert found(python_data('a', target=target)).target == target
    assert event_text._read_frame.cache_info().currsize == 0


def test_number_of_frames_is_limited() -> None:
    for number in range(FRAMES + 10):
        found(python_data('a', target=Target((number,))))
    assert event_text._read_frame.cache_info().currsize == FRAMES


# -- any data ----------------------------------------------------------------

ROOMS = st.lists(st.text(max_size=3) | st.integers(), max_size=2) | JSON

SEPARATORS = st.sampled_from([(',', ':'), (',', ':'), (', ', ': ')])


@st.composite
def written(draw: Any) -> bytes:
    """An event as a Python node, a Node.js node or another one writes it, and
    perhaps damaged or with more in it."""
    opts = {'rooms': draw(ROOMS), 'except': draw(st.just([]) | ROOMS),
            'flags': draw(st.just({}) | st.just({'volatile': True}) | JSON)}
    packet = {'type': draw(st.sampled_from([2, 2, 5, 2.0, 3, '2'])),
              'data': [draw(st.sampled_from(['a', 'b', 1, True, None])),
                       *draw(st.lists(JSON, max_size=3))],
              'nsp': draw(st.sampled_from(['/', '/chat', '"', 5]))}
    if draw(st.booleans()):
        del packet['nsp']
    if draw(st.integers(0, 4)) == 0:
        packet.update(draw(st.dictionaries(
            st.sampled_from(['more', 'data', 'opts']), JSON)))
    data: Dict[str, Any] = {'opts': opts, 'packet': packet}
    if draw(st.integers(0, 4)) == 0:
        data.update(draw(st.dictionaries(
            st.sampled_from(['requestId', 'more', 'nsp', 'data']), JSON)))
    keys = draw(st.permutations(list(data)))
    raw = bytearray(json.dumps(
        {key: data[key] for key in keys}, separators=draw(SEPARATORS),
        ensure_ascii=draw(st.booleans())).encode('utf-8', 'surrogatepass'))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(raw)))
        raw[place:place + draw(st.integers(0, 2))] = draw(
            PIECES | st.sampled_from([
                b'"data":["x"],', b'"opts":{},', b'],"nsp":"', b'"nsp":"/",',
                b'"packet":{},', b'NaN', b']},"opts":{']))
    return bytes(raw)


def slow(data: bytes) -> Any:
    try:
        message = read_broadcast(load_json(data))
        return repr((message.args, message.target))
    except (DecodeError, AttributeError):
        return DecodeError


def fast(data: bytes) -> Optional[Any]:
    if not data.startswith(b'{'):
        return None
    message = find_event(data)
    if message is None:
        return None
    assert message.request_id is None
    try:
        message.read()
    except DecodeError:
        return DecodeError
    text = message.text
    if text is not None:
        assert repr(tuple(json.loads(text))) == repr(message.args)
        assert text.startswith('[') and text[-2:].strip() == text[-2:]
    return repr((message.args, message.target))


@settings(max_examples=examples(200), deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written())
def test_what_is_found_is_what_the_whole_data_hold(data: bytes) -> None:
    quick = fast(data)
    assert quick is None or quick == slow(data)


@settings(deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written())
def test_both_parsers_find_the_same(monkeypatch: pytest.MonkeyPatch,
                                    data: bytes) -> None:
    outcomes: List[Any] = [fast(data)]
    with monkeypatch.context() as patch:
        patch.setattr(json_parser, '_fast', None)
        outcomes.append(fast(data))
    assert outcomes[0] == outcomes[1]
