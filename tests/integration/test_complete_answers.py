"""Answers of all members: complete from the first call on, in every namespace,
for every caller."""
import contextlib
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple

import pytest

from redis_streams_adapter import RedisStreamsManager

from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from ..support.wait import DEADLINE, wait_for_value, wait_until
from .conftest import Cluster, start_managers, STEADY

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]

#: Seconds within which a lone server must know that it is alone.
PROMPT = 0.5

NAMESPACES = ('/', '/chat')


@contextlib.contextmanager
def member(redis_server: Any, *namespaces: str,
           **options: Any) -> Iterator[RedisStreamsManager]:
    """A member of ``/`` and further namespaces, in this process."""
    manager = RedisStreamsManager(
        redis_server.url, **{**STEADY, **options})  # type: ignore[arg-type]
    for namespace in namespaces:
        manager.on_server_side('identify', lambda: manager.uid,
                               namespace=namespace)
    with manager:
        yield manager


def asked(manager: RedisStreamsManager, namespace: str, event: str,
          room: str) -> Dict[str, Callable[[], Any]]:
    """The calls, and the expected sizes of their answers."""
    return {
        'server_count': lambda: manager.server_count(namespace),
        'nodes': lambda: len(manager.nodes(namespace)),
        'fetch_sockets': lambda: len(manager.fetch_sockets(
            namespace, to=room, timeout=DEADLINE)),
        'all_rooms': lambda: manager.all_rooms(
            namespace, timeout=DEADLINE).get(room, 0),
        'emit_with_ack': lambda: len(manager.emit_with_ack(
            event, to=room, namespace=namespace, timeout=DEADLINE)),
        'server_side_call': lambda: len(manager.server_side_call(
            event, namespace=namespace, timeout=DEADLINE)),
    }


@pytest.fixture
def scene(cluster: Cluster, connect: Connect, unique: Unique) -> Any:
    """Clients on all nodes: see :func:`set_up`."""
    return set_up(cluster, connect, unique)


def set_up(nodes: Iterable[NodeProcess], connect: Connect,
           unique: Unique) -> Tuple[str, str]:
    """Connect clients to all nodes, in a room and with answers.

    :return: the names of the event and of the room.
    """
    event, room = unique('event'), unique('room')
    for namespace in NAMESPACES:
        for node in nodes:
            client = connect(node, namespace)
            client.answer(event, 'yes')
            node.enter_room(client.sid, room, namespace=namespace)
            node.on_server_side(event, value='yes', namespace=namespace)
    return event, room


@pytest.mark.parametrize('call', [
    'server_count', 'nodes', 'fetch_sockets', 'all_rooms', 'emit_with_ack',
    'server_side_call'])
def test_first_call(redis_server: RedisServer, scene: Any,
                    call: str) -> None:
    """The caller has just started, and is no member of ``/chat``."""
    event, room = scene
    for namespace in NAMESPACES:
        for _ in range(3):
            with member(redis_server) as manager:
                count = asked(manager, namespace, event, room)[call]()
                expected = 4 if call in ('server_count', 'nodes') \
                    and namespace == '/' else 3
                assert count == expected


def test_first_call_starts_the_member(redis_server: RedisServer,
                                      cluster: Cluster) -> None:
    manager = RedisStreamsManager(
        redis_server.url, **STEADY)  # type: ignore[arg-type]
    try:
        assert manager.server_count() == 4
    finally:
        manager.close()


def test_first_callback(redis_server: RedisServer, scene: Any) -> None:
    event, room = scene
    for namespace in NAMESPACES:
        answers: List[Any] = []
        with member(redis_server) as manager:
            manager.emit(event, None, namespace=namespace, to=room,
                         callback=answers.append)
            wait_for_value(lambda: answers, ['yes'] * 3)


@pytest.mark.parametrize('delay', [0.02, 0.2])
def test_first_call_over_a_slow_network(
        make_redis: Callable[..., RedisServer], start_nodes: StartNodes,
        connect: Connect, unique: Unique, make_proxy: Any,
        delay: float) -> None:
    """The proxy delays each 64 KB, so it would take seconds for the history of
    other tests to arrive: this cluster has its own."""
    redis = make_redis().start()
    nodes = start_nodes(3, redis.url, **STEADY)
    start_managers(nodes)
    event, room = set_up(nodes, connect, unique)
    proxy = make_proxy(redis.port)
    proxy.open()
    proxy.delay_commands(delay / 2)
    proxy.delay_replies(delay / 2)
    with member(proxy) as manager:
        for namespace, count in (('/', 4), ('/chat', 3)):
            calls = asked(manager, namespace, event, room)
            assert calls['server_count']() == count
            assert calls['fetch_sockets']() == 3


