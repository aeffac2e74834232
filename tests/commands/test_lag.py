"""``lag`` measures streams."""
import time
from typing import Any, Callable

import pytest

from ..support.redis_server import RedisServer
from .conftest import run_command


def fill(server: RedisServer, stream: str, count: int, seconds: float,
         trim: int = 0) -> None:
    """Add entries, spread over the last seconds."""
    now = time.time()
    with server.client() as client:
        with client.pipeline() as pipe:
            for number in range(count):
                moment = now - seconds + number * seconds / count
                pipe.xadd(stream, {'uid': 'x', 'nsp': '/', 'type': 2},
                          id=f'{int(moment * 1000)}-{number}')
            pipe.execute()
        if trim:
            client.xtrim(stream, maxlen=trim, approximate=False)


def test_trimmed_stream(redis_server: RedisServer, stream: str) -> None:
    fill(redis_server, stream, 4_000, 80.0, trim=2_000)
    record, = run_command('lag', '--stream', stream, '--json',
                          url=redis_server.url).objects
    assert record['stream'] == stream and record['length'] == 2_000
    assert record['span'] == pytest.approx(40, abs=5)
    assert record['rate'] == pytest.approx(50, rel=0.2)
    assert record['recent_rate'] == pytest.approx(50, rel=0.2)
    assert record['bytes'] > 10_000
    if redis_server.binary.version >= (7,):
        assert record['trimmed'] is True
        assert record['away'] == pytest.approx(40, rel=0.2)


def test_stream_that_is_not_full(redis_server: RedisServer,
                                 stream: str) -> None:
    fill(redis_server, stream, 600, 60.0)
    record, = run_command(
        'lag', '--json', url=redis_server.url.replace('://', '+streams://', 1)
        + f'?max_len=3000&stream_name={stream}').objects
    assert record['trimmed'] is False
    assert record['away'] == pytest.approx(300, rel=0.3)


def test_lines_for_people(redis_server: RedisServer, stream: str) -> None:
    fill(redis_server, stream, 600, 60.0)
    done = run_command('lag', '--stream', stream, url=redis_server.url)
    head, row = done.out.splitlines()
    assert head.split()[:3] == ['STREAM', 'ENTRIES', 'SPAN']
    assert row.split()[:2] == [stream, '600']


def test_no_stream(redis_server: RedisServer, stream: str) -> None:
    done = run_command('lag', '--stream', stream, '--json',
                       url=redis_server.url)
    record, = done.objects
    assert (record['length'], record['span'], record['away']) == (
        0, None, None)
    assert 'no server writes to it' in done.err


def test_several_streams(redis_server: RedisServer,
                         unique: Callable[[str], str]) -> None:
    name = unique('stream')
    url = redis_server.url.replace('://', '+streams://', 1) \
        + f'?stream_count=3&stream_name={name}'
    assert [each['stream'] for each in run_command(
        'lag', '--json', url=url).objects] == [
            f'{name}-{number}' for number in range(3)]
    one, = run_command('lag', '--json', '--namespace', '/', url=url).objects
    assert one['stream'].startswith(name)


def test_other_key(redis_server: RedisServer, stream: str) -> None:
    """It is a key, but no stream."""
    with redis_server.client() as client:
        client.set(stream, 'text')
    done: Any = run_command('lag', '--stream', stream, url=redis_server.url)
    assert done.status == 1 and 'WRONGTYPE' in done.err
