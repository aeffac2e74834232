"""Events between servers: handlers, and calls over the fake stream."""
import logging
import pickle
import threading
from typing import Any, Callable, List

import pytest

from redis_streams_adapter import ClusterTimeoutError
from redis_streams_adapter.protocol.messages import MessageType, \
    ServerSideEmit, ServerSideEmitResponse

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..conftest import Log
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import Call, messages, Node

MakeCluster = Callable[..., List[Node]]

pytestmark = pytest.mark.usefixtures('nothing_is_open')

#: Seconds for a wait that ends by itself: never reached.
AMPLE = DEADLINE * 3


@pytest.fixture
def nodes(make_cluster: MakeCluster) -> List[Node]:
    return make_cluster(3)


def fail(*args: Any) -> None:
    raise ValueError('failed as configured')


# -- emit --------------------------------------------------------------------

def test_emit_reaches_every_other_server(nodes: List[Node], log: Log) -> None:
    for number, node in enumerate(nodes):
        node.manager.on_server_side(
            'hello', lambda *args, number=number: log(number, args))
    nodes[0].manager.server_side_emit('hello', 'x', 1, {'y': b'z'})
    nodes[0].manager.server_side_emit('unheard')
    nodes[1].manager.server_side_emit('hello')
    wait_until(lambda: len(log.calls) == 4)
    args = ('x', 1, {'y': b'z'})
    assert sorted(log.calls, key=repr) == sorted(
        [(1, args), (2, args), (0, ()), (2, ())], key=repr)


def test_emit_is_not_answered(nodes: List[Node], stream: FakeStream,
                              log: Log) -> None:
    nodes[1].manager.on_server_side('hello', lambda: log() or 'x')
    nodes[0].manager.server_side_emit('hello')
    wait_until(lambda: log.calls)
    for node in nodes:
        assert node.manager.flush(DEADLINE)
    assert messages(stream) == [ServerSideEmit(('hello',))]


def test_emit_in_a_namespace(nodes: List[Node], log: Log) -> None:
    nodes[1].manager.on_server_side('hello', log, namespace='/chat')
    nodes[1].manager.on_server_side(
        'hello', lambda *args: log('wrong namespace'))
    nodes[0].manager.server_side_emit('hello', 'x', namespace='/chat')
    wait_for_value(lambda: log.calls, ['x'])


@pytest.mark.parametrize('order', ['handler first', 'start first'])
def test_handler_makes_a_namespace_served(make_node: Callable[..., Node],
                                          log: Log, order: str) -> None:
    nodes = [make_node() for _ in range(2)]
    steps = [lambda manager: manager.on_server_side(
        'hello', lambda: 'yes', namespace='/servers'),
        lambda manager: manager.start()]
    if order == 'start first':
        steps.reverse()
    for node in nodes:
        for step in steps:
            step(node.manager)
    for node in nodes:
        wait_for_value(
            lambda: node.manager.server_count('/servers'), 2)
    assert nodes[0].manager.server_side_call(
        'hello', namespace='/servers', timeout=AMPLE) == ['yes']


# -- call --------------------------------------------------------------------

def test_every_other_server_answers(nodes: List[Node]) -> None:
    for number, node in enumerate(nodes):
        node.manager.on_server_side(
            'add', lambda a, b, number=number: a + b + number)
    for number, node in enumerate(nodes):
        assert sorted(node.manager.server_side_call(
            'add', 10, 20, timeout=AMPLE)) == [
                30 + other for other in range(3) if other != number]


@pytest.mark.parametrize('value', [
    None, 0, False, '', [], {}, 'x', b'\x00', [1, {'a': b'x'}], 1.5])
def test_responses(nodes: List[Node], value: Any) -> None:
    for node in nodes:
        node.manager.on_server_side('get', lambda: value)
    assert nodes[0].manager.server_side_call(
        'get', timeout=AMPLE) == [value, value]


def test_lone_server(make_node: Callable[..., Node],
                     stream: FakeStream) -> None:
    node = make_node()
    node.manager.on_server_side('hello', fail)
    assert node.manager.server_side_call('hello', timeout=AMPLE) == []
    # Another server may have joined whose entries it has not read yet.
    assert len(messages(stream, MessageType.SERVER_SIDE_EMIT)) == 1


