"""Namespaces over several streams."""
from functools import partial
from typing import Callable, Dict

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.protocol.codec import open_envelope
from redis_streams_adapter.protocol.messages import MessageType

from ...support.wait import DEADLINE, wait_for_value, wait_until
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import Node, Pair

MakeManager = Callable[..., RedisStreamsManager]


#: A namespace for each of three streams, see ``test_routing.py``.
NAMESPACES = ['/a', '/chat', '/']


@pytest.fixture
def spread(make_node: Callable[..., Node]) -> Pair:
    """Two nodes with three streams, each with a namespace."""
    pair = Pair(make_node(stream_count=3), make_node(stream_count=3))
    for node in pair:
        for namespace in NAMESPACES:
            node.server.on('anything', print, namespace=namespace)
        node.manager.start()
    for node in pair:
        for namespace in NAMESPACES:
            wait_for_value(partial(node.manager.server_count, namespace), 2)
    return pair


def test_namespaces_have_separate_streams(
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


def test_outage_of_one_stream_spares_others(
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


def test_close_is_sent_to_all_streams(spread: Pair,
                                      streams: Dict[str, FakeStream]) -> None:
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


def test_emitter_writes_to_several_streams(spread: Pair,
                                           make_manager: MakeManager) -> None:
    clients = spread.connect(*NAMESPACES)
    emitter = make_manager(write_only=True, stream_count=3)
    for namespace in NAMESPACES:
        emitter.emit('hello', namespace, namespace=namespace)
    for client in clients:
        for namespace in NAMESPACES:
            assert client.wait_for('hello', 1, namespace) == [(namespace,)]
