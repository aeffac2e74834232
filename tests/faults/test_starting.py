"""Servers that start while a real Redis does not answer them: their clients
get all that is emitted from the moment at which they are told that they are
connected."""
import contextlib
import itertools
import threading
import time
from typing import Any, Callable, Iterator, List, NamedTuple, Optional

import pytest
import socketio

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.protocol.routing import stream_index
from redis_streams_adapter.runtime import runtime
from redis_streams_adapter.losses import COUNTERS

from ..support.proxy import Proxy
from ..support.ports import free_port
from ..support.redis_server import RedisServer
from ..support.wait import DEADLINE, wait_until
from ..unit.fake_server import FakeClient, make_server
from ..unit.nodes import Call

_numbers = itertools.count(1)

#: How many events are emitted at once: more than a page holds.
COUNT = 250

#: A command, and whether its reply is held back or its arrival, together with
#: everything after it. An empty command stands for everything.
HELD = [(b'', False), (b'CLIENT', True), (b'TIME', False), (b'TIME', True),
        (b'XINFO', False), (b'XINFO', True), (b'XREAD', False),
        (b'XREAD', True)]

#: The socket timeout in seconds: short, so that a write of a session that
#: gets no reply ends soon.
TIMEOUT = 1.0

RECOVERY = pytest.mark.parametrize(
    'recovery', [False, True], ids=['plain', 'recovery'])


class Node(NamedTuple):
    """One server."""

    server: socketio.Server
    manager: RedisStreamsManager

    def connect(self, *namespaces: str, auth: Any = None) -> FakeClient:
        client = FakeClient(self.server, *namespaces, auth=auth)
        for namespace in namespaces or ('/',):
            assert client.reply(namespace) is not None
        return client

    def losses(self) -> int:
        """The sum of its counters of losses."""
        counters = self.manager.stats()
        return sum(counters[name] for name in COUNTERS.values())


@pytest.fixture(scope='module')
def redis_server(redis_binary: str) -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server.start()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(free_port(), redis_server.port) as proxy:
        proxy.open()
        yield proxy


MakeNode = Callable[..., Node]


@pytest.fixture
def make(redis_server: RedisServer, proxy: Proxy,
         monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeNode]:
    """Makes nodes of one cluster, which are not started."""
    name = f'starting-{next(_numbers)}'
    monkeypatch.setattr(runtime, 'START_PATIENCE', 0.2)
    with contextlib.ExitStack() as stack:
        def make_one(url: str = redis_server.url, write_only: bool = False,
                     **options: Any) -> Node:
            manager = RedisStreamsManager(
                url, name, write_only, session_key_prefix=name + ':',
                redis_options={'socket_timeout': TIMEOUT}, **options)
            stack.callback(manager.close, 1.0)
            server = None if write_only else make_server(
                client_manager=manager)
            return Node(server, manager)

        yield make_one
        proxy.let_go()


def emit(node: Node, event: str, numbers: Any = range(COUNT),
         **options: Any) -> None:
    """Emit numbers, and wait until Redis has them."""
    for number in numbers:
        node.manager.emit(event, number, '/', **options)
    assert node.manager.flush(DEADLINE)


def numbers(client: FakeClient, event: str, namespace: str = '/'
            ) -> List[int]:
    return [args[0] for args in client.received(event, namespace)]


def check_all(clients: List[FakeClient], event: str,
              expected: Any = range(COUNT), namespace: str = '/') -> None:
    """Each client receives these numbers, once and in order."""
    expected = list(expected)
    for client in clients:
        wait_until(
            lambda: len(numbers(client, event, namespace)) >= len(expected),
            what=lambda: f'{len(expected)} x {event!r}: '
                         f'{len(numbers(client, event, namespace))}')
        assert numbers(client, event, namespace) == expected


@RECOVERY
@pytest.mark.parametrize('held, reply', HELD)
def test_clients_miss_nothing_while_redis_is_silent(
        make: MakeNode, proxy: Proxy, held: bytes, reply: bool,
        recovery: bool) -> None:
    """Clients that connect before Redis answers miss nothing, at whichever
    command the start waits."""
    emitter = make(write_only=True)
    emit(emitter, 'before', range(5))
    holds = proxy.hold(held, reply)
    node = make(proxy.url, connection_state_recovery=recovery)
    clients = [node.connect()]
    assert holds.is_set()
    emit(emitter, 'event')
    clients.append(node.connect())
    emit(emitter, 'more')
    proxy.let_go()
    check_all(clients, 'more')
    check_all(clients[:1], 'event')
    assert node.losses() == 0
    # Local events are in the stream, too.
    emit(node, 'local', range(5))
    emit(emitter, 'end', range(1))
    check_all(clients, 'end', range(1))
    check_all(clients, 'local', range(5))


