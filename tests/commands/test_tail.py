"""``tail`` reads, and only reads."""
import re
import signal
import time
from typing import Any, Callable, List

import msgpack
import pytest

from redis_streams_adapter import RedisStreamsManager

from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .conftest import run_command


def add(server: RedisServer, stream: str, **fields: Any) -> str:
    with server.client() as client:
        return str(client.xadd(stream, fields).decode())


def emit(server: RedisServer, stream: str, event: str, data: Any = None,
         **options: Any) -> None:
    with RedisStreamsManager(server.url, stream_name=stream,
                             write_only=True) as manager:
        manager.emit(event, data, **options)


def test_shows_what_comes(redis_server: RedisServer, stream: str,
                          begin_command: Callable[..., Any]) -> None:
    """Whatever was there before is not shown."""
    emit(redis_server, stream, 'before')
    tail = begin_command('tail', '--stream', stream, '--json',
                         url=redis_server.url)
    time_of_start = time.time()
    wait_until(lambda: _reads(redis_server), what='the command to read')
    emit(redis_server, stream, 'news', {'secret': 'plans'}, room='tea',
         skip_sid='me')
    tail.wait_for('broadcast')
    record, = tail.objects
    age = record.pop('age')
    assert 0 <= age < time.time() - time_of_start + 1
    assert re.fullmatch(r'\d+-\d+', record.pop('id'))
    assert record.pop('size') > 20
    assert record == {
        'stream': stream, 'node': 'emitter', 'kind': 'broadcast',
        'namespace': '/', 'rooms': ['tea'], 'except': ['me']}
    # It is ended as people end it.
    tail.process.signal(signal.SIGINT)
    assert tail.process.wait() == 0
    assert 'Traceback' not in tail.text


def _reads(server: RedisServer) -> bool:
    with server.client() as client:
        return any(each['cmd'] == 'xread' and each['name'] == ''
                   for each in client.client_list())


def test_payload_only_where_asked_for(redis_server: RedisServer,
                                      stream: str) -> None:
    emit(redis_server, stream, 'news', {'secret': b'plans'})
    emit(redis_server, stream, 'news', {'secret': 'pläne'})
    arguments = ('tail', '--stream', stream, '--from', 'start', '--no-follow')
    for more in [], ['--json']:
        done = run_command(*arguments, *more, url=redis_server.url)
        assert done.status == 0
        assert 'secret' not in done.out and 'news' not in done.out
    done = run_command(*arguments, '--data', url=redis_server.url)
    assert '"secret": "<5 bytes>"' in done.out and 'pläne' in done.out
    records = run_command(*arguments, '--data', '--json',
                          url=redis_server.url).objects
    assert [each['data']['packet']['data'] for each in records] == [
        ['news', {'secret': {'base64': 'cGxhbnM='}}],
        ['news', {'secret': 'pläne'}]]


def test_from_kind_node_namespace_and_count(redis_server: RedisServer,
                                            stream: str) -> None:
    ids = [add(redis_server, stream, uid=f'{number}abc', nsp=namespace,
               type=kind) for number, (namespace, kind) in enumerate(
        [('/', 1), ('/', 2), ('/chat', 2), ('/', 13)])]

    def shown(*arguments: str) -> List[str]:
        return [each['id'] for each in run_command(
            'tail', '--stream', stream, '--json', '--no-follow', *arguments,
            url=redis_server.url).objects]

    assert shown() == []
    assert shown('--from', 'start') == ids
    assert shown('--from', ids[2]) == ids[2:]
    assert shown('--from', '1h') == ids
    assert shown('--from', '1ms') == []
    assert shown('--from', 'start', '--count', '2') == ids[:2]
    assert shown('--from', 'start', '--kind', 'heartbeat', '--kind',
                 'adapter-close') == ids[1:]
    assert shown('--from', 'start', '--node', '2a') == [ids[2]]
    assert shown('--from', 'start', '--namespace', '/chat') == [ids[2]]


@pytest.mark.parametrize('fields, error', [
    ({'a': 'b'}, 'field uid is missing'),
    ({'uid': 'x', 'nsp': '/', 'type': '99'}, 'unknown message type'),
    ({'uid': 'x', 'nsp': '/', 'type': '3', 'data': '{"opts":'}, ''),
    ({'uid': 'x', 'nsp': '/', 'type': '3', 'data': b'\xff\x00'}, ''),
    ({'uid': 'x', 'nsp': '/', 'type': '3', 'data': '{"packet": 5}'}, '')])
def test_malformed_entries(redis_server: RedisServer, stream: str,
                           fields: Any, error: str) -> None:
    add(redis_server, stream, **fields)
    arguments = ('tail', '--stream', stream, '--from', 'start',
                 '--no-follow', '--data')
    record, = run_command(*arguments, '--json',
                          url=redis_server.url).objects
    assert record['kind'] == 'malformed' and error in record['error']
    done = run_command(*arguments, url=redis_server.url)
    assert 'malformed' in done.out and done.status == 0


