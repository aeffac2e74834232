"""Entries that no node has written: each is skipped without further effect."""
import logging
from typing import Any, Callable, Iterator, List, Tuple

import msgpack
import pytest
import redis

from ..conftest import running
from ..support.client import Client
from ..support.entries import add_entry, broadcast, entry, Fields, MALFORMED, \
    ODD, packed
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value
from .conftest import STEADY, start_managers

Connect = Callable[..., Client]
Unique = Callable[[str], str]

STREAM = 'malformed'


@pytest.fixture(scope='module')
def pair(mode: str, redis_server: RedisServer) -> Iterator[List[NodeProcess]]:
    """Two nodes with a separate stream."""
    with running([NodeProcess(mode, redis_server.url,
                              {'stream_name': STREAM, **STEADY})
                  for _ in range(2)]) as nodes:
        start_managers(nodes)
        yield nodes


@pytest.fixture(scope='module')
def admin(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Writes entries that no node would write."""
    with redis_server.client() as client:
        yield client


@pytest.fixture
def clients(pair: List[NodeProcess], connect: Connect) -> List[Client]:
    """A client on each node."""
    return [connect(node) for node in pair]


def add(admin: redis.Redis, fields: Fields) -> str:
    """Write an entry."""
    return add_entry(admin, STREAM, fields)


def deliver(pair: List[NodeProcess], clients: List[Client],
            event: str) -> None:
    """Emit on both nodes, and check that all clients get it."""
    for node in pair:
        node.emit(event, 'good')
    for client in clients:
        assert client.wait_for(event, 2) == [('good',)] * 2


@pytest.mark.parametrize('name', MALFORMED)
def test_malformed(pair: List[NodeProcess], clients: List[Client],
                   admin: Any, unique: Unique, name: str) -> None:
    before = [(node.stats()['malformed'], len(node.control('logs')))
              for node in pair]
    entry_id = add(admin, MALFORMED[name])
    deliver(pair, clients, unique('event'))
    for node, (count, start) in zip(pair, before):
        assert node.stats()['malformed'] == count + 1
        lines = node.logs(logging.INFO, start)
        assert 'Traceback' not in '\n'.join(lines)
        # What unknown writers send does not belong in the log.
        assert all(len(text) < 1000 for text in lines)
        # The first of many is logged, see below.
        assert len([text for text in lines if entry_id in text]) <= 1
    assert all(client.received('malformed') == [] for client in clients)


def test_first_of_many_malformed_entries_is_logged(
        mode: str, redis_server: RedisServer, admin: redis.Redis,
        connect: Connect, unique: Unique) -> None:
    stream = unique('stream')
    with running([NodeProcess(mode, redis_server.url, {
            'stream_name': stream, **STEADY})]) as (node,):
        start_managers([node])
        client = connect(node)
        first, *others = [add_entry(admin, stream, fields)
                          for fields in MALFORMED.values()]
        add_entry(admin, stream, broadcast(packet={
            'type': 2, 'data': ['last'], 'nsp': '/'}))
        client.wait_for('last')
        assert node.stats()['malformed'] == len(MALFORMED)
        lines = node.logs(logging.WARNING)
        line, = [text for text in lines if 'was skipped' in text]
        assert first in line
        assert not any(entry_id in text for text in lines
                       for entry_id in others)


@pytest.mark.parametrize('name', ODD)
def test_odd(pair: List[NodeProcess], clients: List[Client], admin: Any,
             unique: Unique, name: str) -> None:
    starts = [len(node.control('logs')) for node in pair]
    entry_id = add(admin, ODD[name])
    deliver(pair, clients, unique('event'))
    for node, start in zip(pair, starts):
        lines = node.logs(logging.INFO, start)
        assert len([text for text in lines if entry_id in text]) <= 1
        assert 'Traceback' not in '\n'.join(lines)
    assert all(client.is_connected() for client in clients)


def test_many_malformed_entries_at_once(pair: List[NodeProcess],
                                        clients: List[Client], admin: Any,
                                        unique: Unique) -> None:
    """All kinds of them, between valid ones, faster than they are read."""
    event = unique('event')
    before = [node.stats()['malformed'] for node in pair]
    good = 0
    for fields in [*MALFORMED.values(), *ODD.values()]:
        add(admin, fields)
        add(admin, broadcast(packet={
            'type': 2, 'data': [event, good], 'nsp': '/'}))
        good += 1
    for client in clients:
        client.wait_for(event, good)
        assert client.received(event) == [(each,) for each in range(good)]
    for node, count in zip(pair, before):
        found = node.stats()['malformed'] - count
        assert len(MALFORMED) <= found <= len(MALFORMED) + len(ODD)
        node.wait_health('ok')


def test_entry_of_unknown_server_makes_it_a_member(pair: List[NodeProcess],
                                                   clients: List[Client],
                                                   admin: Any,
                                                   unique: Unique) -> None:
    """A valid message of an unknown server makes it a member, as with
    Node.js, and its goodbye ends that."""
    before = [node.server_count() for node in pair]
    uid = b'fedcba9876543210'
    add(admin, entry(kind=1, uid=uid))
    for node, count in zip(pair, before):
        wait_for_value(node.server_count, count + 1, what='server_count')
    add(admin, entry(kind=13, uid=uid))
    for node, count in zip(pair, before):
        wait_for_value(node.server_count, count, what='server_count')


def test_messages_of_node_js(pair: List[NodeProcess],
                             connect: Connect, admin: Any,
                             unique: Unique) -> None:
    """Entries as the npm package writes them, without this package's
    fields."""
    client, event = connect(pair[0]), unique('event')
    room = unique('room')
    opts = {'rooms': [client.sid], 'except': [], 'flags': {}}
    add(admin, entry({'opts': opts, 'rooms': [room]}, 4))
    sent: List[Tuple[Any, ...]] = [
        ('text', 1, None), (b'\x00\xff', {'a': [b'\x01']})]
    for args in sent:
        message = {'opts': {'rooms': [room], 'except': [], 'flags': {}},
                   'packet': {'type': 2, 'data': [event, *args],
                              'nsp': '/'}}
        if any(isinstance(arg, bytes) for arg in args):
            add(admin, entry(packed(msgpack.packb(message))))
        else:
            add(admin, entry(message))
    client.wait_for(event, 2)
    assert client.received(event) == sent
    add(admin, entry({'opts': opts, 'rooms': [room]}, 5))
    add(admin, entry({'opts': opts, 'close': True}, 6))
    client.wait_disconnected()
    assert pair[0].rooms(client.sid) == []