@pytest.mark.parametrize('when', ['in the wait', 'before the first line'])
def test_second_client_misses_nothing_while_first_waits(
        make: MakeNode, proxy: Proxy, monkeypatch: pytest.MonkeyPatch,
        when: str) -> None:
    """python-socketio makes the first client wait for the start, and admits
    others during that time."""
    monkeypatch.setattr(runtime, 'START_PATIENCE', DEADLINE)
    emitter, node = make(write_only=True), make(proxy.url)
    proxy.hold()
    begins, goes_on = threading.Event(), threading.Event()
    start = node.manager.start

    def wait_and_start() -> None:
        if when == 'before the first line':
            begins.set()
            goes_on.wait()
            start()
        else:
            threading.Thread(target=start, daemon=True).start()
            wait_until(lambda: node.manager._live().member)
            begins.set()
            goes_on.wait()

    monkeypatch.setattr(node.manager, 'start', wait_and_start)
    first = Call(node.connect)
    assert begins.wait(DEADLINE)
    second = node.connect()
    emit(emitter, 'event')
    goes_on.set()
    proxy.let_go()
    check_all([second], 'event')
    assert first.result().reply() is not None
    assert node.losses() == 0


def test_readers_of_all_streams_start_early_enough(
        make: MakeNode, proxy: Proxy) -> None:
    """The readers of all streams start at the position at which their first
    clients were admitted."""
    emitter = make(write_only=True, stream_count=3)
    node = make(proxy.url, stream_count=3)
    namespaces = ('/', '/chat', '/a', '/b', '/c')
    for name in namespaces:
        node.server.on('hello', lambda sid: None, namespace=name)
    assert {stream_index(name, 3) for name in namespaces} == {0, 1, 2}
    for name in namespaces:
        emitter.manager.emit('before', 0, name)
    assert emitter.manager.flush(DEADLINE)
    proxy.hold(b'TIME')
    client = node.connect(*namespaces)
    for number in range(COUNT):
        for name in namespaces:
            emitter.manager.emit('event', number, name)
    assert emitter.manager.flush(DEADLINE)
    proxy.let_go()
    for name in namespaces:
        check_all([client], 'event', namespace=name)
    assert node.losses() == 0


@RECOVERY
def test_server_side_events_before_start_are_not_handled(
        make: MakeNode, proxy: Proxy, recovery: bool) -> None:
    """A server does not handle what was sent to all servers before it
    started, however long before that it was made, and however late Redis
    answers it."""
    emitter = make()
    node = make(proxy.url, connection_state_recovery=recovery)
    handled: List[int] = []
    node.manager.on_server_side('event', handled.append)
    # It emits before it is a member.
    emit(node, 'local', range(3))
    emitter.manager.start()
    for number in range(3):
        emitter.manager.server_side_emit('event', number)
    assert emitter.manager.flush(DEADLINE)
    wait_for_clock()
    proxy.hold(b'TIME')
    client = node.connect()
    for number in range(3, 6):
        emitter.manager.server_side_emit('event', number)
    emit(emitter, 'end', range(1))
    proxy.let_go()
    check_all([client], 'end', range(1))
    wait_until(lambda: len(handled) >= 3)
    # Each handler runs on a task of its own, in any order.
    assert sorted(handled) == [3, 4, 5]
    assert client.received('local') == []
    assert node.losses() == 0


def wait_for_clock() -> None:
    """Wait until the next entry has a later id than all entries so far."""
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() > begun + 0.05)


def test_local_events_are_delivered_once(make: MakeNode, proxy: Proxy) -> None:
    """An event of the node itself is not delivered again when it is read.
    """
    emitter, node = make(write_only=True), make(proxy.url)
    proxy.hold()
    client = node.connect()
    for number in range(COUNT):
        node.server.emit('local', number)
    check_all([client], 'local')
    proxy.let_go()
    assert node.manager.flush(DEADLINE)
    emit(emitter, 'end', range(1))
    check_all([client], 'end', range(1))
    check_all([client], 'local')


@RECOVERY
def test_trim_during_start_is_reported(make: MakeNode, proxy: Proxy,
                                       recovery: bool) -> None:
    """Entries that are trimmed while the node starts are reported as a loss
    of unknown size."""
    emitter = make(write_only=True, max_len=200)
    emit(emitter, 'before', range(5))
    wait_for_clock()
    proxy.hold()
    losses: List[Any] = []
    node = make(proxy.url, max_len=200, on_loss=losses.append,
                connection_state_recovery=recovery)
    client = node.connect()
    emit(emitter, 'event', range(1000))
    proxy.let_go()
    wait_until(lambda: 999 in numbers(client, 'event'))
    arrived = numbers(client, 'event')
    assert arrived == list(range(arrived[0], 1000)) and arrived[0] > 0
    wait_until(lambda: losses)
    assert [(each.kind, each.count) for each in losses] == [('trimmed', None)]
    assert node.losses() == 1