def test_decorator(nodes: List[Node]) -> None:
    @nodes[1].manager.on_server_side('hello')
    def hello() -> str:
        return 'one'

    @nodes[2].manager.on_server_side('hello', namespace='/')
    def other() -> str:
        return 'two'

    # The decorated functions are unchanged.
    assert (hello(), other()) == ('one', 'two')
    assert sorted(nodes[0].manager.server_side_call(
        'hello', timeout=AMPLE)) == ['one', 'two']
    assert nodes[0].manager.on_server_side('hello', fail) is fail


@pytest.mark.parametrize('handlers, response', [
    ([lambda: None, lambda: 'x'], 'x'), ([lambda: 'x', lambda: None], 'x'),
    ([fail, lambda: 'x'], 'x'), ([lambda: 'x', fail], 'x'),
    ([fail, lambda: None], None), ([lambda: None, fail], None),
    ([lambda: None, lambda: None], None),
    # A response that cannot be sent is the handler's fault, too.
    ([lambda: object(), lambda: 'x'], 'x'),
    ([lambda: object(), lambda: None], None),
    ([lambda: None, lambda: object()], None)])
def test_several_handlers(make_cluster: MakeCluster, stream: FakeStream,
                          monkeypatch: pytest.MonkeyPatch, handlers: Any,
                          response: Any) -> None:
    """All are called, and one answer is sent."""
    a, b = make_cluster(2)
    # One after the other, so that the order is that of the case.
    monkeypatch.setattr(b.manager._live().engine, 'spawn',
                        lambda work, *args: work(*args))
    called: List[int] = []
    for number, handler in enumerate(handlers):
        b.manager.on_server_side('get', lambda number=number, do=handler: (
            called.append(number), do())[1])
    assert a.manager.server_side_call('get', timeout=AMPLE) == [response]
    assert called == [0, 1]
    assert len(messages(stream, MessageType.SERVER_SIDE_EMIT_RESPONSE)) == 1


def test_slow_handler(nodes: List[Node]) -> None:
    """Other handlers are called and entries are read in the meantime."""
    released = threading.Event()
    nodes[1].manager.on_server_side(
        'slow', lambda: released.wait(DEADLINE) and 'slow')
    nodes[2].manager.on_server_side('slow', lambda: 'slow')
    for node in nodes:
        node.manager.on_server_side('fast', lambda: 'fast')
    slow = Call(nodes[0].manager.server_side_call, 'slow', timeout=AMPLE)
    assert nodes[0].manager.server_side_call(
        'fast', timeout=AMPLE) == ['fast', 'fast']
    assert slow.waits
    released.set()
    assert slow.result() == ['slow', 'slow']


def test_handler_that_sends_a_request(nodes: List[Node]) -> None:
    client = nodes[0].connect()
    nodes[1].manager.on_server_side('identify', lambda: [
        each.sid for each in nodes[1].manager.fetch_sockets(timeout=AMPLE)])
    nodes[2].manager.on_server_side(
        'identify', lambda: nodes[2].manager.server_side_call(
            'count', timeout=AMPLE))
    for node in nodes:
        node.manager.on_server_side('count', lambda: 1)
    found = nodes[0].manager.server_side_call('identify', timeout=AMPLE)
    assert sorted(found, key=repr) == sorted(
        [[client.sid], [1, 1]], key=repr)


# -- failures ----------------------------------------------------------------

@pytest.mark.parametrize('names', [[], ['other'], ['hello/']])
def test_server_without_a_handler_answers_at_once(
        nodes: List[Node], logged: Any, names: List[str]) -> None:
    nodes[1].manager.on_server_side('hello', lambda: 2)
    for name in names:
        nodes[2].manager.on_server_side(name, fail)
    nodes[2].manager.on_server_side('hello', fail, namespace='/other')
    assert sorted(nodes[0].manager.server_side_call('hello', timeout=AMPLE),
                  key=str) == [2, None]
    assert nodes[0].manager.server_side_call('unheard', timeout=AMPLE) == [
        None, None]
    assert logged(logging.ERROR) == []


def test_event_without_a_handler_is_not_answered(
        nodes: List[Node], stream: FakeStream, log: Log) -> None:
    """Nothing is asked for."""
    nodes[1].manager.on_server_side('last', log)
    nodes[0].manager.server_side_emit('hello')
    nodes[0].manager.server_side_emit('last', 1)
    wait_for_value(lambda: log.calls, [1])
    assert messages(stream, MessageType.SERVER_SIDE_EMIT_RESPONSE) == []


