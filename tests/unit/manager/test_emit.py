"""``emit``: to all, to rooms, to namespaces, in one order."""
import datetime
import threading
from typing import Any, Callable

import pytest

from redis_streams_adapter import OutboxFullError, RedisStreamsManager
from redis_streams_adapter.protocol.messages import MessageType

from ...support.wait import DEADLINE, wait_for_value
from ..fake_server import DateJSON, make_server
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import messages, Node, Pair

MakeManager = Callable[..., RedisStreamsManager]


def test_emit_reaches_all_clients(pair: Pair) -> None:
    clients = pair.connect()
    pair.a.server.emit('hello', 'x')
    for client in clients:
        assert client.wait_for('hello') == [('x',)]


def test_emit_reaches_one_client(pair: Pair) -> None:
    a, b = pair.connect()
    other = pair.b.connect()
    for number, client in enumerate((a, b)):
        pair.a.server.emit('hello', number, to=client.sid)
        assert client.wait_for('hello') == [(number,)]
    pair.a.server.emit('end')
    other.wait_for('end')
    assert other.received('hello') == []


def test_emit_reaches_rooms(pair: Pair) -> None:
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


def test_emit_stays_in_namespace(pair: Pair) -> None:
    a, b = pair.connect('/', '/chat')
    pair.a.server.emit('hello', 1, namespace='/chat')
    pair.a.server.emit('hello', 2)
    for client in (a, b):
        assert client.wait_for('hello', namespace='/chat') == [(1,)]
        assert client.wait_for('hello') == [(2,)]


def test_namespace_may_appear_with_client(make_manager: MakeManager,
                                          stream: FakeStream) -> None:
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
def test_data_arrive_unchanged(pair: Pair, data: Any, args: Any) -> None:
    clients = pair.connect()
    pair.a.server.emit('hello', data)
    for client in clients:
        assert client.wait_for('hello') == [args]


def test_ignore_queue_reaches_local_clients_only(
        pair: Pair, stream: FakeStream) -> None:
    a, b = pair.connect()
    pair.a.server.emit('hello', ignore_queue=True)
    assert a.received('hello') == [()]
    pair.a.server.emit('end')
    b.wait_for('end')
    assert b.received('hello') == []
    assert len(messages(stream, MessageType.BROADCAST)) == 1


def test_send_emits_message(pair: Pair) -> None:
    clients = pair.connect()
    pair.a.server.send('x')
    for client in clients:
        assert client.wait_for('message') == [('x',)]


@pytest.mark.parametrize('data, error', [
    (object(), TypeError), ({1, 2}, TypeError), ([object()], TypeError),
    ({b'key': b'value'}, TypeError), ((b'x', object()), TypeError)])
@pytest.mark.parametrize('to_own', [True, False])
def test_unserializable_data_raise(pair: Pair, stream: FakeStream, data: Any,
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
def test_wrong_arguments_raise(pair: Pair, stream: FakeStream,
                               wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        pair.a.manager.emit(**{'event': 'hello', 'data': None, **wrong})
    assert messages(stream) == []


def test_json_module_of_server_is_used(
        make_manager: MakeManager, default_json_module: None) -> None:
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


def test_plaintext_option_refuses_bytes(make_manager: MakeManager) -> None:
    manager = make_manager(only_plaintext=True)
    manager.emit('hello', 'x')
    with pytest.raises(TypeError, match='only_plaintext'):
        manager.emit('hello', b'x')


def test_full_outbox_raises(make_node: Callable[..., Node],
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
    assert len(node.manager._live().node._requests) == 0
    # What was not accepted was not sent to any client.
    assert client.received('hello') == [(0,), (1,), (2,)]
    stream.come_back()
    assert node.manager.flush(DEADLINE)
    assert [message.args[1] for message in messages(
        stream, MessageType.BROADCAST)] == [0, 1, 2]


def test_all_clients_see_one_order(pair: Pair, stream: FakeStream) -> None:
    """However many tasks emit: the local clients see what stands in the
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


def test_outbox_and_local_delivery_are_one_step(
        pair: Pair, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    client = pair.a.connect()
    delivery = pair.a.manager._live().delivery('/')
    second = threading.Thread(
        target=lambda: pair.a.server.emit('hello', 'second'))
    append = delivery._append

    def append_and_be_interrupted(*args: Any) -> Any:
        pending = append(*args)
        if args[1][5] == b'%d' % MessageType.BROADCAST \
                and threading.current_thread() is not second:
            second.start()
            # It comes to here as well, and no further.
            second.join(0.1)
        return pending

    with monkeypatch.context() as patch:
        patch.setattr(delivery, '_append', append_and_be_interrupted)
        pair.a.server.emit('hello', 'first')
        second.join()
    assert pair.a.manager.flush(DEADLINE)
    assert client.received('hello') == [('first',), ('second',)] == [
        message.args[1:] for message in messages(
            stream, MessageType.BROADCAST)]


def test_later_changes_do_not_alter_sent_data(pair: Pair) -> None:
    a, b = pair.connect()
    data = {'list': [1]}
    pair.a.server.emit('hello', data)
    data['list'].append(2)
    for client in (a, b):
        assert client.wait_for('hello') == [({'list': [1]},)]
