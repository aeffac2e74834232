"""``cluster_stats`` over the fake stream: who is asked, and who answers."""
import json
import os
from typing import Any, Callable, List

import pytest

from redis_streams_adapter import ClusterTimeoutError, NodeStats, \
    RedisStreamsManager
from redis_streams_adapter.protocol.codec import Encoder, open_envelope
from redis_streams_adapter.protocol.messages import AdapterClose, \
    FetchSockets, FetchSocketsResponse, Heartbeat, InitialHeartbeat, \
    MessageType, Page
from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.testing.stream import FakeStream

from ...support.wait import DEADLINE, wait_until
from ..nodes import Call, messages, Pair

pytestmark = pytest.mark.usefixtures('nothing_is_open')

MakeManager = Callable[..., RedisStreamsManager]

#: Seconds of a wait that is expected to fail.
SHORT = 0.3


def put(stream: FakeStream, uid: str, message: Any, writer: str = '',
        number: int = 0, namespace: str = '/') -> None:
    """Write as another server does.

    :param writer: the id of its writer, if it runs this package.
    """
    fields = Encoder(uid).encode(namespace, message)
    if writer:
        fields += (b'wid', writer.encode(), b'seq', b'%d' % number,
                   b'since', bytes(START))
    stream.put(*fields)


def questions(stream: FakeStream) -> List[FetchSockets]:
    return list(messages(stream, MessageType.FETCH_SOCKETS))


def names(found: List[NodeStats]) -> List[str]:
    return [each.uid for each in found]


def test_every_server_answers(pair: Pair, stream: FakeStream) -> None:
    pair.connect()
    first = pair.a.connect('/', '/chat')
    pair.a.server.enter_room(first.sid, 'tea')
    found = pair.b.manager.cluster_stats()
    assert names(found) == [pair.b.manager.uid, pair.a.manager.uid]
    for each, node in zip(found, (pair.b, pair.a)):
        assert each.language == 'python'
        assert each.pid == os.getpid()
        assert each.stats is not None and each.health is not None
        assert each.stats.keys() == node.manager.stats().keys()
        assert each.health.keys() == node.manager.health().keys()
    assert [each.clients for each in found] == [1, 3]
    assert [each.rooms for each in found] == [0, 1]
    assert found[0].last_seen == 0 <= found[1].last_seen
    assert found[1].namespaces == ['/', '/chat']


def test_no_client_and_no_handler_hears_of_it(pair: Pair,
                                              stream: FakeStream) -> None:
    client, _ = pair.connect()
    heard: List[Any] = []
    pair.a.manager.on_server_side('stats', lambda *args: heard.append(args))
    before = len(client.events('/'))
    pair.b.manager.cluster_stats()
    assert len(client.events('/')) == before
    assert heard == []


def test_alone(make_manager: MakeManager, stream: FakeStream) -> None:
    manager = make_manager()
    found, = manager.cluster_stats()
    assert found.uid == manager.uid
    assert questions(stream) == []


def test_servers_of_other_namespaces_and_streams(
        make_manager: MakeManager, make_node: Any, streams: Any) -> None:
    """Each is asked in a namespace that it serves, whatever its stream."""
    nodes = [make_node(stream_count=3,
                       server={'namespaces': [namespace]})
             for namespace in ('/a', '/b', '/c', '/d')]
    for node in nodes:
        node.server.handlers.clear()
        node.manager.start()
    manager = make_manager(stream_count=3)
    found = manager.cluster_stats()
    assert set(names(found)) == {
        manager.uid, *(node.manager.uid for node in nodes)}
    assert all(each.pid for each in found)


def test_question_for_node_js_is_cheap(pair: Pair,
                                       stream: FakeStream) -> None:
    """It asks for the clients in a room that has none."""
    pair.a.manager.cluster_stats()
    question, = questions(stream)
    assert question.stats
    assert question.target.rooms == (question.request_id,)
    for entry in stream.history:
        envelope = open_envelope(entry.fields)
        if envelope.type is MessageType.FETCH_SOCKETS:
            assert json.loads(envelope.data)['opts']['rooms']


def test_server_in_node_js_is_not_waited_for(pair: Pair,
                                             stream: FakeStream) -> None:
    put(stream, 'js', InitialHeartbeat())
    wait_until(lambda: pair.a.manager.server_count() == 3)
    found = pair.a.manager.cluster_stats(timeout=DEADLINE)
    js, = [each for each in found if each.uid == 'js']
    assert js[:2] == ('js', 'javascript')
    assert set(js[3:]) == {None}
    assert len(found) == 3
    assert all(each.pid for each in found if each.uid != 'js')


def test_old_server_is_there(pair: Pair, stream: FakeStream) -> None:
    """It does not know the question, and answers that it has no clients in
    that room."""
    put(stream, 'old', InitialHeartbeat(), 'w')
    wait_until(lambda: pair.a.manager.server_count() == 3)
    call = Call(pair.a.manager.cluster_stats, timeout=DEADLINE)
    wait_until(lambda: questions(stream))
    question, = questions(stream)
    put(stream, 'old', FetchSocketsResponse(
        question.request_id, (), Page(0, True)), 'w', 1)
    old, = [each for each in call.result() if each.uid == 'old']
    assert old[:2] == ('old', 'python')
    assert set(old[3:]) == {None}


def test_silent_server(pair: Pair, stream: FakeStream) -> None:
    """The error names it, and has the answers of the others."""
    put(stream, 'old', InitialHeartbeat(), 'w')
    wait_until(lambda: pair.a.manager.server_count() == 3)
    with pytest.raises(ClusterTimeoutError) as caught:
        pair.a.manager.cluster_stats(timeout=SHORT)
    assert caught.value.missing == ['old']
    assert names(caught.value.responses) == [
        pair.a.manager.uid, pair.b.manager.uid]
    assert 'only 1 responses received out of 2' in str(caught.value)


def test_server_that_leaves_is_not_waited_for(pair: Pair,
                                              stream: FakeStream) -> None:
    put(stream, 'old', InitialHeartbeat(), 'w')
    wait_until(lambda: pair.a.manager.server_count() == 3)
    call = Call(pair.a.manager.cluster_stats, timeout=DEADLINE)
    wait_until(lambda: questions(stream))
    put(stream, 'old', AdapterClose(), 'w')
    assert len(call.result()) == 2


def test_malformed_answer(pair: Pair, stream: FakeStream) -> None:
    """It is counted and skipped, and its server is missing."""
    put(stream, 'old', Heartbeat(), 'w')
    wait_until(lambda: pair.a.manager.server_count() == 3)
    call = Call(pair.a.manager.cluster_stats, timeout=SHORT)
    wait_until(lambda: questions(stream))
    question, = questions(stream)
    put(stream, 'old', FetchSocketsResponse(
        question.request_id, (), Page(0, True), stats={'pid': 'x'}), 'w', 1)
    with pytest.raises(ClusterTimeoutError) as caught:
        call.result()
    assert caught.value.missing == ['old']
    assert pair.a.manager.stats()['malformed'] == 1


def test_redis_is_away(pair: Pair, stream: FakeStream) -> None:
    stream.go_away()
    with pytest.raises(ClusterTimeoutError) as caught:
        pair.a.manager.cluster_stats(timeout=SHORT)
    assert names(caught.value.responses) == [pair.a.manager.uid]


def test_write_only(make_manager: MakeManager) -> None:
    with pytest.raises(RuntimeError, match='write-only'):
        make_manager(write_only=True).cluster_stats()
