"""The parts of a process together: heartbeats, flow control, and a server
that is created later."""
import logging
import threading
from typing import Any, Callable

import pytest

from redis_streams_adapter import ClusterTimeoutError, OutboxFullError, \
    RedisStreamsManager
from redis_streams_adapter.protocol import node as node_module
from redis_streams_adapter.protocol.codec import decode, Encoder, open_envelope
from redis_streams_adapter.protocol.events import Send
from redis_streams_adapter.protocol.messages import EMITTER_UID, Heartbeat, \
    MessageType

from ...support.wait import DEADLINE, wait_for_value, wait_until
from redis_streams_adapter.testing.cluster import LocalCluster
from redis_streams_adapter.testing.stream import FakeStream
from ..fake_server import FakeClient, make_server
from ..nodes import messages, Node, Pair

MakeManager = Callable[..., RedisStreamsManager]


def test_heartbeats_need_no_room_in_outbox(make_node: Callable[..., Node],
                                           stream: FakeStream,
                                           logged: Any) -> None:
    """They are skipped while the outbox is full."""
    node = make_node(outbox_limit=1)
    node.manager.start()
    # In two namespaces; there was no room for the second one at once.
    wait_until(lambda: len(messages(
        stream, MessageType.INITIAL_HEARTBEAT)) == 2)
    assert node.manager.flush(DEADLINE)
    stream.freeze()
    node.manager.emit('hello', None)
    node.manager._live().membership.say(Send('/', Heartbeat()))
    stream.thaw()
    assert node.manager.flush(DEADLINE)
    assert node.manager.health()['status'] == 'ok'
    assert logged(logging.ERROR) == []
    assert any('no room' in line for line in logged(logging.DEBUG))


def test_lagging_reader_is_announced(pair: Pair, stream: FakeStream) -> None:
    """The other process waits for it."""
    a, b = (node.manager._live().channels[0] for node in pair)
    lagging = b.lagging
    assert pair.a.manager.flush(DEADLINE)
    lagging(stream.entries[0].id)
    readers = a.writer.backpressure.flow.readers
    uid = pair.b.manager.uid
    wait_until(lambda: uid in readers and readers[uid].lags)
    said = [open_envelope(entry.fields) for entry in stream.history
            if entry.fields[-2:] == [
                b'behind', bytes(stream.entries[0].id)]][-1]
    assert said.uid == uid
    assert decode(said) == Heartbeat(stream.entries[0].id)
    # It takes account of itself, too: it may be among the entries of others.
    local = b.writer.backpressure.flow.local
    assert local is not None and local.position == stream.entries[0].id
    lagging(None)
    wait_until(lambda: not readers[uid].lags)
    lagging(stream.entries[0].id)
    wait_until(lambda: readers[uid].lags)
    pair.b.manager.close()
    wait_until(lambda: uid not in readers)


def test_first_burst_waits_for_local_reader(make_node: Callable[..., Node],
                                            stream: FakeStream) -> None:
    """Our own reader counts before it has come to anything of ours."""
    manager = make_node(max_len=20).manager
    manager.start()
    assert manager.flush(DEADLINE)
    channel, = manager._live().channels
    stuck = threading.Event()
    handle = channel.reader._handle
    channel.reader._handle = lambda entry: (  # type: ignore[assignment]
        stuck.wait(DEADLINE), handle(entry))
    for number in range(100):
        manager.emit('hello', number)
    wait_until(lambda: channel.writer.backpressure.held)
    # 3/8 of what the stream keeps.
    assert len(messages(stream, MessageType.BROADCAST)) == 7
    stuck.set()
    assert manager.flush(DEADLINE)


def test_joining_writer_has_share_at_once(
        make_node: Callable[..., Node],
        monkeypatch: pytest.MonkeyPatch) -> None:
    """All processes may emit much when they start."""
    monkeypatch.setattr(node_module, 'TICK_INTERVAL', 100)
    first, second = (make_node(heartbeat_interval=100, heartbeat_timeout=200
                               ).manager for _ in range(2))
    first.start()
    second.start()
    for manager in (first, second):
        wait_for_value(manager.server_count, 2)
        channel, = manager._live().channels
        wait_for_value(lambda: channel.writer.backpressure.flow.window, 1875)


