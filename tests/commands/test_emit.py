"""``emit`` sends an event, or says that it did not."""
import json
from typing import Any, Callable, List

import pytest

from ..support.redis_server import RedisServer
from .conftest import run_command, run_process


def stored(server: RedisServer, stream: str) -> List[Any]:
    with server.client() as client:
        return [json.loads(fields[b'data'])
                for _, fields in client.xrange(stream)]


@pytest.mark.parametrize('values', [
    [], ['5'], ['"text"'], ['[1, 2]'], ['null'], ['{"a": {"b": []}}', '2']])
def test_arguments(redis_server: RedisServer, stream: str,
                   values: List[str]) -> None:
    done = run_command('emit', '--stream', stream, 'news', *values,
                       url=redis_server.url)
    assert (done.status, done.err) == (0, '')
    sent, = stored(redis_server, stream)
    assert sent['packet']['data'] == ['news', *map(json.loads, values)]
    assert not sent['opts']['rooms'] and not sent['opts']['except']


def test_reaches_clients(redis_server: RedisServer, stream: str,
                         start_nodes: Callable[..., Any],
                         connect: Callable[..., Any]) -> None:
    node, = start_nodes(1, redis_server.url, stream_name=stream)
    clients = [connect(node) for _ in range(3)]
    sids = [str(each.sid) for each in clients]
    done = run_process('emit', '--stream', stream, 'news', '"hello"',
                       # A sid may begin with a hyphen.
                       f'--to={sids[0]}', f'--to={sids[1]}',
                       f'--except={sids[1]}', '--json', url=redis_server.url)
    assert done.objects == [{
        'event': 'news', 'namespace': '/', 'to': sids[:2],
        'except': [sids[1]], 'stored': True}]
    assert run_command('emit', '--stream', stream, 'last',
                       url=redis_server.url).status == 0
    for each in clients:
        each.wait_for('last', 1)
    assert [len(each.received('news')) for each in clients] == [1, 0, 0]


def test_namespace(redis_server: RedisServer, stream: str) -> None:
    assert run_command('emit', '--stream', stream, 'news', '--namespace',
                       '/chat', url=redis_server.url).status == 0
    with redis_server.client() as client:
        (_, fields), = client.xrange(stream)
    assert fields[b'nsp'] == b'/chat'


def test_redis_is_away(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis()
    done = run_process('emit', 'news', '--timeout', '0.5', url=server.url)
    assert done.status == 1 and done.out == ''
    assert 'has not confirmed the event within 0.5 s' in done.err
    assert len(done.err.splitlines()) == 1


def test_redis_is_frozen(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis().start()
    server.freeze()
    done = run_command('emit', 'news', '--timeout', '0.5', url=server.url)
    server.thaw()
    assert done.status == 1 and 'has not confirmed' in done.err


@pytest.mark.parametrize('arguments', [
    [], ['news', 'text'], [''], ['news', "{'a': 1}"],
    ['news', '--namespace', 'chat'], ['news', '--timeout', '0']])
def test_wrong_arguments(redis_server: RedisServer, stream: str,
                         arguments: List[str]) -> None:
    done = run_command('emit', '--stream', stream, *arguments,
                       url=redis_server.url)
    assert done.status == 2 and done.out == ''
    assert stored(redis_server, stream) == []
