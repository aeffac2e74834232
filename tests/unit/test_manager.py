"""What python-socketio asks of a manager, over the fake stream: servers with
clients, and the nodes between which they are."""
import datetime
import gc
import importlib
import logging
import pickle
import threading
import weakref
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple

import pytest
import socketio

from redis_streams_adapter import ClusterTimeoutError, ConfigurationError, \
    DecodeError, OutboxFullError, RedisStreamsError, RedisStreamsManager
from redis_streams_adapter.protocol import node as node_module
from redis_streams_adapter.cluster import dispatch
from redis_streams_adapter.runtime import runtime
from redis_streams_adapter.protocol.codec import decode, Encoder, open_envelope
from redis_streams_adapter.losses import Loss
from redis_streams_adapter.protocol.messages import Broadcast, BroadcastAck, \
    BroadcastClientCount, DisconnectSockets, EMITTER_UID, Heartbeat, \
    MessageType, SocketsJoin, SocketsLeave, Target
from redis_streams_adapter.protocol.node import Send
from redis_streams_adapter.stream.writer import LISTEN_EVERY
from redis_streams_adapter.protocol.transport import parse_id

from ..support.wait import DEADLINE, wait_for_value, wait_until
from .conftest import Log, NOWHERE
from .driving import CountingEngine
from .fake_server import DateJSON, FakeClient, make_server
from .fake_transport import FakeStream
from .nodes import messages, Node

MakeManager = Callable[..., RedisStreamsManager]


class Pair(NamedTuple):
    """Two nodes that know each other."""

    a: Node
    b: Node

    def connect(self, *namespaces: str) -> List[FakeClient]:
        """A client on each."""
        return [node.connect(*namespaces) for node in self]


@pytest.fixture
def pair(make_node: Callable[..., Node], stream: FakeStream) -> Pair:
    pair = Pair(make_node(), make_node())
    for node in pair:
        node.manager.start()
        # The next one reads nothing that was written before it started.
        assert node.manager.flush(DEADLINE)
        stream.advance(1.0)
    for node in pair:
        wait_for_value(node.manager.server_count, 2)
    return pair


# -- construction ------------------------------------------------------------

def test_it_is_a_client_manager() -> None:
    manager = RedisStreamsManager(NOWHERE)
    assert isinstance(manager, socketio.PubSubManager)
    assert manager.name == 'redis-streams'
    assert manager.channel == 'socket.io'
    assert not manager.write_only


def test_positional_arguments_are_those_of_python_socketio() -> None:
    logger = logging.getLogger('x')
    manager = RedisStreamsManager(NOWHERE, 'name', True, logger, DateJSON,
                                  {'socket_timeout': 2.0})
    assert manager.channel == 'name'
    assert manager.write_only
    assert manager.logger is logger
    with pytest.raises(TypeError):
        RedisStreamsManager(NOWHERE, 'name', True, logger, DateJSON, {}, 1)


def test_channel_is_another_name(make_manager: MakeManager,
                                 stream: FakeStream) -> None:
    assert make_manager(channel='name').channel == 'name'
    assert make_manager(stream_name='name').channel == 'name'
    for wrong in ({'stream_name': 'a', 'channel': 'b'},
                  {'stream_name': 'a', 'channel': 'a'}):
        with pytest.raises(ConfigurationError, match='channel'):
            make_manager(**wrong)


@pytest.mark.parametrize('options, name', [
    ({'no_such_option': 1}, 'no_such_option'),
    ({'max_length': 5}, 'max_length'), ({'max_len': 0}, 'max_len'),
    ({'heartbeat_timeout': 1}, 'heartbeat_timeout'),
    ({'channel': ''}, 'channel'), ({'stream_count': 0}, 'stream_count'),
    ({'redis_options': {'no_such_option': 1}}, 'no_such_option'),
    ({'redis_options': {'socket_timeout': 0}}, 'socket_timeout'),
    ({'url': 'http://host'}, 'url'), ({'url': None}, 'url')])
