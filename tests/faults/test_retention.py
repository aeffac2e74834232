"""With ``retention``, younger entries are kept, older ones are trimmed, and
the stream is never too long."""
from typing import Any, List, Tuple

import pytest
import redis

from ..integration.conftest import STEADY
from ..support.node_process import NodeProcess
from ..support.redis_binaries import RedisBinary, redis_binaries
from ..support.wait import wait_until
from .fixtures import MakeRedis, StartNodes, Unique


STREAM = 'socket.io'

#: Trimming works in blocks of this number of entries.
BLOCK = 100

BINARIES = redis_binaries()

each_server = pytest.mark.parametrize(
    'binary', BINARIES, ids=[each.name for each in BINARIES])


def emit_many(node: NodeProcess, event: str, count: int) -> None:
    node.script(*(('server', 'emit', [event, number], {})
                  for number in range(count)))
    assert node.flush()


def milliseconds(entry_id: bytes) -> int:
    return int(entry_id.partition(b'-')[0])


def now(admin: redis.Redis) -> int:
    """A server's clock, in milliseconds."""
    seconds, microseconds = admin.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def messages(admin: redis.Redis, event: str) -> List[Tuple[bytes, Any]]:
    mark = f'"{event}"'.encode()
    return [entry for entry in admin.xrange(STREAM)
            if mark in entry[1].get(b'data', b'')]


@each_server
def test_older_entries_are_trimmed(make_redis: MakeRedis,
                                   start_nodes: StartNodes, unique: Unique,
                                   binary: RedisBinary) -> None:
    server = make_redis(binary=binary.path).start()
    (node,) = start_nodes(1, server.url, retention=2, **STEADY)
    node.start_manager()
    old, young = unique('old'), unique('young')
    with server.client() as admin:
        emit_many(node, old, 550)
        last = milliseconds(messages(admin, old)[-1][0])
        # Nothing is trimmed early.
        assert len(messages(admin, old)) == 550
        wait_until(lambda: now(admin) > last + 2000,
                   what='the first ones to be old enough')
        # The threshold is taken from the last batch before this one.
        emit_many(node, young, 50)
        emit_many(node, young, 250)
        assert len(messages(admin, young)) == 300
        assert len(messages(admin, old)) < BLOCK


@each_server
def test_max_len_limits_retention(make_redis: MakeRedis,
                                  start_nodes: StartNodes, unique: Unique,
                                  binary: RedisBinary) -> None:
    """It limits entries that are young enough to be kept, too."""
    server = make_redis(binary=binary.path).start()
    (node,) = start_nodes(1, server.url, retention=60, max_len=500,
                          **STEADY)
    node.start_manager()
    with server.client() as admin:
        event = unique('event')
        emit_many(node, event, 300)
        assert len(messages(admin, event)) == 300

        def is_trimmed() -> bool:
            # A send trims the stream, once a second.
            emit_many(node, event, 100)
            return bool(admin.xlen(STREAM) <= 500 + 2 * BLOCK
                        and admin.xinfo_stream(STREAM)['first-entry'][0]
                        > first)

        (first, _), *_ = admin.xrange(STREAM, count=1)
        wait_until(is_trimmed, what='the stream to be trimmed')
        length = admin.xlen(STREAM)
        assert length >= 500


@each_server
def test_max_len_applies_without_retention(make_redis: MakeRedis,
                                           start_nodes: StartNodes,
                                           unique: Unique,
                                           binary: RedisBinary) -> None:
    server = make_redis(binary=binary.path).start()
    (node,) = start_nodes(1, server.url, max_len=500, **STEADY)
    node.start_manager()
    with server.client() as admin:
        emit_many(node, unique('event'), 2000)
        assert 500 <= admin.xlen(STREAM) <= 500 + BLOCK