def test_names_cannot_move_the_cursor(redis_server: RedisServer,
                                      stream: str) -> None:
    emit(redis_server, stream, 'news', room='a\x1b[2Jb\nc')
    done = run_command('tail', '--stream', stream, '--from', 'start',
                       '--no-follow', url=redis_server.url)
    assert '\x1b' not in done.out and r'a\x1b[2Jb\nc' in done.out
    assert len(done.out.splitlines()) == 2


def test_pid_in_a_handshake_is_hidden(redis_server: RedisServer,
                                      stream: str) -> None:
    """Servers in Node.js describe their clients with it."""
    socket = {'id': 'sid', 'rooms': [], 'data': {}, 'handshake': {
        'auth': {'pid': 'very-secret', 'offset': '1-1', 'user': 'me'}}}
    add(redis_server, stream, uid='node', nsp='/', type=8, data=_packed(
        {'requestId': 'r', 'sockets': [socket]}))
    done = run_command('tail', '--stream', stream, '--from', 'start',
                       '--no-follow', '--data', '--json',
                       url=redis_server.url)
    assert done.objects[0]['data']['sockets'][0]['handshake']['auth'] == {
        'pid': '(hidden)', 'offset': '1-1', 'user': 'me'}
    assert 'very-secret' not in done.out


def _packed(data: Any) -> bytes:
    import base64
    return base64.b64encode(msgpack.packb(data))


@pytest.mark.parametrize('append_only', [True, False],
                         ids=['with its data', 'without'])
def test_goes_on_through_an_outage(make_redis: Callable[..., RedisServer],
                                   begin_command: Callable[..., Any],
                                   append_only: bool) -> None:
    server = make_redis(append_only=append_only).start()
    emit(server, 's', 'news', room='first')
    tail = begin_command('tail', '--stream', 's', '--from', 'start',
                         url=server.url)
    tail.wait_for('first')
    server.kill()
    tail.wait_for('Redis is away')
    server.start()
    tail.wait_for('Redis is back')
    emit(server, 's', 'news', room='second')
    tail.wait_for('second')
    text = tail.text
    assert text.count('Redis is away') == text.count('Redis is back') == 1
    assert text.count('first') == text.count('second') == 1
    assert 'Traceback' not in text


def test_redis_that_was_never_there(make_redis: Callable[..., RedisServer],
                                    ) -> None:
    server = make_redis()
    done = run_command('tail', url=server.url)
    assert done.status == 1 and done.out == ''
    assert 'cannot be used' in done.err and '--url' in done.err


def test_joins_nothing(redis_server: RedisServer, stream: str,
                       start_nodes: Callable[..., Any],
                       begin_command: Callable[..., Any]) -> None:
    """It writes nothing, and is no server to the others."""
    nodes = start_nodes(2, redis_server.url, stream_name=stream,
                        heartbeat_interval=0.5, heartbeat_timeout=5.0)
    for node in nodes:
        node.invoke('manager', 'start')
    for node in nodes:
        node.wait_server_count(2)
    tail = begin_command('tail', '--stream', stream, '--json',
                         url=redis_server.url)
    tail.wait_for('heartbeat', 6)
    uids = {node.uid() for node in nodes}
    # Some entries of a server are signed by no one.
    assert {each['node'] for each in tail.objects} <= {*uids, 'emitter'}
    for node in nodes:
        wait_for_value(node.server_count, 2)
    with redis_server.client() as client:
        written = {fields[b'uid'].decode()
                   for _, fields in client.xrange(stream)}
    assert written <= {*uids, 'emitter'}


def test_large_entries_are_read_few_at_once(
        make_redis: Callable[..., RedisServer]) -> None:
    """Twenty of a megabyte pass a server that sends no more than four at
    once."""
    server = make_redis().start()
    with server.client() as client:
        for _ in range(20):
            client.xadd('socket.io', {
                'uid': 'x', 'nsp': '/', 'type': 2, 'other': b'x' * 2**20})
        client.config_set('client-output-buffer-limit',
                          f'normal {4 * 2**20} 0 0')
        done = run_command('tail', '--from', 'start', '--no-follow',
                           '--json', url=server.url)
        assert done.status == 0 and len(done.objects) == 20
        assert done.err == ''


def test_entry_above_the_limit_is_read_in_parts(
        make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis().start()
    with server.client() as client:
        for size in (10, 5 * 2**20, 20):
            client.xadd('socket.io', {
                'uid': 'x', 'nsp': '/', 'type': 2, 'other': b'x' * size})
        client.config_set('client-output-buffer-limit',
                          f'normal {2 * 2**20} 0 0')
        for begin in 'start', '1h':
            done = run_command('tail', '--from', begin, '--no-follow',
                               '--json', url=server.url)
            assert done.status == 0 and len(done.objects) == 3
            assert done.objects[1]['size'] > 5 * 2**20
