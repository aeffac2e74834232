"""Answers of all members, and the uid under which a manager writes, over the
fake stream."""
import threading
import time
from typing import Any, Callable, Dict, List

import pytest

from redis_streams_adapter import ClusterTimeoutError, RedisStreamsError, \
    RedisStreamsManager
from redis_streams_adapter.cluster import calls
from redis_streams_adapter.concurrency.engines import ServerEngine, \
    ThreadEngine
from redis_streams_adapter.protocol.codec import Encoder, Envelope, \
    open_envelope
from redis_streams_adapter.protocol.messages import AdapterClose, Broadcast, \
    EMITTER_UID, EVERYONE, Heartbeat, MessageType, ServerSideEmit, \
    SocketsJoin
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.routing import stream_index
from redis_streams_adapter.stream import read_back

from ...support.wait import DEADLINE, wait_for_value, wait_until
from redis_streams_adapter.testing.stream import FakeStream, Fault
from ..nodes import Call, messages, Node

MakeManager = Callable[..., RedisStreamsManager]

#: Seconds of a wait that is expected to fail.
SHORT = 0.3

#: Seconds: more than a node needs to reach the stream when it starts. What is
#: trimmed after its start may be an entry that it should have read.
PAST = 1.0

#: Seconds: longer than any test.
AMPLE = DEADLINE * 3


def envelopes(stream: FakeStream) -> List[Envelope]:
    return [open_envelope(entry.fields) for entry in list(stream.history)]


def uids(stream: FakeStream, namespace: str) -> set:  # type: ignore
    return {each.uid for each in envelopes(stream)
            if each.namespace == namespace}


def put(stream: FakeStream, message: Any, uid: str = EMITTER_UID,
        namespace: str = '/') -> None:
    stream.put(*Encoder(uid).encode(namespace, message))


@pytest.fixture
def trimmed(stream: FakeStream) -> FakeStream:
    """A stream that does not reach back far enough to show all members."""
    for _ in range(10):
        put(stream, Broadcast(('hello',)))
    stream.trim(1)
    stream.advance(PAST)
    return stream


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, 'TIMEOUT', SHORT)


# -- unknown members ---------------------------------------------------------

def test_unknown_members(make_manager: MakeManager, trimmed: FakeStream,
                         quick: None) -> None:
    """The call raises, and nothing is sent."""
    manager = make_manager()
    manager.start()
    for call in (lambda: manager.server_count(), lambda: manager.nodes(),
                 lambda: manager.server_count('/chat'),
                 lambda: manager.fetch_sockets(timeout=SHORT),
                 lambda: manager.all_rooms('/chat', timeout=SHORT),
                 lambda: manager.emit_with_ack('hi', timeout=SHORT),
                 lambda: manager.server_side_call('hi', timeout=SHORT)):
        with pytest.raises(ClusterTimeoutError) as info:
            call()  # type: ignore[no-untyped-call]
        assert 'does not know all members' in str(info.value)
        assert info.value.responses == info.value.missing == []
    assert {type(each) for each in messages(trimmed)} == {Broadcast}
    assert len(messages(trimmed)) == 10


def test_members_that_become_known_in_time(make_manager: MakeManager,
                                           trimmed: FakeStream) -> None:
    """Every member has written by then."""
    manager = make_manager(heartbeat_interval=1.0, heartbeat_timeout=2.0)
    manager.start()
    call = Call(manager.server_count)

    def beat() -> bool:
        put(trimmed, Heartbeat(), 'a')
        return not call.waits

    wait_until(beat)
    assert call.result() == 2


def test_server_counts_itself(make_manager: MakeManager,
                              stream: FakeStream) -> None:
    """Even if it knows all others a moment before it joins."""
    put(stream, Broadcast(('hello',)))
    stream.advance(60.0)
    manager = make_manager()
    runtime = manager._live()
    reader = runtime.channels[0].reader
    read_back: Any = reader._read_back
    has_read, go_on = threading.Event(), threading.Event()

    def read_slowly(*args: Any) -> None:
        read_back(*args)
        has_read.set()
        go_on.wait(DEADLINE)

    reader._read_back = read_slowly  # type: ignore[assignment]
    start = Call(manager.start)
    assert has_read.wait(DEADLINE)
    count = Call(manager.server_count)
    wait_until(lambda: runtime.requester.members.waiting or not count.waits)
    go_on.set()
    assert count.result() == 1
    start.result()