@pytest.mark.parametrize('handler', [fail, lambda: object(),
                                     lambda too, many: None],
                         ids=['raises', 'unserialisable', 'signature'])
def test_server_that_does_not_answer(nodes: List[Node], logged: Any,
                                     handler: Any) -> None:
    nodes[1].manager.on_server_side('hello', lambda: 2)
    nodes[2].manager.on_server_side('hello', handler)
    with pytest.raises(ClusterTimeoutError) as info:
        nodes[0].manager.server_side_call('hello', timeout=0.5)
    assert info.value.responses == [2]
    assert info.value.missing == [nodes[2].manager.uid]
    assert str(info.value) == ('timeout reached: only 1 responses received '
                               'out of 2')
    line, = logged(logging.ERROR)
    assert 'hello' in line
    assert nodes[2].manager.health()['status'] == 'ok'


def test_without_redis(nodes: List[Node], stream: FakeStream) -> None:
    stream.go_away()
    with pytest.raises(ClusterTimeoutError) as info:
        nodes[0].manager.server_side_call('hello', timeout=0.1)
    assert info.value.responses == []
    assert len(info.value.missing) == 2


def test_node_that_leaves(nodes: List[Node]) -> None:
    asked = threading.Event()
    nodes[1].manager.on_server_side('hello', lambda: 2)
    nodes[2].manager.on_server_side(
        'hello', lambda: asked.set() or fail())
    call = Call(nodes[0].manager.server_side_call, 'hello', timeout=AMPLE)
    assert asked.wait(DEADLINE)
    nodes[2].manager.close()
    assert call.result() == [2]


def test_node_that_falls_silent(make_cluster: MakeCluster) -> None:
    nodes = make_cluster(3, heartbeat_interval=0.1, heartbeat_timeout=0.5)
    nodes[1].manager.on_server_side('hello', lambda: 2)
    nodes[2].kill()
    assert nodes[0].manager.server_side_call('hello', timeout=AMPLE) == [2]


@pytest.mark.parametrize('args, error', [
    (('hello', object()), TypeError), (('hello', {1, 2}), TypeError),
    (('connect',), ValueError), (('connection',), ValueError),
    (('new_namespace',), ValueError), ((b'hello',), TypeError),
    ((None,), TypeError), ((7,), TypeError)])
def test_refused_arguments(nodes: List[Node], stream: FakeStream, args: Any,
                           error: Any) -> None:
    """It raises in the caller, and nothing is sent."""
    for call in (nodes[0].manager.server_side_emit,
                 nodes[0].manager.server_side_call):
        with pytest.raises(error):
            call(*args)
        assert nodes[0].open_requests == 0
    if args[0] != 'hello':
        with pytest.raises(error):
            nodes[0].manager.on_server_side(args[0], print)
    assert messages(stream) == []


def test_name_of_node_js_that_is_no_string(nodes: List[Node],
                                           stream: FakeStream,
                                           log: Log) -> None:
    """No content of the stream does harm."""
    from redis_streams_adapter.protocol.codec import Encoder

    nodes[1].manager.on_server_side('hello', log)
    for packet in ((7, 'x'), ('hello', 'x')):
        stream.put(*Encoder('0123456789abcdef').encode(
            '/', ServerSideEmit(packet, 'r')))
    wait_for_value(lambda: log.calls, ['x'])
    wait_for_value(
        lambda: messages(stream, MessageType.SERVER_SIDE_EMIT_RESPONSE),
        [ServerSideEmitResponse('r', None)] * 6)


# -- the error ---------------------------------------------------------------

@pytest.mark.parametrize('arguments, text', [
    ((), 'only 0 responses received out of 0'),
    (([1], ['a']), 'only 1 responses received out of 2'),
    (([1, 2], ['a', 'b', 'c']), 'only 2 responses received out of 5'),
    (([1, 2, 3], ['a'], 1, 2), 'only 1 responses received out of 2'),
    (([1], ['a'], None, 7), 'only 1 responses received out of 7')])
def test_error_text_is_that_of_node_js(arguments: Any, text: str) -> None:
    error = ClusterTimeoutError(*arguments)
    assert str(error) == f'timeout reached: {text}'
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is ClusterTimeoutError
    assert str(copied) == str(error)
    assert copied.responses == error.responses == list(
        arguments[0] if arguments else [])
    assert copied.missing == error.missing
