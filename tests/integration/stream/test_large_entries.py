"""Entries that are large for the server's ``client-output-buffer-limit``."""
import contextlib
from typing import Any, Iterator, List

import pytest

from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.transport import is_there, Unavailable
from redis_streams_adapter.recovery.backlog import Backwards, Forwards
from redis_streams_adapter.stream.driver import open_driver
from redis_streams_adapter.stream.link import RedisLink
from redis_streams_adapter.stream.pages import Pages
from redis_streams_adapter.stream.reconcile import find_stored

from ...support.client_library import REDIS_CLIENT
from ...support.redis_server import RedisServer
from .conftest import Make, STREAM

LIMIT = 4 << 20

#: The sizes of entries, and how many of them.
SIZES = [(10_000, 300), (100_000, 300), (1_000_000, 30), (5_000_000, 6)]


@pytest.fixture
def limited(server: RedisServer, redis: Any) -> Iterator[Any]:
    """A client of a server that sends no more than this at once."""
    redis.config_set('client-output-buffer-limit', f'normal {LIMIT} 0 0')
    yield redis
    redis.config_set('client-output-buffer-limit', 'normal 0 0 0')


@contextlib.contextmanager
def linked(url: str) -> Iterator[RedisLink]:
    link = RedisLink(open_driver(url, {}, STREAM), STREAM, 1000)
    link.connect()
    try:
        yield link
    finally:
        link.close()


def put(redis: Any, count: int, size: int) -> List[Position]:
    return [Position.parse(redis.xadd(STREAM, {
        'a': b'x' * size, 'wid': 'w', 'seq': number, 'since': '0-0'}))
        for number in range(1, count + 1)]


def read_all(pages: Pages, open_source: Any, count: int) -> List[Position]:
    position, found = START, []
    for _ in range(count + 10):
        with contextlib.suppress(Unavailable), open_source() as source:
            while len(found) < count:
                page = pages.read(source, position)
                found += [entry.id for entry in page]
                position = found[-1]
            break
    return found


@pytest.mark.parametrize('size, count', SIZES)
def test_pages(server: RedisServer, limited: Any, size: int,
               count: int) -> None:
    ids = put(limited, count, size)
    pages = Pages(100)
    before = limited.info('stats')['total_connections_received']
    assert read_all(pages, lambda: linked(server.url), count) == ids
    made = limited.info('stats')['total_connections_received'] - before
    assert made <= 4


@pytest.mark.parametrize('size, count', SIZES)
def test_what_a_writer_has_stored(server: RedisServer, limited: Any,
                                  size: int, count: int) -> None:
    """The writer finds its entries, however large those of others are."""
    ids = put(limited, count, size)
    pages = Pages(1000)
    for _ in range(5):
        with contextlib.suppress(Unavailable), linked(server.url) as link:
            assert is_there(link, ids[-1])
            assert find_stored(link, b'w', START, [count - 1, count],
                               pages) == (count, ids[-1])
            return
    pytest.fail('not found')


@pytest.mark.parametrize('size, count', SIZES)
def test_what_clients_have_missed(make: Make, limited: Any, size: int,
                                  count: int) -> None:
    ids = put(limited, count, size)
    sessions = make()
    assert sessions.find('p', STREAM, ids[1]) == (None, True, ids[0], ids[-1])
    assert sessions.next_id(STREAM, ids[0]) == ids[1]
    source = Forwards(sessions, STREAM)
    pages = Pages(100)
    found: List[Position] = []
    attempts = 0
    while len(found) < count:
        assert (attempts := attempts + 1) < 5
        pages = pages.again()
        with contextlib.suppress(Unavailable):
            assert sessions.wait(5.0)
            while len(found) < count:
                found += [entry.id for entry in pages.read(
                    source, found[-1] if found else START)]
                assert source.first == ids[0]
    assert found == ids
    backwards = pages.again()
    page = backwards.read(Backwards(sessions, STREAM), ids[-1])
    assert [entry.id for entry in page] == [ids[-1]]


@pytest.mark.parametrize('permitted', [True, False])
def test_ends_are_found_without_entries(server: RedisServer, redis: Any,
                                        permitted: bool) -> None:
    """A server that permits no scripts has to send the entries."""
    redis.acl_setuser(
        'b', reset=True, enabled=True, nopass=True, keys=['*'], commands=[
            '+xread', '+xinfo', *(['+eval'] if permitted else [])])
    ids = put(redis, 3, 1_000_000)
    url = f'{REDIS_CLIENT}://b:x@127.0.0.1:{server.port}'
    with contextlib.ExitStack() as stack:
        link = RedisLink(open_driver(url, {}, STREAM), STREAM, 1000, 1.0)
        link.connect()
        stack.callback(link.close)
        before = redis.info('stats')['total_net_output_bytes']
        ends = link.ends()
        assert ends[:2] == (ids[0], ids[-1]) and ends.length == 3
        assert (ends.size > 2_000_000) != permitted
        assert link.next_id(ids[0]) == ids[1]
        sent = redis.info('stats')['total_net_output_bytes'] - before
        assert (sent > 2_000_000) != permitted