def test_writer_from_before_deletion_lost_nothing(
        make_node: Callable[..., Node], make_manager: MakeManager,
        stream: FakeStream) -> None:
    """As if Redis stores nothing on disk, and is restarted with a server."""
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


def test_a_request_for_which_there_is_no_room(logged: Any) -> None:
    """The node that asks learns which one does not answer. That one says why
    in a line, not in a traceback for each request."""
    with LocalCluster(2, connection_state_recovery=True, outbox_limit=3,
                      request_transport='pubsub') as cluster:
        servers = [make_server(client_manager=manager)
                   for manager in cluster.managers]
        cluster.start()
        client = FakeClient(servers[1])
        asking, asked = cluster.managers
        assert [manager.server_count() for manager in cluster.managers
                ] == [2, 2]
        cluster.settle()
        stream = cluster.redis.stream('socket.io')
        stream.freeze()
        with pytest.raises(OutboxFullError):
            for number in range(4):
                asked.emit('filler', number)
        with pytest.raises(ClusterTimeoutError) as info:
            asking.emit_with_ack('question', to=[client.sid], timeout=0.3)
        assert info.value.missing == [asked.uid]
        assert logged(logging.ERROR) == []
        assert [line for line in logged(logging.WARNING)
                if 'outbox_limit=3' in line]
        assert client.received('question') == []
        stream.thaw()


# -- a server that is created later ------------------------------------------

@pytest.mark.parametrize('use', [
    lambda manager: manager.emit('early', None),
    lambda manager: manager.uid, lambda manager: manager.stats(),
    lambda manager: manager.start(), lambda manager: manager.close()],
    ids=['emit', 'uid', 'stats', 'start', 'close'])
@pytest.mark.parametrize('stream_count', [1, 2])
def test_recovery_of_a_manager_that_was_used_before_it_had_a_server(
        use: Callable[[Any], Any], stream_count: int) -> None:
    """Its clients connect and return as if it had had one from the start."""
    with LocalCluster(2, connection_state_recovery=True,
                      stream_count=stream_count) as cluster:
        first = cluster.managers[0]
        use(first)
        servers = [make_server(client_manager=manager)
                   for manager in cluster.managers]
        cluster.start()
        client = FakeClient(servers[0])
        sid, pid = client.sid, client.reply()['pid']
        servers[0].emit('hello', 1)
        cluster.settle()
        (number, offset), = client.received('hello')
        assert number == 1
        assert first.stats()['sessions'] == 1
        client.lose()
        for server in servers:
            server.emit('hello', 2)
        cluster.settle()
        back = FakeClient(servers[0], auth={'pid': pid, 'offset': offset})
        servers[1].emit('hello', 3)
        cluster.settle()
        assert back.sid == sid
        assert [args[0] for args in back.received('hello')] == [2, 2, 3]
        outcome = first.recovery(sid)
        assert outcome is not None and outcome.recovered


@pytest.mark.parametrize('use', [
    lambda manager: manager.emit('early', None),
    lambda manager: manager.start()], ids=['emit', 'start'])
def test_what_was_emitted_before_there_was_a_server(
        use: Callable[[Any], Any]) -> None:
    """It is sent once, also while Redis is away."""
    with LocalCluster(1, connection_state_recovery=True) as cluster:
        manager, = cluster.managers
        cluster.disconnect()
        use(manager)
        for number in range(3):
            manager.emit('hello', number)
        make_server(client_manager=manager)
        manager.emit('hello', 3)
        cluster.reconnect()
        assert manager.flush(DEADLINE)
        assert [each.args[1] for each in messages(
            cluster.redis.stream('socket.io'), MessageType.BROADCAST)
            if each.args[0] == 'hello'] == [0, 1, 2, 3]
        # Signs of life may follow.
        wait_until(lambda: manager.stats()['outbox'] == 0)