def test_wrong_options_are_named(options: Any, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        RedisStreamsManager(**{'url': NOWHERE, **options})


def test_nothing_happens_before_it_is_used(
        make_node: Callable[..., Node], stream: FakeStream) -> None:
    threads = threading.active_count()
    node = make_node()
    assert node.manager.flush(0)
    node.manager.close()
    assert threading.active_count() == threads
    assert stream.connections == 0


# -- the life ----------------------------------------------------------------

def test_start_is_idempotent(pair: Pair, stream: FakeStream) -> None:
    for _ in range(3):
        pair.a.manager.start()
    arrivals = [each for each in map(
        open_envelope, (entry.fields for entry in stream.history))
        if each.type is MessageType.INITIAL_HEARTBEAT]
    # Others are questions: the stream is new.
    assert sum(each.uid != EMITTER_UID for each in arrivals) == 4
    assert stream.connections == 4


def test_a_server_joins_with_its_first_client(
        make_node: Callable[..., Node], stream: FakeStream) -> None:
    node = make_node()
    node.connect()
    wait_until(lambda: messages(stream, MessageType.INITIAL_HEARTBEAT))
    assert node.manager.server_count() == 1


def test_close(pair: Pair, stream: FakeStream) -> None:
    pair.a.server.emit('hello')
    pair.a.manager.close()
    # The goodbye is the last thing it says, in each namespace.
    kinds = [open_envelope(entry.fields) for entry in stream.history]
    assert [each.type for each in kinds[-3:]] == [
        MessageType.BROADCAST, MessageType.ADAPTER_CLOSE,
        MessageType.ADAPTER_CLOSE]
    assert {each.namespace for each in kinds[-2:]} == {'/', '/chat'}
    wait_for_value(pair.b.manager.server_count, 1)
    assert stream.connections == 2
    for _ in range(2):
        pair.a.manager.close()
    with pytest.raises(RedisStreamsError, match='closed'):
        pair.a.server.emit('hello')


def test_a_new_life_after_close(pair: Pair) -> None:
    uid = pair.a.manager.uid
    pair.a.manager.close()
    pair.a.manager.start()
    assert pair.a.manager.uid != uid
    wait_for_value(pair.b.manager.server_count, 2)


def test_as_a_context_manager(make_manager: MakeManager,
                              stream: FakeStream) -> None:
    with make_manager() as manager:
        assert manager.server_count() == 1
        manager.emit('hello', 'x')
    assert messages(stream, MessageType.BROADCAST) == [
        Broadcast(('hello', 'x'))]
    assert stream.connections == 0


def test_close_tells_what_is_left(make_manager: MakeManager,
                                  stream: FakeStream, logged: Any) -> None:
    stream.go_away()
    manager = make_manager(write_only=True, publish='background')
    for _ in range(3):
        manager.emit('hello', 'x')
    manager.close(timeout=0.05)
    assert any('3 messages' in line for line in logged(logging.ERROR))


def test_flush(make_manager: MakeManager, stream: FakeStream) -> None:
    stream.go_away()
    manager = make_manager()
    assert manager.flush()
    manager.emit('hello', 'x')
    assert manager.flush(0.02) is False
    stream.come_back()
    assert manager.flush(DEADLINE) is True
    assert len(messages(stream, MessageType.BROADCAST)) == 1


def test_without_redis_a_server_serves(make_node: Callable[..., Node],
                                       stream: FakeStream,
                                       logged: Any) -> None:
    stream.go_away()
    node = make_node()
    client = node.connect()
    node.server.emit('hello', 1)
    assert client.received('hello') == [(1,)]
    assert node.manager.health()['status'] == 'degraded'
    wait_until(lambda: node.manager.stats()['outages'])
    stream.come_back()
    assert node.manager.server_count() == 1
    wait_until(lambda: node.manager.health()['status'] == 'ok')
    assert node.manager.flush(DEADLINE)
    wait_until(lambda: messages(stream, MessageType.INITIAL_HEARTBEAT))
    assert messages(stream, MessageType.BROADCAST) == [
        Broadcast(('hello', 1))]
    # One line when it went, one when it was back.
    wait_for_value(lambda: len(logged(logging.WARNING)), 2)


def test_an_outage_between(pair: Pair, stream: FakeStream) -> None:
    a, b = pair.connect()
    stream.go_away()
    for number in range(20):
        pair.a.server.emit('hello', number)
    assert a.received('hello') == [(number,) for number in range(20)]
    assert b.received('hello') == []
    stream.come_back()
    assert b.wait_for('hello', 20) == [(number,) for number in range(20)]


def test_a_fork(pair: Pair, stream: FakeStream) -> None:
    """As in the child; the parent's is another process."""
    manager, uid = pair.a.manager, pair.a.manager.uid
    before = manager._lifecycle.current
    assert before is not None
    channel, = before._channels
    links = [channel.writer._link, channel.reader._link]
    manager._lifecycle.after_fork()
    assert all(link.abandoned for link in links)
    # It was a member, and is one again when it is first used.
    manager.emit('hello', None)
    assert manager.uid not in (uid, EMITTER_UID)
    wait_until(lambda: manager.uid in pair.b.manager._live()._node
               ._members.nodes('/'))
    assert manager.host_id == manager.uid


def test_a_fork_before_the_start(make_manager: MakeManager,
                                 stream: FakeStream) -> None:
    manager = make_manager()
    manager._lifecycle.after_fork()
    manager.emit('hello', None)
    assert manager.flush(DEADLINE)
    assert stream.connections == 1
    manager._lifecycle.after_fork()
    manager.emit('hello', None)
    assert manager.flush(DEADLINE)
    assert len(messages(stream, MessageType.BROADCAST)) == 2


@pytest.mark.parametrize('name', ['atexit', 'multiprocessing.util'])
def test_what_is_closed_is_forgotten(
        stream: FakeStream, monkeypatch: pytest.MonkeyPatch,
        name: str) -> None:
    """A process may make an emitter for each of its jobs."""
    importlib.import_module(name)
    monkeypatch.setattr(runtime, 'RedisLink',
                        lambda *args, **kwargs: stream.link())
    manager = RedisStreamsManager(NOWHERE, write_only=True)
    manager.emit('hello', None)
    manager.close()
    gone = weakref.ref(manager)
    del manager

    def is_gone() -> bool:
        gc.collect()
        return gone() is None

    wait_until(is_gone)


# -- emit --------------------------------------------------------------------

def test_to_all(pair: Pair) -> None:
    clients = pair.connect()
    pair.a.server.emit('hello', 'x')
    for client in clients:
        assert client.wait_for('hello') == [('x',)]


def test_to_one(pair: Pair) -> None:
    a, b = pair.connect()
    other = pair.b.connect()
    for number, client in enumerate((a, b)):
        pair.a.server.emit('hello', number, to=client.sid)
        assert client.wait_for('hello') == [(number,)]
    pair.a.server.emit('end')
    other.wait_for('end')
    assert other.received('hello') == []


def test_to_rooms(pair: Pair) -> None:
    a, b = pair.connect()
    c = pair.b.connect()
    for client, node, room in ((a, pair.a, 'x'), (b, pair.b, 'y'),
                               (c, pair.b, 'y'), (c, pair.b, 7)):
        node.server.enter_room(client.sid, room)
    emit = pair.a.server.emit
    emit('x', to='x')
    emit('y', room='y')
    emit('both', to=['x', 'y', 7])
    emit('skip', to=['x', 'y'], skip_sid=c.sid)
    emit('skip many', skip_sid=[a.sid, b.sid])
    emit('skip room', skip_sid='y')
    emit('number', to=7)
    emit('nobody', to='nobody')
    emit('nobody', room=[])
    pair.a.manager.emit('nobody', None, to=[])
    emit('end')
    for client, names in (
            (a, ['x', 'both', 'skip', 'skip room']),
            (b, ['y', 'both', 'skip']),
            (c, ['y', 'both', 'skip many', 'number'])):
        client.wait_for('end')
        assert [event.name for event in client.events()] == [*names, 'end']


def test_namespaces(pair: Pair) -> None:
    a, b = pair.connect('/', '/chat')
    pair.a.server.emit('hello', 1, namespace='/chat')
    pair.a.server.emit('hello', 2)
    for client in (a, b):
        assert client.wait_for('hello', namespace='/chat') == [(1,)]
        assert client.wait_for('hello') == [(2,)]


def test_a_namespace_that_appears_with_a_client(
        make_manager: MakeManager, stream: FakeStream) -> None:
    nodes = []
    for _ in range(2):
        manager = make_manager()
        nodes.append(Node(make_server(client_manager=manager,
                                      namespaces='*'), manager))
        manager.start()
    client = nodes[1].connect('/new')
    wait_for_value(lambda: nodes[0].manager.server_count('/new'), 1)
    nodes[0].server.emit('hello', namespace='/new')
    assert client.wait_for('hello', namespace='/new') == [()]
    nodes[0].connect('/new')
    for node in nodes:
        wait_for_value(lambda: node.manager.server_count('/new'), 2)


@pytest.mark.parametrize('data, args', [
    (None, ()), ('text', ('text',)), (('a', 2), ('a', 2)),
    ([1, [2, {'three': None}]], ([1, [2, {'three': None}]],)),
    (b'bytes', (b'bytes',)), ({'a': [b'x']}, ({'a': [b'x']},)),
    ((b'x', 'y', b'z'), (b'x', 'y', b'z'))])
def test_data(pair: Pair, data: Any, args: Any) -> None:
    clients = pair.connect()
    pair.a.server.emit('hello', data)
    for client in clients:
        assert client.wait_for('hello') == [args]


def test_only_the_own_clients(pair: Pair, stream: FakeStream) -> None:
    a, b = pair.connect()
    pair.a.server.emit('hello', ignore_queue=True)
    assert a.received('hello') == [()]
    pair.a.server.emit('end')
    b.wait_for('end')
    assert b.received('hello') == []
    assert len(messages(stream, MessageType.BROADCAST)) == 1


def test_send(pair: Pair) -> None:
    clients = pair.connect()
    pair.a.server.send('x')
    for client in clients:
        assert client.wait_for('message') == [('x',)]


@pytest.mark.parametrize('data, error', [
    (object(), TypeError), ({1, 2}, TypeError), ([object()], TypeError),
    ({b'key': b'value'}, TypeError), ((b'x', object()), TypeError)])
@pytest.mark.parametrize('to_own', [True, False])
def test_what_cannot_be_serialised(pair: Pair, stream: FakeStream, data: Any,
                                   error: Any, to_own: bool) -> None:
    a, b = pair.connect()
    with pytest.raises(error):
        pair.a.server.emit('hello', data, to=(a if to_own else b).sid)
    pair.a.server.emit('end')
    for client in (a, b):
        client.wait_for('end')
        assert client.received('hello') == []
    assert len(messages(stream, MessageType.BROADCAST)) == 1


@pytest.mark.parametrize('wrong', [
    {'event': None}, {'event': b'x'}, {'to': b'room'}, {'to': 1.5},
    {'to': {'room': 1}}, {'skip_sid': object()}, {'namespace': '\ud800'}])
def test_wrong_arguments(pair: Pair, stream: FakeStream, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        pair.a.manager.emit(**{'event': 'hello', 'data': None, **wrong})
    assert messages(stream) == []


def test_the_json_module_of_the_server(
        make_manager: MakeManager,
        the_json_of_python_socketio: None) -> None:
    nodes = []
    for _ in range(2):
        manager = make_manager()
        nodes.append(Node(make_server(client_manager=manager, json=DateJSON),
                          manager))
        manager.start()
    clients = [node.connect() for node in nodes]
    nodes[0].server.emit('hello', datetime.date(2024, 2, 29))
    for client in clients:
        assert client.wait_for('hello') == [('2024-02-29',)]


def test_only_plaintext(make_manager: MakeManager) -> None:
    manager = make_manager(only_plaintext=True)
    manager.emit('hello', 'x')
    with pytest.raises(TypeError, match='only_plaintext'):
        manager.emit('hello', b'x')


def test_the_outbox_is_full(make_node: Callable[..., Node],
                            stream: FakeStream) -> None:
    stream.go_away()
    node = make_node(outbox_limit=3)
    client = node.connect()
    for number in range(3):
        node.server.emit('hello', number)
    for call in (lambda: node.server.emit('hello', 3),
                 lambda: node.server.emit('hello', 3, callback=print),
                 lambda: node.server.enter_room('elsewhere', 'x'),
                 lambda: node.server.disconnect('elsewhere'),
                 lambda: node.server.close_room('x')):
        with pytest.raises(OutboxFullError):
            call()
    assert len(node.manager._live()._node._requests) == 0
    # What was not accepted was not sent to anybody.
    assert client.received('hello') == [(0,), (1,), (2,)]
    stream.come_back()
    assert node.manager.flush(DEADLINE)
    assert [message.args[1] for message in messages(
        stream, MessageType.BROADCAST)] == [0, 1, 2]


def test_one_order_for_all(pair: Pair, stream: FakeStream) -> None:
    """However many tasks emit: the own clients see what stands in the
    stream, in that order."""
    a, b = pair.connect()
    threads = [threading.Thread(target=lambda base=base: [
        pair.a.server.emit('hello', base + number) for number in range(200)])
        for base in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    b.wait_for('hello', 600)
    in_stream = [message.args[1:] for message in messages(
        stream, MessageType.BROADCAST)]
    assert a.received('hello') == b.received('hello') == in_stream


def test_into_the_outbox_and_to_the_own_clients_is_one_step(
        pair: Pair, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    client, runtime = pair.a.connect(), pair.a.manager._live()
    second = threading.Thread(
        target=lambda: pair.a.server.emit('hello', 'second'))
    append = runtime.append

    def append_and_be_interrupted(*args: Any) -> Any:
        pending = append(*args)
        if args[1][5] == b'%d' % MessageType.BROADCAST \
                and threading.current_thread() is not second:
            second.start()
            # It comes to here as well, and no further.
            second.join(0.1)
        return pending

    with monkeypatch.context() as patch:
        patch.setattr(runtime, 'append', append_and_be_interrupted)
        pair.a.server.emit('hello', 'first')
        second.join()
    assert pair.a.manager.flush(DEADLINE)
    assert client.received('hello') == [('first',), ('second',)] == [
        message.args[1:] for message in messages(
            stream, MessageType.BROADCAST)]


def test_what_is_sent_is_not_what_is_changed_later(pair: Pair) -> None:
    a, b = pair.connect()
    data = {'list': [1]}
    pair.a.server.emit('hello', data)
    data['list'].append(2)
    for client in (a, b):
        assert client.wait_for('hello') == [({'list': [1]},)]


# -- callbacks ---------------------------------------------------------------

@pytest.mark.parametrize('own', [True, False])
@pytest.mark.parametrize('args', [(), ('yes',), ('yes', {'two': b'x'}, 3)])
def test_a_callback(pair: Pair, log: Log, own: bool, args: Any) -> None:
    client = pair.a.connect() if own else pair.b.connect()
    pair.a.server.emit('question', 'x', to=client.sid,
                       callback=lambda *got: log(got))
    client.wait_for('question')
    client.acknowledge(client.events()[-1], *args)
    wait_for_value(lambda: log.calls, [args])
    # Nothing waits for it any more.
    assert len(pair.a.manager._live()._node._requests) == 0


def test_a_callback_of_many(pair: Pair, log: Log) -> None:
    clients = [*pair.connect(), *pair.connect()]
    pair.a.server.emit('question', callback=log)
    for number, client in enumerate(clients):
        client.wait_for('question')
        client.acknowledge(client.events()[-1], number)
    wait_for_value(lambda: sorted(log.calls), [0, 1, 2, 3])
    wait_for_value(lambda: len(pair.a.manager._live()._node._requests), 0)


def test_a_callback_may_take_its_time(pair: Pair, log: Log) -> None:
    """Meanwhile others are called, and entries are read."""
    clients = [pair.b.connect(), pair.b.connect()]
    both = threading.Barrier(2)

    def callback(answer: int) -> None:
        both.wait(DEADLINE)
        log(answer)

    pair.a.server.emit('question', callback=callback)
    for number, client in enumerate(clients):
        client.wait_for('question')
        client.acknowledge(client.events()[-1], number)
    wait_for_value(lambda: sorted(log.calls), [0, 1])


def test_call(pair: Pair) -> None:
    client = pair.b.connect()

    def answer() -> None:
        client.wait_for('question')
        client.acknowledge(client.events()[-1], 'a', 'b')

    thread = threading.Thread(target=answer)
    thread.start()
    assert pair.a.server.call('question', to=client.sid,
                              timeout=DEADLINE) == ('a', 'b')
    thread.join()


def test_ask_one_own_client(pair: Pair, stream: FakeStream) -> None:
    """Nobody else is asked, so nobody else is waited for."""
    client = pair.a.connect()

    def answer() -> None:
        client.wait_for('question')
        client.acknowledge(client.events()[-1], 'a', 'b')

    thread = threading.Thread(target=answer)
    thread.start()
    assert pair.a.manager.emit_with_ack(
        'question', to=client.sid, timeout=DEADLINE) == [('a', 'b')]
    thread.join()
    assert messages(stream, MessageType.BROADCAST) == []


def test_the_answers_to_a_node_are_counts_and_acknowledgements(
        pair: Pair, stream: FakeStream) -> None:
    client = pair.b.connect()
    pair.a.server.emit('question', callback=print)
    client.wait_for('question')
    client.acknowledge(client.events()[-1], 'yes')
    wait_until(lambda: len(messages(stream)) == 3)
    broadcast, count, answer = messages(stream)
    assert count == BroadcastClientCount(broadcast.request_id, 1)
    assert answer == BroadcastAck(broadcast.request_id, ('yes',))


def test_a_callback_of_nobody(pair: Pair, stream: FakeStream) -> None:
    pair.a.server.emit('question', to='nobody', callback=print)
    wait_until(lambda: messages(stream, MessageType.BROADCAST_CLIENT_COUNT))
    wait_for_value(lambda: len(pair.a.manager._live()._node._requests), 0)


def test_callbacks_need_somebody_who_hears(make_manager: MakeManager) -> None:
    for manager in (make_manager(write_only=True), make_manager()):
        with pytest.raises(RuntimeError, match='[Cc]allback'):
            manager.emit('question', None, room='x', callback=print)
    # A member without a server does.
    member = make_manager()
    member.start()
    member.emit('question', None, room='x', callback=print)


@pytest.mark.filterwarnings(
    'ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_a_callback_that_raises(pair: Pair, log: Log) -> None:
    """It is the application's, and concerns nobody else."""
    client = pair.b.connect()

    def fail(*args: Any) -> None:
        log(*args)
        raise ValueError

    for number in range(2):
        pair.a.server.emit('question', to=client.sid, callback=fail)
        client.wait_for('question', number + 1)
        client.acknowledge(client.events()[-1], number)
        wait_until(lambda: len(log.calls) == number + 1)
    assert pair.a.manager.health()['status'] == 'ok'


# -- clients elsewhere -------------------------------------------------------

def test_rooms_of_clients_elsewhere(pair: Pair, stream: FakeStream) -> None:
    client = pair.b.connect()
    pair.a.server.enter_room(client.sid, 'x')
    wait_until(lambda: 'x' in pair.b.server.rooms(client.sid))
    pair.a.server.emit('in', to='x')
    client.wait_for('in')
    pair.a.server.leave_room(client.sid, 'x')
    wait_until(lambda: 'x' not in pair.b.server.rooms(client.sid))
    target = Target((client.sid,))
    assert messages(stream)[0] == SocketsJoin(target, ('x',))
    assert messages(stream)[-1] == SocketsLeave(target, ('x',))


def test_rooms_of_own_clients(pair: Pair, stream: FakeStream) -> None:
    client = pair.a.connect()
    pair.a.server.enter_room(client.sid, 'x')
    assert 'x' in pair.a.server.rooms(client.sid)
    pair.a.server.leave_room(client.sid, 'x')
    assert 'x' not in pair.a.server.rooms(client.sid)
    assert messages(stream) == []


def test_close_room(pair: Pair) -> None:
    a, b = pair.connect()
    for client, node in ((a, pair.a), (b, pair.b)):
        node.server.enter_room(client.sid, 'x')
    pair.a.server.emit('last', to='x')
    pair.a.server.close_room('x')
    assert 'x' not in pair.a.server.rooms(a.sid)
    wait_until(lambda: 'x' not in pair.b.server.rooms(b.sid))
    # What was emitted before has arrived.
    for client in (a, b):
        client.wait_for('last')


def test_close_no_room(pair: Pair, stream: FakeStream) -> None:
    for nothing in (None, []):
        pair.a.manager.close_room(nothing)
    assert messages(stream) == []


def test_a_sid_is_no_room_to_close(pair: Pair, stream: FakeStream) -> None:
    """Since python-socketio 5.17; then nobody else is told so either."""
    client = pair.a.connect()
    if hasattr(pair.a.manager, 'is_sid_room'):
        with pytest.raises(ValueError, match='sid room'):
            pair.a.server.close_room(client.sid)
        assert messages(stream) == []
        assert client.sid in pair.a.server.rooms(client.sid)


def test_disconnect(pair: Pair, stream: FakeStream) -> None:
    a, b = pair.connect()
    for client, node in ((a, pair.a), (b, pair.b)):
        sid = client.sid
        pair.a.server.emit('last', to=sid)
        pair.a.server.disconnect(sid)
        wait_until(client.was_disconnected)
        wait_until(lambda: not node.manager.is_connected(sid, '/'))
        client.wait_for('last')
    assert [type(message) for message in messages(stream)].count(
        DisconnectSockets) == 1


def test_disconnect_one_that_is_going(pair: Pair,
                                      stream: FakeStream) -> None:
    client = pair.a.connect()
    assert pair.a.manager.can_disconnect(client.sid, '/')
    pair.a.manager.pre_disconnect(client.sid, '/')
    assert not pair.a.manager.can_disconnect(client.sid, '/')
    pair.a.server.disconnect(client.sid)
    assert not client.was_disconnected()
    # It is nobody else's.
    assert messages(stream) == []


def test_disconnect_by_the_manager(pair: Pair) -> None:
    a, b = pair.connect()
    for client in (a, b):
        sid = client.sid
        pair.a.manager.disconnect(sid, '/')
        wait_until(client.was_disconnected)


def test_a_client_that_goes_by_itself(pair: Pair,
                                      stream: FakeStream) -> None:
    client = pair.a.connect()
    client.leave()
    assert '/' not in pair.a.manager.rooms
    assert messages(stream) == []


# -- whatever stands in the stream -------------------------------------------

@pytest.mark.parametrize('fields', [
    [b'x', b'y'], [b'uid'], [b'\xff', b'\xff'],
    [b'uid', b'x', b'nsp', b'/', b'type', b'99'],
    [b'uid', b'x', b'nsp', b'/', b'type', b'3', b'data', b'{'],
    [b'uid', b'x', b'nsp', b'/', b'type', b'3', b'data', b'[' * 100_000],
    [b'uid', b'x', b'nsp', b'/', b'type', b'2', b'behind', b'x'],
    [b'uid', b'x', b'nsp', b'/', b'type', b'4', b'data', b'{}']])
def test_a_malformed_entry(pair: Pair, stream: FakeStream, logged: Any,
                           fields: List[bytes]) -> None:
    _, b = pair.connect()
    bad = stream.put(*fields)
    pair.a.server.emit('hello')
    b.wait_for('hello')
    assert pair.b.manager.stats()['malformed'] == 1
    wait_for_value(lambda: pair.a.manager.stats()['malformed'], 1)

    def lines() -> int:
        return sum(bad.decode() in line for line in logged(logging.WARNING))

    # Once on each node.
    wait_for_value(lines, 2)
    stream.put(*Encoder('x').encode('/', Broadcast(('end',))))
    b.wait_for('end')
    assert lines() == 2


@pytest.mark.parametrize('behind', [
    b'x', b'-', b'1', b'1-x', b'\xff', b'9' * 5000 + b'-0'])
def test_a_malformed_entry_does_not_harm_who_only_writes(
        make_manager: MakeManager, stream: FakeStream, logged: Any,
        behind: bytes) -> None:
    """It listens, now and then, for readers that lag."""
    emitter = make_manager(write_only=True, publish='background')
    for _ in range(2):
        emitter.emit('hello', None)
        assert emitter.flush(DEADLINE)
        stream.put(b'x', b'y')
        stream.put(b'uid', b'x', b'nsp', b'/', b'type', b'2',
                   b'behind', behind)
        for _ in range(LISTEN_EVERY):
            emitter.emit('hello', None)
        assert emitter.flush(DEADLINE)
    assert emitter.stats()['sent'] == 2 * LISTEN_EVERY + 2
    assert emitter.stats()['writer_restarts'] == 0
    assert logged(logging.ERROR) == []


def test_a_copy(pair: Pair, stream: FakeStream) -> None:
    _, b = pair.connect()
    pair.a.server.emit('hello')
    b.wait_for('hello')
    copied, = (entry.fields for entry in stream.history
               if open_envelope(entry.fields).type is MessageType.BROADCAST)
    stream.put(*copied)
    pair.a.server.emit('end')
    b.wait_for('end')
    assert b.received('hello') == [()]
    assert pair.b.manager.stats()['duplicates'] == 1


def test_what_is_missing_is_counted(pair: Pair, stream: FakeStream,
                                    logged: Any) -> None:
    _, b = pair.connect()
    for sequence in (1, 2, 6):
        stream.put(*Encoder('x').encode('/', Broadcast(('hello',))),
                   b'wid', b'w', b'seq', b'%d' % sequence)
    b.wait_for('hello', 3)
    assert pair.b.manager.stats()['messages_lost'] == 3
    assert any('missing' in line for line in logged(logging.ERROR))


def test_an_event_of_a_process_of_another_kind(pair: Pair,
                                               stream: FakeStream) -> None:
    clients = pair.connect()
    stream.put(*Encoder(EMITTER_UID).encode('/', Broadcast(('hello', b'x'))))
    for client in clients:
        assert client.wait_for('hello') == [(b'x',)]
    assert pair.a.manager.server_count() == 2


def test_a_member_without_clients(make_manager: MakeManager, pair: Pair,
                                  log: Log) -> None:
    """It has no server, but it is counted, and answers."""
    member = make_manager()
    member.start()
    for node in pair:
        wait_for_value(node.manager.server_count, 3)
    client = pair.b.connect()
    pair.a.server.enter_room('nobody', 'x')
    pair.a.server.leave_room('nobody', 'x')
    pair.a.server.disconnect('nobody')
    pair.a.server.emit('question', callback=log)
    client.wait_for('question')
    client.acknowledge(client.events()[-1], 'yes')
    wait_for_value(lambda: log.calls, ['yes'])
    wait_for_value(lambda: len(pair.a.manager._live()._node._requests), 0)
    assert member.stats()['failed'] == 0


def test_signs_of_life_need_no_room(make_node: Callable[..., Node],
                                    stream: FakeStream,
                                    logged: Any) -> None:
    """Where the outbox is full they are left out, and nothing ends."""
    node = make_node(outbox_limit=1)
    node.manager.start()
    # In two namespaces; there was no room for the second one at once.
    wait_until(lambda: len(messages(
        stream, MessageType.INITIAL_HEARTBEAT)) == 2)
    assert node.manager.flush(DEADLINE)
    stream.freeze()
    node.manager.emit('hello', None)
    node.manager._live()._say(Send('/', Heartbeat()))
    stream.thaw()
    assert node.manager.flush(DEADLINE)
    assert node.manager.health()['status'] == 'ok'
    assert logged(logging.ERROR) == []
    assert any('no room' in line for line in logged(logging.DEBUG))


def test_a_reader_that_lags_says_so(pair: Pair,
                                    stream: FakeStream) -> None:
    """And the other one takes account of it."""
    a, b = (node.manager._live()._channels[0] for node in pair)
    lagging = partial(pair.b.manager._live()._flow.lagging, b)
    assert pair.a.manager.flush(DEADLINE)
    lagging(stream.entries[0].id)
    pace = a.writer._pace
    wait_until(lambda: pair.b.manager.uid in pace._readers)
    said = [open_envelope(entry.fields) for entry in stream.history
            if entry.fields[-2:] == [b'behind', stream.entries[0].id]][-1]
    assert said.uid == pair.b.manager.uid
    assert decode(said) == Heartbeat(stream.entries[0].id)
    # It takes account of itself, too: it may be among the entries of others.
    assert b.writer._pace._readers[None].position == parse_id(
        stream.entries[0].id)
    lagging(None)
    wait_until(lambda: pair.b.manager.uid not in pace._readers)
    lagging(stream.entries[0].id)
    wait_until(lambda: pair.b.manager.uid in pace._readers)
    pair.b.manager.close()
    wait_until(lambda: pair.b.manager.uid not in pace._readers)


def test_the_first_burst_is_no_faster_than_it_is_read(
        make_node: Callable[..., Node], stream: FakeStream) -> None:
    """Our own reader counts before it has come to anything of ours."""
    manager = make_node(max_len=20).manager
    manager.start()
    assert manager.flush(DEADLINE)
    channel, = manager._live()._channels
    stuck = threading.Event()
    handle = channel.reader._handle
    channel.reader._handle = lambda entry: (  # type: ignore[assignment]
        stuck.wait(DEADLINE), handle(entry))
    for number in range(100):
        manager.emit('hello', number)
    wait_until(lambda: channel.writer._held)
    assert len(messages(stream, MessageType.BROADCAST)) == 10
    stuck.set()
    assert manager.flush(DEADLINE)


def test_who_joins_has_its_share_at_once(
        make_node: Callable[..., Node],
        monkeypatch: pytest.MonkeyPatch) -> None:
    """All may have much to say when they start."""
    monkeypatch.setattr(node_module, 'TICK_INTERVAL', 100)
    first, second = (make_node(heartbeat_interval=100, heartbeat_timeout=200
                               ).manager for _ in range(2))
    first.start()
    second.start()
    for manager in (first, second):
        wait_for_value(manager.server_count, 2)
        channel, = manager._live()._channels
        wait_for_value(lambda: channel.writer._pace.window, 2500)


def test_others_run_while_many_are_emitted(
        make_manager: MakeManager, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Under gevent nothing would be sent before the loop is over."""
    engine = CountingEngine()
    monkeypatch.setattr(dispatch, 'ThreadEngine', lambda: engine)
    manager = make_manager()
    stream.freeze()
    for _ in range(1024):
        manager.emit('hello', None)
    assert engine.pauses == 4


def test_who_wrote_before_the_stream_was_deleted_has_lost_nothing(
        make_node: Callable[..., Node], make_manager: MakeManager,
        stream: FakeStream) -> None:
    """As where Redis keeps nothing, and is started anew with a server."""
    stream.put(*Encoder(EMITTER_UID).encode('/', Heartbeat()))
    emitter = make_manager(write_only=True)
    for number in range(5):
        emitter.emit('hello', number)
    stream.delete()
    stream.advance(60)
    node = make_node()
    node.manager.start()
    client = node.connect()
    emitter.emit('hello', 5)
    assert client.wait_for('hello') == [(5,)]
    assert node.manager.stats()['messages_lost'] == 0


@pytest.mark.parametrize('count', [0, 3])
def test_no_goodbye_is_a_loss(make_node: Callable[..., Node], count: int,
                              stream: FakeStream, logged: Any) -> None:
    """Only messages are."""
    node = make_node()
    node.manager.start()
    assert node.manager.flush(DEADLINE)
    stream.freeze()
    for number in range(count):
        node.manager.emit('hello', number)
    node.manager.close(timeout=0.05)
    assert logged(logging.ERROR) == count // 3 * [
        'closed with 3 messages that Redis did not take']


def test_what_is_still_sent_is_no_loss(make_node: Callable[..., Node],
                                       stream: FakeStream,
                                       logged: Any) -> None:
    """The batch that is on its way when time is up may get through."""
    node = make_node()
    node.manager.start()
    assert node.manager.flush(DEADLINE)
    writer = node.manager._live()._channels[0].writer
    node.manager.emit('hello', 1)
    interrupt, writer.interrupt = writer.interrupt, lambda: (  # type: ignore
        writer.flush(DEADLINE), interrupt())
    node.manager.close(timeout=0)
    assert len(messages(stream, MessageType.BROADCAST)) == 1
    assert logged(logging.ERROR) == []


def test_a_task_that_could_not_be_started_is_started_later(
        make_manager: MakeManager, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may have as many threads as it is allowed."""
    class Engine(CountingEngine):
        spawned = 0

        def spawn(self, work: Callable[..., Any], *args: Any) -> Any:
            self.spawned += 1
            if self.spawned == 1:
                raise RuntimeError("can't start new thread")
            return super().spawn(work, *args)

    monkeypatch.setattr(dispatch, 'ThreadEngine', Engine)
    manager = make_manager()
    with pytest.raises(RuntimeError, match='thread'):
        manager.emit('hello', 1)
    manager.emit('hello', 2)
    assert manager.flush(DEADLINE)
    # What was accepted is not lost.
    assert [each.args for each in messages(stream)] == [
        ('hello', 1), ('hello', 2)]


# -- who only writes ---------------------------------------------------------

def test_an_emitter(make_manager: MakeManager, pair: Pair,
                    stream: FakeStream) -> None:
    emitter = make_manager(write_only=True)
    clients = pair.connect()
    emitter.emit('hello', b'x')
    # It returns when Redis has it.
    assert messages(stream, MessageType.BROADCAST) == [
        Broadcast(('hello', b'x'))]
    for client in clients:
        assert client.wait_for('hello') == [(b'x',)]
    emitter.enter_room(clients[0].sid, '/', 'x')
    emitter.close_room('x')
    emitter.disconnect(clients[1].sid, '/')
    wait_until(clients[1].was_disconnected)
    assert emitter.uid == EMITTER_UID
    for node in pair:
        assert node.manager.server_count() == 2


def test_what_an_emitter_cannot(make_manager: MakeManager) -> None:
    emitter = make_manager(write_only=True)
    for call in (emitter.start, emitter.server_count):
        with pytest.raises(RuntimeError, match='write-only'):
            call()
    with emitter as entered:
        entered.emit('hello', None)


def test_an_emitter_in_the_background(make_manager: MakeManager,
                                      stream: FakeStream) -> None:
    emitter = make_manager(write_only=True, publish='background')
    stream.freeze()
    emitter.emit('hello', None)
    stream.thaw()
    assert emitter.flush(DEADLINE)


def test_an_emitter_without_redis(make_manager: MakeManager,
                                  stream: FakeStream) -> None:
    stream.go_away()
    emitter = make_manager(write_only=True)
    for number in range(3):
        emitter.emit('hello', number)
    stream.come_back()
    assert emitter.flush(DEADLINE)
    assert [message.args[1] for message in messages(stream)] == [0, 1, 2]


def test_a_server_can_wait_for_redis(make_node: Callable[..., Node],
                                     stream: FakeStream) -> None:
    node = make_node(publish='sync')
    node.connect()
    for number in range(3):
        node.server.emit('hello', number)
        assert messages(stream)[-1].args[1] == number


def test_a_message_that_redis_refuses(make_manager: MakeManager,
                                      stream: FakeStream) -> None:
    emitter = make_manager(write_only=True)
    stream.refuses = lambda fields: b'too much' in fields[7]
    with pytest.raises(RedisStreamsError, match='refused'):
        emitter.emit('hello', 'too much')
    emitter.emit('hello', 'enough')
    assert emitter.stats()['refused'] == 1


# -- questions ---------------------------------------------------------------

def test_stats(pair: Pair) -> None:
    a, b = pair.connect()
    for _ in range(5):
        pair.a.server.emit('hello')
    b.wait_for('hello', 5)
    sender, receiver = pair.a.manager.stats(), pair.b.manager.stats()
    assert set(sender) == {
        'delivered', 'sent', 'batches', 'found_after_break', 'refused',
        'outbox', 'outbox_bytes', 'received', 'malformed', 'messages_lost',
        'entries_trimmed', 'messages_vanished', 'duplicates', 'failed',
        'streams_deleted', 'stream_setbacks', 'writer_restarts',
        'reader_restarts', 'requests_dropped', 'outages'}
    assert sender['delivered'] == receiver['delivered'] == 5
    assert sender['sent'] >= 5
    assert receiver['received'] >= 5
    for name in ('malformed', 'messages_lost', 'duplicates', 'failed',
                 'refused', 'outages', 'writer_restarts', 'reader_restarts'):
        assert sender[name] == receiver[name] == 0
    assert all(type(value) is int for value in sender.values())


def test_health(make_node: Callable[..., Node], stream: FakeStream) -> None:
    node = make_node()
    health = node.manager.health
    assert health() == {
        'status': 'ok', 'connected': False, 'reader_lag': None, 'outbox': 0,
        'outbox_bytes': 0, 'nodes': 0, 'messages_lost': 0,
        'last_error': None, 'outage': None, 'last_outage': None}
    node.manager.start()
    assert node.manager.flush(DEADLINE)
    wait_until(lambda: health()['connected'])
    assert health() == {
        'status': 'ok', 'connected': True, 'reader_lag': 0.0, 'outbox': 0,
        'outbox_bytes': 0, 'nodes': 1, 'messages_lost': 0,
        'last_error': None, 'outage': None, 'last_outage': None}
    stream.go_away()
    node.server.emit('hello')
    wait_until(lambda: health()['status'] == 'degraded')
    degraded = health()
    assert not degraded['connected']
    assert degraded['reader_lag'] is None
    assert degraded['outbox'] == 1
    assert degraded['outbox_bytes'] > 0
    assert 'refused' in degraded['last_error'] \
        or 'broken' in degraded['last_error']
    wait_until(lambda: health()['outage'])
    assert health()['last_outage'] is None
    stream.come_back()
    wait_until(lambda: health()['status'] == 'ok')
    assert health()['outage'] is None
    past = health()['last_outage']
    assert past['lasted'] > 0 and past['ended'] >= 0
    assert 'refused' in past['reason'] or 'broken' in past['reason']
    assert node.manager.flush(DEADLINE)
    node.manager.close()
    assert not health()['connected']


def test_server_count(make_manager: MakeManager) -> None:
    members = []
    for count in range(1, 4):
        members.append(make_manager())
        members[-1].start()
        for member in members:
            wait_for_value(member.server_count, count)
    assert members[0].server_count('/chat') == 0
    members.pop().close()
    for member in members:
        wait_for_value(member.server_count, 2)


# -- its log -----------------------------------------------------------------

def test_its_logger(make_manager: MakeManager) -> None:
    own = logging.getLogger('tests.unit.own')
    assert make_manager(logger=own)._get_logger() is own
    # A server that was not asked to log shows errors alone.
    quiet, loud = make_manager(), make_manager()
    make_server(client_manager=quiet)
    assert quiet._get_logger().name == 'redis_streams_adapter'
    its = logging.getLogger('tests.unit.server')
    its.setLevel(logging.INFO)
    make_server(client_manager=loud, logger=its)
    assert loud._get_logger() is its


def test_errors_can_be_sent_to_another_process() -> None:
    """As multiprocessing does."""
    for error in (OutboxFullError('full'), ConfigurationError('wrong'),
                  RedisStreamsError('x'), DecodeError('y'),
                  ClusterTimeoutError(['a'], ['b', 'c'])):
        copied = pickle.loads(pickle.dumps(error))
        assert type(copied) is type(error)
        assert str(copied) == str(error)
        assert vars(copied) == vars(error)


# -- losses ------------------------------------------------------------------

def test_losses_are_told(make_node: Callable[..., Node], stream: FakeStream,
                         log: Log, logged: Any) -> None:
    node = make_node(on_loss=log)
    node.manager.start()
    client = node.connect()
    for sequence in (1, 4, 4, 5, 9):
        stream.put(*Encoder('x').encode('/', Broadcast(('hello',))),
                   b'wid', b'w', b'seq', b'%d' % sequence)
    client.wait_for('hello', 4)
    assert log.calls == [Loss('missing', 'socket.io', 2, 'x'),
                         Loss('missing', 'socket.io', 3, 'x')]
    assert node.manager.stats()['messages_lost'] == 5
    assert node.manager.health()['messages_lost'] == 5
    # The second so soon behind the first is in the counter only.
    line, = logged(logging.ERROR)
    assert '2 of process x' in line and "'socket.io'" in line

    assert node.manager.flush(DEADLINE)
    stream.delete()
    stream.go_away()
    stream.come_back()
    wait_until(lambda: node.manager.stats()['streams_deleted'])
    wait_until(lambda: Loss('deleted', 'socket.io') in log.calls)
    assert len(logged(logging.ERROR)) == 2
    assert node.manager.stats()['stream_setbacks'] == 0
    # What was not logged is, at the end.
    node.manager.close()
    assert logged(logging.ERROR)[2:] == [
        'more was lost since the last line about it '
        '(messages_lost: 5 in all)']


def test_what_vanishes_is_told(make_manager: MakeManager, stream: FakeStream,
                               log: Log, logged: Any) -> None:
    stream.put(b'the', b'first')
    emitter = make_manager(write_only=True, on_loss=log)
    for number in range(5):
        emitter.emit('hello', number)
    stream.set_back(stream.entries[2].id)
    stream.go_away()
    stream.come_back()
    emitter.emit('hello', 5)
    assert emitter.flush(DEADLINE)
    assert emitter.stats()['messages_vanished'] == 3
    wait_until(lambda: log.calls)
    assert log.calls == [Loss('vanished', 'socket.io', 3)]
    assert len(logged(logging.ERROR)) == 1


def test_who_tells_of_losses_may_fail(make_node: Callable[..., Node],
                                      stream: FakeStream,
                                      logged: Any) -> None:
    def on_loss(loss: Loss) -> None:
        raise RuntimeError('of no avail')

    node = make_node(on_loss=on_loss)
    node.manager.start()
    client = node.connect()
    for sequence in (1, 4):
        stream.put(*Encoder('x').encode('/', Broadcast(('hello',))),
                   b'wid', b'w', b'seq', b'%d' % sequence)
    client.wait_for('hello', 2)
    wait_until(lambda: 'on_loss failed' in logged(logging.ERROR))
    stream.put(*Encoder('x').encode('/', Broadcast(('hello',))))
    client.wait_for('hello', 3)


# -- several streams ---------------------------------------------------------

#: A namespace for each of three streams, see ``test_routing.py``.
NAMESPACES = ['/a', '/chat', '/']


@pytest.fixture
def spread(make_node: Callable[..., Node]) -> Pair:
    """Two nodes over three streams, of which each has a namespace."""
    pair = Pair(make_node(stream_count=3), make_node(stream_count=3))
    for node in pair:
        for namespace in NAMESPACES:
            node.server.on('anything', print, namespace=namespace)
        node.manager.start()
    for node in pair:
        for namespace in NAMESPACES:
            wait_for_value(partial(node.manager.server_count, namespace), 2)
    return pair


def test_each_namespace_has_its_stream(
        spread: Pair, streams: Dict[str, FakeStream]) -> None:
    clients = spread.connect(*NAMESPACES)
    for number in range(50):
        for namespace in NAMESPACES:
            spread.a.server.emit('hello', (namespace, number),
                                 namespace=namespace)
    for client in clients:
        for namespace in NAMESPACES:
            assert client.wait_for('hello', 50, namespace) == [
                (namespace, number) for number in range(50)]
    for index, namespace in enumerate(NAMESPACES):
        own = streams[f'socket.io-{index}']
        assert {entry.fields[3] for entry in own.history} == {
            namespace.encode()}
        # Numbers have no gaps in any of them.
        assert [entry.fields[-3] for entry in own.history
                if entry.fields[5] == b'3'] == [
            b'%d' % number for number in range(1, 51)]
    assert 'socket.io' not in streams or not streams['socket.io'].history
    assert spread.b.manager.stats()['messages_lost'] == 0
    assert spread.b.manager.stats()['duplicates'] == 0


def test_one_of_the_streams_may_be_away(
        spread: Pair, streams: Dict[str, FakeStream]) -> None:
    _, client = spread.connect(*NAMESPACES)
    streams['socket.io-1'].go_away()
    for node in spread:
        wait_until(lambda: not node.manager.health()['connected'])
    for namespace in NAMESPACES:
        spread.a.server.emit('hello', namespace, namespace=namespace)
    for namespace in ('/', '/a'):
        assert client.wait_for('hello', 1, namespace) == [(namespace,)]
    assert not spread.a.manager.flush(0.05)
    assert spread.a.manager.stats()['outbox'] >= 1
    streams['socket.io-1'].come_back()
    assert spread.a.manager.flush(DEADLINE)
    assert client.wait_for('hello', 1, '/chat') == [('/chat',)]
    for node in spread:
        wait_until(lambda: node.manager.health()['status'] == 'ok')


def test_goodbye_is_said_in_each_of_the_streams(
        spread: Pair, streams: Dict[str, FakeStream]) -> None:
    spread.a.server.emit('hello', namespace='/chat')
    spread.a.manager.close()
    for index, namespace in enumerate(NAMESPACES):
        own = [open_envelope(entry.fields)
               for entry in streams[f'socket.io-{index}'].history]
        last = [envelope for envelope in own
                if envelope.uid == spread.a.manager.host_id][-1]
        assert last.type is MessageType.ADAPTER_CLOSE
        assert last.namespace == namespace
        wait_for_value(partial(spread.b.manager.server_count, namespace), 1)


def test_an_emitter_with_several_streams(
        spread: Pair, make_manager: MakeManager) -> None:
    clients = spread.connect(*NAMESPACES)
    emitter = make_manager(write_only=True, stream_count=3)
    for namespace in NAMESPACES:
        emitter.emit('hello', namespace, namespace=namespace)
    for client in clients:
        for namespace in NAMESPACES:
            assert client.wait_for('hello', 1, namespace) == [(namespace,)]


# -- the end -----------------------------------------------------------------

def test_nothing_comes_behind_the_goodbye(pair: Pair,
                                          stream: FakeStream) -> None:
    """Whoever read it would take the node for a member again."""
    going = threading.Event()

    def emit() -> None:
        going.set()
        with pytest.raises(RedisStreamsError, match='closed'):
            while True:
                pair.a.manager.emit('hello', None)

    uid = pair.a.manager.uid
    thread = threading.Thread(target=emit, daemon=True)
    thread.start()
    assert going.wait(DEADLINE)
    pair.a.manager.close()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    own = [open_envelope(entry.fields) for entry in stream.history]
    assert [envelope.type for envelope in own
            if envelope.uid == uid][-1] is MessageType.ADAPTER_CLOSE
    wait_for_value(pair.b.manager.server_count, 1)
