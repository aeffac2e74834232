"""What is transient leaves no history behind: answers to requests over the
stream go into inboxes, and nothing is left of them."""
from typing import Any, Callable, List, Set

import pytest

from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .conftest import STEADY, start_managers
from .helpers import BACK_WITHIN

#: The types of the answers.
ANSWERS = {b'8', b'10', b'11', b'12'}

#: Clients of each node.
CLIENTS = 30


def types(admin: Any, stream: str) -> List[bytes]:
    return [fields[b'type'] for _, fields in admin.xrange(stream)]


def inboxes(admin: Any, stream: str) -> Set[bytes]:
    return set(admin.scan_iter(f'{stream}:answers:*'))


@pytest.fixture
def stream(unique: Callable[[str], str]) -> str:
    return unique('stream')


def test_answers_leave_no_history(
        redis_server: RedisServer, start_nodes: Any, connect: Any,
        stream: str) -> None:
    nodes = start_nodes(3, redis_server.url, stream_name=stream, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes for _ in range(CLIENTS)]
    for client in clients:
        client.answer('hi', 'yes')
    for node in nodes:
        node.handle_server_side('name', node.name)
        node.wait_server_count(3)
    sids = sorted(client.sid for client in clients)
    with redis_server.client() as admin:
        for node in nodes:
            assert node.fetch_sids() == sids
            assert node.invoke('manager', 'all_rooms') == {}
            assert node.ask('emit_with_ack', 'hi') == ['yes'] * len(sids)
            assert len(node.server_side_call('name')) == 2
        assert not ANSWERS.intersection(types(admin, stream))
        keys = inboxes(admin, stream)
        assert len(keys) == 3
        for key in keys:
            wait_for_value(lambda: admin.xlen(key), 0)
            assert 0 < admin.pttl(key) <= 120_000
    for node in nodes:
        assert node.stats()['requests_dropped'] == 0


def test_redis_restarts_between_request_and_answer(
        make_redis: Any, start_nodes: Any, stream: str) -> None:
    redis = make_redis(append_only=True).start()
    nodes = start_nodes(2, redis.url, stream_name=stream, **STEADY)
    start_managers(nodes)
    asking, other = nodes
    other.handle_server_side('name', 'other')
    asking.wait_server_count(2)
    for _ in range(3):
        assert asking.server_side_call('name') == ['other']
        redis.stop()
        for node in nodes:
            node.wait_health('degraded')
        redis.start()
        assert asking.ask('server_side_call', 'name',
                          timeout=BACK_WITHIN) == ['other']


def test_connections_break_during_requests(
        redis_server: RedisServer, start_nodes: Any, connect: Any,
        stream: str) -> None:
    """No answer comes twice, and none is lost in silence."""
    nodes = start_nodes(2, redis_server.url, stream_name=stream, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes for _ in range(CLIENTS)]
    for client in clients:
        client.answer('hi', 'yes')
    for node in nodes:
        node.wait_server_count(2)
    sids = sorted(client.sid for client in clients)
    with redis_server.client() as admin:
        for _ in range(10):
            for node in nodes:
                admin.client_kill_filter(_type='normal', skipme=True)
                assert node.fetch_sids(timeout=BACK_WITHIN) == sids
                admin.client_kill_filter(_type='normal', skipme=True)
                assert node.ask('emit_with_ack', 'hi',
                                timeout=BACK_WITHIN) == ['yes'] * len(sids)


def test_inbox_of_a_dead_server_expires(
        redis_server: RedisServer, start_nodes: Any, stream: str) -> None:
    nodes = start_nodes(2, redis_server.url, stream_name=stream, **STEADY)
    start_managers(nodes)
    asking, other = nodes
    other.handle_server_side('name', 'other')
    asking.wait_server_count(2)
    assert asking.server_side_call('name') == ['other']
    with redis_server.client() as admin:
        key, = inboxes(admin, stream)
        asking.kill()
        wait_until(lambda: admin.pttl(key) > 0)