def test_list_of_members(make_manager: MakeManager,
                         stream: FakeStream) -> None:
    """An older member lists them, also in a namespace that the new one does
    not serve."""
    first = make_manager()
    first.on_server_side('x', lambda: None, namespace='/chat')
    first.start()
    assert first.server_count() == first.server_count('/chat') == 1
    put(stream, Heartbeat(), 'silent', '/chat')
    wait_for_value(lambda: first.server_count('/chat'), 2)
    put(stream, Broadcast(('hello',)))
    stream.trim(1)
    stream.advance(PAST)
    newcomer = make_manager()
    newcomer.start()
    assert newcomer.server_count() == 2
    assert {each.uid for each in newcomer.nodes('/chat')} == {
        first.uid, 'silent'}


def answer(manager: RedisStreamsManager, stream: FakeStream,
           members: Dict[str, float]) -> None:
    """Answer like a member that knows all others, and leave."""
    reader = manager._live().channels[0].reader
    wait_until(lambda: reader.cursor is not None)
    stream.advance(0.001)
    put(stream, Heartbeat(members=members, at=stream.last), 'a')
    put(stream, AdapterClose(), 'a')
    wait_until(lambda: reader.cursor == stream.last)


def test_count_during_an_outage(make_manager: MakeManager, stream: FakeStream,
                                quick: None) -> None:
    """The last known number, once there was one."""
    stream.go_away()
    manager = make_manager()
    manager.start()
    with pytest.raises(ClusterTimeoutError):
        manager.server_count()
    stream.come_back()
    wait_until(lambda: manager.health()['status'] == 'ok')
    assert manager.server_count() == 1
    stream.go_away()
    assert manager.server_count() == 1
    with pytest.raises(ClusterTimeoutError) as info:
        manager.fetch_sockets(timeout=SHORT)
    assert 'has not come through Redis' in str(info.value)


@pytest.mark.parametrize('loss', ['delete', 'set back'])
def test_count_after_a_loss(make_manager: MakeManager, stream: FakeStream,
                            loss: str) -> None:
    """Members may have joined in the lost part: the others are asked again.
    """
    options = {'block_time': 0.05}
    one, two = (make_manager(**options) for _ in range(2))
    for each in one, two:
        each.start()
    for each in one, two:
        wait_for_value(each.server_count, 2)
    before = len(stream.history)
    stream.advance(1.0)
    if loss == 'delete':
        stream.delete()
    else:
        stream.set_back(stream.entries[0].id)
    wait_until(lambda: {
        each.uid for each in envelopes(stream)[before:]
        if each.type is MessageType.INITIAL_HEARTBEAT} >= {one.uid, two.uid})
    if loss == 'delete':
        # The stream is a different one, and both have read all of it.
        assert one.server_count() == two.server_count() == 2


def test_count_in_the_managers_tasks(make_manager: MakeManager,
                                     trimmed: FakeStream) -> None:
    """It returns the known number; no call waits there for more."""
    manager = make_manager()
    manager.start()
    runtime = manager._live()
    raised: List[BaseException] = []

    def act(act: Any) -> None:
        try:
            manager.server_count()
        except RuntimeError as exc:
            raised.append(exc)

    runtime.delivery('/')._act = act
    put(trimmed, SocketsJoin(EVERYONE, ('x',)))
    wait_until(lambda: raised)
    assert 'must not be made' in str(raised[0])


def test_count_after_close(make_manager: MakeManager) -> None:
    manager = make_manager()
    manager.start()
    assert manager.server_count() == 1
    manager.close()
    assert manager.server_count() == 0 and manager.nodes() == []
    with pytest.raises(RedisStreamsError):
        manager.fetch_sockets(timeout=AMPLE)


@pytest.mark.parametrize('listed', [False, True])
def test_former_membership_is_not_counted(make_manager: MakeManager,
                                          stream: FakeStream,
                                          listed: bool) -> None:
    """Its goodbye was not stored, so others still take it for a member."""
    manager = make_manager()
    manager.start()
    assert manager.server_count() == 1
    former = manager.uid
    stream.go_away()
    manager.close(0.1)
    stream.come_back()
    stream.advance(1.0)
    if listed:
        put(stream, Heartbeat(), former)
        stream.trim(1)
        stream.advance(PAST)
    manager.start()
    if listed:
        answer(manager, stream, {former: 1.0})
    assert manager.server_count() == 1
    assert manager.fetch_sockets(timeout=AMPLE) == []