@pytest.mark.parametrize('change', ['trimmed', 'deleted'])
def test_members_answer_if_stream_lacks_their_entries(
        redis_server: RedisServer, unique: Unique, change: str) -> None:
    """The present members answer a new one."""
    stream = unique('stream')
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(member(
            redis_server, '/', '/x', stream_name=stream)) for _ in range(3)]
        for other in others:
            for namespace in ('/', '/x'):
                wait_for_value(lambda: other.server_count(namespace), 3)
        redis = stack.enter_context(redis_server.client())
        for namespace, count in (('/', 4), ('/x', 3)):
            if change == 'trimmed':
                for _ in range(3):
                    redis.xadd(stream, {
                        'uid': 'emitter', 'nsp': '/y', 'type': 2}, maxlen=2,
                        approximate=False)
            else:
                redis.delete(stream)
            with member(redis_server, stream_name=stream) as newcomer:
                assert newcomer.server_count(namespace) == count
                assert len(newcomer.server_side_call(
                    'identify', namespace=namespace, timeout=DEADLINE)) == 3
                if change == 'deleted':
                    # The members have answered in a new stream.
                    assert newcomer.stats()['messages_lost'] == 0


def test_lone_server_counts_itself_at_once(redis_server: RedisServer,
                                           unique: Unique) -> None:
    best = float('inf')
    for _ in range(5):
        begun = time.monotonic()
        with member(redis_server, stream_name=unique('stream')) as manager:
            assert manager.server_count() == 1
            best = min(best, time.monotonic() - begun)
            assert manager.fetch_sockets(timeout=DEADLINE) == []
    assert best < PROMPT


# -- servers that do not serve the namespace ---------------------------------

def test_server_of_other_namespaces_is_not_counted(redis_server: RedisServer,
                                                   unique: Unique) -> None:
    """No server counts it or waits for it."""
    stream = unique('stream')
    with contextlib.ExitStack() as stack:
        one, two, foreign = (
            stack.enter_context(member(redis_server, *served,
                                       stream_name=stream))
            for served in (('/admin',), ('/admin',), ()))
        for manager in (one, two, foreign):
            wait_for_value(lambda: manager.server_count('/admin'), 2)
        redis = stack.enter_context(redis_server.client())
        for write in (
                lambda: foreign.emit('news', 1, namespace='/admin'),
                lambda: foreign.emit('news', 1, namespace='/admin',
                                     callback=print),
                lambda: foreign.sockets_join('room', namespace='/admin'),
                lambda: foreign.sockets_leave('room', namespace='/admin'),
                lambda: foreign.disconnect_sockets(namespace='/admin'),
                lambda: foreign.close_room('room', '/admin'),
                lambda: foreign.enter_room('sid', '/admin', 'room'),
                lambda: foreign.server_side_emit('x', namespace='/admin'),
                lambda: foreign.fetch_sockets('/admin', timeout=DEADLINE),
                lambda: foreign.emit_with_ack('x', namespace='/admin',
                                              timeout=DEADLINE)):
            write()  # type: ignore[no-untyped-call]
            assert foreign.flush(DEADLINE)
            # Entries that they read before this answer precede it.
            assert sorted(foreign.server_side_call(
                'identify', namespace='/admin', timeout=DEADLINE)) == sorted(
                    [one.uid, two.uid])
            for manager in (one, two):
                assert manager.server_count('/admin') == 2
        for manager, other in ((one, two), (two, one)):
            assert manager.server_side_call(
                'identify', namespace='/admin',
                timeout=DEADLINE) == [other.uid]
        uids = {fields[b'uid'].decode() for _, fields in redis.xrange(stream)
                if fields[b'nsp'] == b'/admin'}
        assert uids == {one.uid, two.uid, 'emitter'}
        # Once it joins, it takes part.
        foreign.on_server_side('identify', lambda: foreign.uid,
                               namespace='/admin')
        wait_until(lambda: len(one.server_side_call(
            'identify', namespace='/admin', timeout=DEADLINE)) == 2)
        assert foreign.server_count('/admin') == 3


def test_new_member_is_asked_at_once(redis_server: RedisServer,
                                     unique: Unique) -> None:
    """A call made after another server's start reaches that server, even if
    none of its entries has been read yet."""
    stream = unique('stream')
    with member(redis_server, '/', stream_name=stream) as first:
        for _ in range(20):
            with member(redis_server, '/', stream_name=stream) as second:
                assert second.flush(DEADLINE)
                assert first.server_side_call(
                    'identify', timeout=DEADLINE) == [second.uid]