def test_entry_being_read_when_server_is_created_is_not_lost() -> None:
    """It is not in the history of the new server, which knows that."""
    with LocalCluster(2, connection_state_recovery=True) as cluster:
        manager, other = cluster.managers
        server = make_server(client_manager=other)
        # Makes the namespace one that is served, and so recorded.
        manager.on_server_side('unused', lambda: None)
        cluster.start()
        client = FakeClient(server)
        pid = client.reply()['pid']
        server.emit('hello', 1)
        cluster.settle()
        (_, offset), = client.received('hello')
        client.lose()
        cluster.settle()
        delivery: Any = manager._live().channels[0].delivery
        received = delivery.received
        arrived, go_on = threading.Event(), threading.Event()

        def wait(*args: Any) -> None:
            arrived.set()
            go_on.wait(DEADLINE)
            received(*args)

        delivery.received = wait
        server.emit('hello', 2)
        assert arrived.wait(DEADLINE)
        new = make_server(client_manager=manager)
        go_on.set()
        server.emit('hello', 3)
        cluster.settle()
        back = FakeClient(new, auth={'pid': pid, 'offset': offset})
        cluster.settle()
        assert [args[0] for args in back.received('hello')] == [2, 3]


def test_server_that_replaces_another_one() -> None:
    """An application may be made several times with one manager, by a test
    of it, say. The clients of the last server are recovered."""
    with LocalCluster(2, connection_state_recovery=True) as cluster:
        manager, other = cluster.managers
        make_server(client_manager=other)
        cluster.start()
        FakeClient(make_server(client_manager=manager))
        server = make_server(client_manager=manager)
        client = FakeClient(server)
        sid, pid = client.sid, client.reply()['pid']
        server.emit('hello', 1)
        cluster.settle()
        (_, offset), = client.received('hello')
        client.lose()
        other.emit('hello', 2)
        cluster.settle()
        back = FakeClient(server, auth={'pid': pid, 'offset': offset})
        cluster.settle()
        assert back.sid == sid
        assert [args[0] for args in back.received('hello')] == [2]
        assert manager.health()['status'] == 'ok'


# -- the log -----------------------------------------------------------------

@pytest.mark.parametrize('recovery', [None, True])
def test_the_start_is_logged(make_manager: MakeManager, logged: Any,
                             recovery: Any) -> None:
    manager = make_manager(stream_name='chat',
                           connection_state_recovery=recovery)
    for _ in range(2):
        manager.start()
    assert [line for line in logged(logging.INFO) if 'joining' in line] == [
        f'joining the cluster: stream chat, connection state recovery '
        f'{"on" if recovery else "off"}, uid {manager.uid}']


@pytest.mark.parametrize('count, waiting, back', [
    (0, '', 'no message waits'),
    (1, ', so far 1', '1 message waits in the outbox'),
    (3, ', so far 3', '3 messages wait in the outbox')])
def test_an_outage_is_logged(
        make_manager: MakeManager, stream: FakeStream, count: int,
        waiting: str, back: str) -> None:
    stream.go_away()
    manager = make_manager(publish='background')
    for number in range(count):
        manager.emit('news', number)
    runtime = manager._live()
    assert runtime._waiting() == \
        'messages wait in the outbox until it is back' + waiting
    assert runtime._backlog() == back


def test_records_name_the_node(
        make_manager: MakeManager, stream: FakeStream,
        caplog: pytest.LogCaptureFixture) -> None:
    """One line when it joins, one when it has left."""
    caplog.set_level(logging.INFO)
    manager = make_manager()
    manager.start()
    uid = manager.uid
    manager.close()
    manager.close()
    assert [(record.event, record.node) for record in caplog.records
            if getattr(record, 'event', None) in ('joined', 'left')] == [
        ('joined', uid), ('left', uid)]
    left = caplog.records[-1]
    assert left.count == 0 and left.seconds >= 0
    assert 'left the cluster after' in left.getMessage()
    # The next member of this process has a new uid.
    manager.start()
    assert caplog.records[-1].node == manager.uid != uid