@RECOVERY
def test_restarted_manager_delivers_nothing_twice(
        make: MakeNode, proxy: Proxy, monkeypatch: pytest.MonkeyPatch,
        recovery: bool) -> None:
    """What its clients received before it was closed, of others or of its
    own, is not delivered again, however slow Redis is."""
    emitter = make(write_only=True)
    node = make(proxy.url, connection_state_recovery=recovery)
    client = node.connect()
    emit(emitter, 'event')
    check_all([client], 'event')
    emit(node, 'local')
    check_all([client], 'local')
    node.manager.close()
    # The reader starts earlier by as long as the reply to TIME takes.
    proxy.hold(b'TIME', reply=True)
    monkeypatch.setattr(runtime, 'START_PATIENCE', 1.0)
    node.manager.start()
    proxy.let_go()
    emit(emitter, 'end', range(1))
    check_all([client], 'end', range(1))
    check_all([client], 'event')
    check_all([client], 'local')
    assert node.losses() == 0


def test_restarted_manager_skips_unread_local_events(
        make: MakeNode, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of its own that it had not read before it was closed are not
    delivered again: they were delivered when they were emitted."""
    emitter, node = make(write_only=True), make(proxy.url)
    client = node.connect()
    swallowed = proxy.swallow_replies(to=b'XREAD')
    emit(node, 'local')
    assert swallowed.wait(DEADLINE)
    node.manager.close()
    proxy.heal()
    proxy.hold(b'TIME', reply=True)
    monkeypatch.setattr(runtime, 'START_PATIENCE', 1.0)
    node.manager.start()
    proxy.let_go()
    emit(emitter, 'end', range(1))
    check_all([client], 'end', range(1))
    check_all([client], 'local')
    assert node.losses() == 0


# -- recovery ---------------------------------------------------------------

def auth_of(client: FakeClient, offset: Optional[str] = None) -> Any:
    """The ``auth`` with which a client returns."""
    auth = {'pid': client.reply()['pid']}
    return auth if offset is None else {**auth, 'offset': offset}


def is_written(redis: Any, client: FakeClient) -> bool:
    """Whether the client's session is in Redis."""
    return bool(redis.keys('*:' + client.reply()['pid']))


@pytest.mark.parametrize('lost', ['before', 'after'])
@pytest.mark.parametrize('held', [b'', b'XREAD'])
def test_client_without_offset_is_recovered(make: MakeNode, proxy: Proxy,
                                            redis_server: RedisServer,
                                            held: bytes, lost: str) -> None:
    """A client that was admitted before the end of the stream was known can
    return, and gets what was emitted since.

    :param lost: whether its connection breaks before or after Redis answers.
    """
    emitter = make(write_only=True)
    other = make(connection_state_recovery=True)
    other.manager.start()
    emit(emitter, 'before', range(5))
    wait_for_clock()
    proxy.hold(held)
    node = make(proxy.url, connection_state_recovery=True)
    client = node.connect()
    if lost == 'before':
        client.lose()
        emit(emitter, 'event')
        proxy.let_go()
    else:
        proxy.let_go()
        wait_until(lambda: node.manager.health()['status'] == 'ok')
        client.lose()
        emit(emitter, 'event')
    with redis_server.client() as redis:
        wait_until(lambda: is_written(redis, client))
    again = other.connect(auth=auth_of(client))
    outcome = other.manager.recovery(again.sid)
    assert outcome is not None and outcome.recovered
    check_all([again], 'event')
    assert again.received('before') == []


def test_former_offset_replays_no_older_event(
        make: MakeNode, proxy: Proxy, redis_server: RedisServer) -> None:
    """A client with a new session shows the offset of its former one: it
    gets nothing from before the new session."""
    emitter = make(write_only=True)
    other = make(connection_state_recovery=True)
    former = other.connect()
    emit(emitter, 'former', range(1))
    check_all([former], 'former', range(1))
    offset = former.received('former')[0][-1]
    former.lose()
    emit(emitter, 'between')
    wait_for_clock()
    proxy.hold()
    node = make(proxy.url, connection_state_recovery=True)
    client = node.connect(auth=auth_of(former, offset))
    outcome = node.manager.recovery(client.sid)
    assert outcome is not None and outcome.reason == 'redis-unavailable'
    proxy.let_go()
    wait_until(lambda: node.manager.health()['status'] == 'ok')
    client.lose()
    emit(emitter, 'event')
    with redis_server.client() as redis:
        wait_until(lambda: is_written(redis, client))
    again = other.connect(auth=auth_of(client, offset))
    outcome = other.manager.recovery(again.sid)
    assert outcome is not None and outcome.recovered
    check_all([again], 'event')
    assert again.received('between') == []
