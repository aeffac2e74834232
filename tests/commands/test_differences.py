"""``doctor`` asks the servers for their options, and compares them."""
from typing import Any, Callable, Dict, List

import pytest

from redis_streams_adapter.commands.differences import compare, SHARED
from redis_streams_adapter.configuration import described
from redis_streams_adapter.nodes import NodeStats
from redis_streams_adapter.options import NAMES, Options

from ..conftest import running
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from .conftest import run_command


def server(uid: str, **options: Any) -> NodeStats:
    return NodeStats(uid, 'python', 0.0, f'host-{uid}', 7, options={
        **described(Options()), **options})


def findings(*servers: NodeStats) -> List[str]:
    return [each.text for each in compare(servers)
            if each.status == 'finding']


def test_same_options() -> None:
    one, = compare([server('a'), server('b')])
    assert (one.status, one.text) == (
        'ok', '2 servers in Python, with the same options')


def test_no_servers() -> None:
    assert list(compare([])) == []


@pytest.mark.parametrize('name', SHARED)
def test_different_option(name: str) -> None:
    assert name in NAMES
    text, = findings(server('a', **{name: 5}), server('b', **{name: 7}),
                     server('c', **{name: 5}))
    assert text.startswith(
        f'{name} differs: 5 on a (host-a, process 7), c (host-c, process 7); '
        f'7 on b (host-b, process 7): ')


def test_options_that_may_differ() -> None:
    assert findings(server('a', block_time=1, publish='sync'),
                    server('b', block_time=2, publish='confirmed')) == []


def test_option_that_an_older_version_lacks() -> None:
    older = server('b')
    assert older.options is not None
    del older.options['min_replicas']
    assert findings(server('a', min_replicas=1), older) == []


def test_many_servers_are_not_all_named() -> None:
    text, = findings(server('a', max_len=1), *(
        server(f'b{number}', max_len=2) for number in range(50)))
    assert text.count('process') == 4 and 'and 47 more' in text


def doctor(url: str, *arguments: str) -> Dict[str, List[str]]:
    found: Dict[str, List[str]] = {}
    for each in run_command('doctor', '--json', *arguments, '--timeout', '20',
                            url=url).objects:
        if each['status'] == 'finding' and each['check'] in (
                'options', 'answers'):
            found.setdefault(each['check'], []).append(each['text'])
    return found


def test_real_servers(make_redis: Callable[..., RedisServer],
                      mode: str) -> None:
    redis = make_redis().start()
    with running([NodeProcess(mode, redis.url, {'max_len': length})
                  for length in (1000, 1000, 2000)]) as nodes:
        for node in nodes[:2]:
            node.start_manager()
        for node in nodes[:2]:
            node.wait_server_count(2)
        assert doctor(redis.url) == {}
        nodes[2].start_manager()
        for node in nodes:
            node.wait_server_count(3)
        text, = doctor(redis.url)['options']
        assert text.startswith('max_len differs: 1000 on ')
        assert f'2000 on {nodes[2].uid()} (' in text
        assert doctor(redis.url, '--passive') == {}
        # Nobody counts the command as a server.
        assert [node.server_count() for node in nodes] == [3, 3, 3]
