"""Fixtures shared by the unit tests."""
import sys
import weakref
from collections import defaultdict
from typing import Any, Callable, Dict, Iterator, List

import pytest
from hypothesis import HealthCheck, settings
from socketio.packet import Packet

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.protocol import discovery
from redis_streams_adapter.runtime import channel, lifecycle
from redis_streams_adapter.protocol.codec import open_envelope
from redis_streams_adapter.protocol.messages import MessageType

from ..conftest import Log  # noqa: F401, for the tests
from ..support.wait import DEADLINE, wait_for_value, wait_until
from .examples import examples
from .fake_server import make_server
from redis_streams_adapter.testing.stream import FakeStream
from .nodes import Node, Pair

# On a busy machine the time of an example means nothing.
settings.register_profile(
    'unit', deadline=None, max_examples=examples(100),
    suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('unit')


#: No server listens at this address. The managers of these tests have a fake
#: stream. A manager that connects to Redis fails.
NOWHERE = 'redis://127.0.0.1:1'


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Run the tests that strike first, and those that import greenlet last.

    After the import of greenlet a manager with threads takes ten times as
    long to close (20 ms), and the tests that strike close thousands. CPython
    3.11 with greenlet 3.5 has also crashed in a garbage collection: each
    thread that asks for its greenlet has a state, which is freed after the
    thread has ended.
    """
    items.sort(key=lambda item: ('struck' not in item.path.name)
               + (item.path.name == 'test_tasks.py'))


@pytest.fixture
def stream() -> FakeStream:
    return FakeStream()


@pytest.fixture
def streams(stream: FakeStream) -> Dict[str, FakeStream]:
    """The streams by key. :func:`stream` is that of the default key."""
    result: Dict[str, FakeStream] = defaultdict(FakeStream)
    result['socket.io'] = stream
    return result


@pytest.fixture
def managers() -> List[RedisStreamsManager]:
    """All managers made by :func:`make_manager`."""
    return []


@pytest.fixture
def make_manager(streams: Dict[str, FakeStream],
                 managers: List[RedisStreamsManager],
                 monkeypatch: pytest.MonkeyPatch
                 ) -> Iterator[Callable[..., Any]]:
    """Makes managers with the fake streams, and closes them at the end."""
    monkeypatch.setattr(
        channel, 'open_link',
        lambda driver, key, *args, **kwargs: streams[key].link())
    # All nodes are in this process, so answers arrive at once.
    monkeypatch.setattr(discovery, 'ANSWER_PATIENCE', 0.02)
    monkeypatch.setattr(discovery, 'RECONNECT_PATIENCE', 0.1)
    # A test does not find the managers of other tests.
    monkeypatch.setattr(lifecycle, 'lifecycles', weakref.WeakSet())

    def make(url: Any = NOWHERE, **options: Any) -> RedisStreamsManager:
        manager = RedisStreamsManager(url, **options)
        managers.append(manager)
        return manager

    yield make
    for stream in streams.values():
        stream.thaw()
    for manager in managers:
        manager.close(timeout=0.2)


@pytest.fixture
def make_node(make_manager: Callable[..., RedisStreamsManager]
              ) -> Callable[..., Node]:
    """Makes a server with a manager that has not joined yet. The argument
    ``server`` has the options of the server."""
    def make(server: Any = None, **options: Any) -> Node:
        manager = make_manager(**options)
        return Node(make_server(client_manager=manager, **(server or {})),
                    manager)

    return make


@pytest.fixture
def make_cluster(make_node: Callable[..., Node],
                 streams: Dict[str, FakeStream]
                 ) -> Callable[..., List[Node]]:
    """Makes nodes that know each other and have finished their discovery."""
    def make(count: int, **options: Any) -> List[Node]:
        nodes = [make_node(**options) for _ in range(count)]
        for node in nodes:
            node.manager.start()
        for node in nodes:
            wait_for_value(node.manager.server_count, count)
        # A request may still be on its way, although the answer to an earlier
        # one was sufficient.
        for node in nodes:
            assert node.manager.flush(DEADLINE)
        uids = [node.manager.uid for node in nodes]
        wait_until(lambda: all(
            have_answered(stream, uids) for stream in list(streams.values())))
        return nodes

    return make


@pytest.fixture
def pair(make_node: Callable[..., Node], stream: FakeStream) -> Pair:
    pair = Pair(make_node(), make_node())
    for node in pair:
        node.manager.start()
        # The next node reads no entry that was written before it started.
        assert node.manager.flush(DEADLINE)
        stream.advance(1.0)
    for node in pair:
        wait_for_value(node.manager.server_count, 2)
    return pair


def have_answered(stream: FakeStream, uids: List[str]) -> bool:
    """Whether each of these nodes has answered all requests of others."""
    due: Dict[Any, int] = defaultdict(int)
    writers: Dict[Any, bytes] = {}
    for envelope in [open_envelope(entry.fields)
                     for entry in list(stream.history)]:
        node = envelope.uid, envelope.namespace
        if envelope.type is MessageType.INITIAL_HEARTBEAT:
            for each, writer in writers.items():
                if each[1] == envelope.namespace \
                        and writer != envelope.writer:
                    due[each] += 1
            if envelope.uid in uids and envelope.writer is not None:
                writers[node] = envelope.writer
        elif envelope.type is MessageType.HEARTBEAT \
                and envelope.writer is not None:
            # A heartbeat with a reader's position is not an answer.
            due[node] -= 1
    return all(count <= 0 for count in due.values())


@pytest.fixture
def default_json_module() -> Iterator[None]:
    """Restores the JSON module: a server's option changes it for all
    servers."""
    before = Packet.json
    yield
    Packet.json = before


@pytest.fixture(scope='package', autouse=True)
def process_is_not_patched() -> Iterator[None]:
    """gevent and eventlet patch the modules that these tests use. Tests that
    need them import them in a separate process."""
    before = set(sys.modules)
    yield
    imported = set(sys.modules) - before
    assert not imported & {'gevent', 'eventlet'}
