"""``sessions`` lists what Redis has, without its secrets."""
import base64
from typing import Any, Callable, Iterator

import msgpack
import pytest

from ..support.redis_server import RedisServer
from .conftest import run_command

PID = 'the-secret-of-a-session'


@pytest.fixture
def server(make_redis: Callable[..., RedisServer]) -> Iterator[RedisServer]:
    yield make_redis().start()


def store(server: RedisServer, pid: str, prefix: str = 'sio:session:',
          ttl: int = 90_000, **fields: Any) -> None:
    """Store a session as servers do."""
    with server.client() as client:
        client.set(prefix + pid, base64.b64encode(msgpack.packb(
            {'sid': 'sid-1', 'pid': pid, 'rooms': ['sid-1', 'tea'],
             'data': {'user': 'me'}, **fields})), px=ttl)


def test_sessions(server: RedisServer) -> None:
    # As Node.js writes it, and as Python does.
    store(server, PID)
    store(server, PID + '2', sid='sid-2', rooms=['sid-2'], nsp='/chat',
          claim='x', app='0:socket.io')
    # Of others, or no session.
    store(server, PID + '3', app='0:other')
    store(server, PID + '4', prefix='sio:other:')
    with server.client() as client:
        client.set(f'sio:session:{PID}5', 'no session')
        client.lpush(f'sio:session:{PID}6', 'no text')
    done = run_command('sessions', '--json', url=server.url)
    *found, summary = done.objects
    found.sort(key=lambda each: str(each['sid']))
    for each in found:
        assert 80 < each.pop('ttl') <= 90 and each.pop('size') > 50
    assert found == [
        {'type': 'session', 'sid': 'sid-1', 'namespace': None,
         'rooms': ['tea'], 'idle': None},
        {'type': 'session', 'sid': 'sid-2', 'namespace': '/chat',
         'rooms': [], 'idle': None}]
    assert summary.pop('bytes') > 100
    assert summary == {'type': 'summary', 'sessions': 2, 'listed': 2,
                       'unreadable': 1, 'complete': True}
    assert PID not in done.out + done.err


def test_for_people(server: RedisServer) -> None:
    done = run_command('sessions', url=server.url)
    assert done.status == 0 and 'there are no sessions' in done.out
    store(server, PID)
    done = run_command('sessions', url=server.url)
    head, row, total = done.out.splitlines()
    assert head.split() == ['SID', 'NAMESPACE', 'TTL', 'IDLE', 'SIZE',
                            'ROOMS']
    assert row.split()[0] == 'sid-1' and row.split()[-1] == 'tea'
    assert total.startswith('1 sessions of ')
    assert PID not in done.out + done.err


def test_limit_namespace_and_options(server: RedisServer) -> None:
    for number in range(7):
        store(server, f'{PID}{number}', nsp=f'/{number % 2}',
              prefix='*[my]:')
    store(server, PID, prefix='xm:')
    url = server.url.replace('://', '+streams://', 1) \
        + '?session_key_prefix=*[my]:&connection_state_recovery=100'
    *listed, summary = run_command('sessions', '--limit', '2', '--json',
                                   url=url).objects
    assert len(listed) == 2 and summary['sessions'] == 7
    assert listed[0]['idle'] == pytest.approx(10, abs=5)
    *listed, summary = run_command('sessions', '--namespace', '/1', '--json',
                                   url=url).objects
    assert {each['namespace'] for each in listed} == {'/1'}
    assert summary['sessions'] == 3


def test_time_is_bounded(server: RedisServer) -> None:
    """What was not looked at is not passed over in silence."""
    with server.client() as client:
        client.mset({f'key-{number}': '' for number in range(30_000)})
    done = run_command('sessions', '--json', '--timeout', '0.001',
                       url=server.url)
    if done.objects:
        assert done.objects[-1]['complete'] is False
    assert done.status == 1 and '--timeout' in done.err


def test_right_to_read_is_missing(server: RedisServer) -> None:
    """The error does not name the key."""
    store(server, PID)
    with server.client() as client:
        client.acl_setuser('user', enabled=True, passwords=['+word'],
                           keys=['other'],
                           commands=['+scan', '+get', '+pttl'])
    done = run_command('sessions', url=server.url_of('user', 'word'))
    assert done.status == 1 and 'the right to GET' in done.err
    assert PID not in done.out + done.err