def test_history_that_takes_too_long(
        make_manager: MakeManager, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The goodbye of a member was not read."""
    monkeypatch.setattr(read_back, 'PAGE_ENTRIES', 1)
    monkeypatch.setattr(read_back, 'PATIENCE', SHORT)
    for engine in ServerEngine, ThreadEngine:
        monkeypatch.setattr(engine, 'pause', lambda self: time.sleep(SHORT))
    for message in (Heartbeat(), AdapterClose(), AdapterClose()):
        put(stream, message, 'former')
    stream.advance(PAST)
    manager = make_manager()
    manager.start()
    answer(manager, stream, {})
    assert manager.server_count() == 1


# -- nodes that are asked ----------------------------------------------------

def test_node_that_joins_before_the_request(make_cluster: Any,
                                            stream: FakeStream) -> None:
    """Its announcement has not been read when the call is made."""
    node: Node = make_cluster(1)[0]
    link = stream.link()
    link.connect()
    arrival = [*Encoder('late').encode('/', Heartbeat())]
    append = node.manager._live().append

    def append_after(*args: Any, **kwargs: Any) -> Any:
        if args[1][5] == b'%d' % MessageType.SERVER_SIDE_EMIT:
            link.append([arrival])
        return append(*args, **kwargs)

    node.manager._live().append = append_after  # type: ignore
    with pytest.raises(ClusterTimeoutError) as info:
        node.manager.server_side_call('hi', timeout=SHORT)
    assert info.value.missing == ['late']
    assert len(messages(stream, MessageType.SERVER_SIDE_EMIT)) == 1


def test_node_that_joins_after_the_request(make_cluster: Any,
                                           stream: FakeStream) -> None:
    first, second = make_cluster(2)
    second.manager.on_server_side('hi', lambda: 'yes')
    delivery = second.manager._live().delivery('/')
    act = delivery._act
    joined = threading.Event()

    def act_after(message: Any) -> None:
        if isinstance(message.message, ServerSideEmit):
            put(stream, Heartbeat(), 'late')
            joined.set()
        act(message)

    delivery._act = act_after
    assert first.manager.server_side_call('hi', timeout=AMPLE) == ['yes']
    assert joined.is_set()


# -- the uid of its entries --------------------------------------------------

def test_uid_before_membership(make_node: Any, stream: FakeStream) -> None:
    node: Node = make_node()
    node.server.emit('hello')
    node.manager.flush(DEADLINE)
    assert uids(stream, '/') == {EMITTER_UID}
    node.manager.start()
    node.server.emit('hello')
    node.server.emit('hello', namespace='/foreign')
    node.manager.disconnect('sid', '/foreign')
    assert node.manager.flush(DEADLINE)
    assert uids(stream, '/') == {EMITTER_UID, node.manager.uid}
    assert uids(stream, '/foreign') == {EMITTER_UID}


def test_nothing_is_written_after_the_goodbye(make_manager: MakeManager,
                                              stream: FakeStream) -> None:
    """However many tasks emit and serve at the same time."""
    manager = make_manager()
    manager.start()
    manager.server_count()
    runtime = manager._live()
    over = threading.Event()
    served: List[str] = ['/', '/chat']
    runtime.membership.namespaces = lambda: list(served)

    def emit() -> None:
        while not over.is_set():
            try:
                for _ in range(50):
                    manager.emit('hello', None, namespace='/chat')
                # They emit faster than the writer writes: close() would
                # give up before the goodbye if thousands waited.
                manager.flush(DEADLINE)
            except RedisStreamsError:
                return

    def serve() -> None:
        while not over.is_set():
            runtime.membership.serve()

    threads = [threading.Thread(target=each) for each in (
        emit, emit, serve, serve)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        if '/chat' in served:
            served.remove('/chat')
        else:
            served.append('/chat')
        count = len(stream.history)
        wait_until(lambda: len(stream.history) > count)
    manager.close()
    over.set()
    for thread in threads:
        thread.join(DEADLINE)
    member: Dict[str, bool] = {}
    for each in envelopes(stream):
        if each.uid != manager.uid:
            continue
        if each.type is MessageType.INITIAL_HEARTBEAT:
            member[each.namespace] = True
        assert member.get(each.namespace), each
        if each.type is MessageType.ADAPTER_CLOSE:
            member[each.namespace] = False
    assert member == {'/': False, '/chat': False}


def test_questions_are_not_heartbeats(make_manager: MakeManager,
                                      trimmed: FakeStream) -> None:
    """They are written as an emitter; other servers drop a node that only
    asks."""
    manager = make_manager(heartbeat_interval=60.0, heartbeat_timeout=120.0)
    manager.start()
    runtime = manager._live()
    wait_until(lambda: envelopes(trimmed)[-1].uid == manager.uid)
    said = runtime.node.next_tick(0.0)
    runtime.membership.ask_for_members('/')
    assert runtime.node.next_tick(0.0) == said
    assert manager.flush(DEADLINE)
    # The report of a position may follow: it is a sign of life.
    assert [each.uid for each in envelopes(trimmed)
            if each.type is MessageType.INITIAL_HEARTBEAT] == [
                manager.uid, EMITTER_UID]


def test_last_decision_determines_the_channels(
        make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """One task is slow, and another one adds namespaces in the meantime."""
    manager = make_manager()
    manager.start()
    runtime = manager._live()
    runtime.tasks.by_name['heartbeat'].stop()
    assert runtime.tasks.by_name['heartbeat'].join(DEADLINE)
    serve, listened = runtime.requester.serve, []
    decided, go_on = threading.Event(), threading.Event()

    def serve_slowly(namespaces: Any) -> None:
        if not decided.is_set():
            decided.set()
            go_on.wait(SHORT)
        serve(namespaces)
        listened.append([*namespaces])

    monkeypatch.setattr(runtime.requester, 'serve', serve_slowly)
    call = Call(manager.on_server_side, 'x', lambda: None, '/news')
    assert decided.wait(DEADLINE)
    manager.on_server_side('x', lambda: None, namespace='/chat')
    go_on.set()
    call.result()
    assert listened == [['/', '/news'], ['/', '/news', '/chat']]


def test_no_request_after_the_goodbye(make_cluster: Any, stream: FakeStream,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """If a close was struck, and the connection breaks during it."""
    node, _ = make_cluster(2, heartbeat_interval=60.0,
                           heartbeat_timeout=120.0)
    runtime, uid = node.manager._live(), node.manager.uid

    def strike(*_: Any) -> None:
        raise KeyboardInterrupt

    stream.plan('append', Fault.BREAK_AFTER)
    with monkeypatch.context() as patch:
        patch.setattr(runtime.node, 'serve', strike)
        with pytest.raises(KeyboardInterrupt):
            node.manager.close()
        assert node.manager.flush(DEADLINE)
        assert not stream.planned
        wait_until(lambda: runtime._redis.ok)
    node.manager.close()
    assert [each.type for each in envelopes(stream)
            if each.uid == uid][-1] is MessageType.ADAPTER_CLOSE


def test_announcement_without_room_in_the_outbox(make_manager: MakeManager,
                                                 stream: FakeStream) -> None:
    """It writes as an emitter until there is room."""
    manager = make_manager(outbox_limit=3)
    manager.start()
    manager.server_count()
    stream.error = 'OOM'
    for number in range(3):
        manager.emit('hello', number)
    manager.on_server_side('x', lambda: None, namespace='/chat')
    assert not manager._live().channel('/chat').signature.joined('/chat')
    stream.error = None
    assert manager.flush(DEADLINE)
    manager.emit('hello', None, namespace='/chat')
    wait_until(lambda: manager.uid in uids(stream, '/chat'))
    said = [each for each in envelopes(stream) if each.namespace == '/chat'
            and each.uid == manager.uid]
    assert said[0].type is MessageType.INITIAL_HEARTBEAT


def test_lagging_reader_of_a_non_member(
        make_manager: MakeManager, streams: Dict[str, FakeStream]) -> None:
    """Each writer to the stream knows the node, and none takes it for a
    member."""
    one, two = (make_manager(stream_count=2) for _ in range(2))
    for each in one, two:
        each.start()
        each.server_count()
    other = 1 - stream_index('/', 2)
    channel, theirs = (each._live().channels[other] for each in (one, two))
    readers = theirs.writer.backpressure.flow.readers

    def lags() -> bool:
        return one.uid in readers and readers[one.uid].lags

    channel.lagging(Position(1, 1))
    wait_until(lags)
    assert {each.uid for each in envelopes(
        streams[f'socket.io-{other}'])} == {EMITTER_UID}
    # The local reader counts by itself.
    assert one.uid not in channel.writer.backpressure.flow.readers
    channel.lagging(None)
    wait_until(lambda: not lags())


# -- the log -----------------------------------------------------------------

def test_joining_and_leaving_nodes_are_logged(make_manager: MakeManager,
                                              stream: FakeStream,
                                              logged: Any) -> None:
    """At level INFO only if this server is a member itself."""
    import logging

    put(stream, Heartbeat(), 'before')
    stream.advance(1)
    manager = make_manager(logger=logging.getLogger('tests.unit'))
    manager.start()
    for uid in ('a', 'b'):
        put(stream, Heartbeat(), uid)
        put(stream, Heartbeat(), uid, '/chat')
    wait_until(lambda: 'node b joined [/chat]' in logged(logging.DEBUG))
    assert [line for line in logged(logging.INFO)
            if line.startswith('node')] == [
                'node before is there [/]', 'node a joined [/]',
                'node b joined [/]']


def test_waiting_calls_end(make_manager: MakeManager,
                           trimmed: FakeStream) -> None:
    """They end as soon as all members are known."""
    manager = make_manager()
    manager.start()
    call = Call(manager.server_side_call, 'hi', timeout=AMPLE)
    wait_until(lambda: any(
        each.type is MessageType.INITIAL_HEARTBEAT and each.uid == EMITTER_UID
        for each in envelopes(trimmed)))
    assert call.waits
    put(trimmed, Heartbeat(members={}, at=trimmed.last))
    assert call.result() == []
