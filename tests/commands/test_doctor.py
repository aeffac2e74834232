"""``doctor`` finds what is wrong, and changes nothing."""
import itertools
import time
from typing import Any, Callable, Dict, Iterator, List

import pytest

from redis_streams_adapter.commands import checks, rights
from redis_streams_adapter.commands.observed import Seen

from ..support.commands import ELSEWHERE, ROWS
from ..support.redis_server import RedisServer
from .conftest import run_command

#: Makes the ids of entries of one millisecond differ.
NUMBERS = itertools.count(1)

#: The commands that every server should have the right to.
ALL = ['xadd', 'xread', 'xinfo|stream', 'time', 'multi', 'exec', 'eval',
       'client|info', 'client|kill', 'xdel', 'pexpire']

#: Those that the command itself needs besides.
OWN = ['info', 'xrevrange', 'memory|usage',
       'pubsub|numsub', 'ping']


@pytest.fixture
def server(make_redis: Callable[..., RedisServer]) -> Iterator[RedisServer]:
    server = make_redis().start()
    beat(server, wid='w', seq=0)
    yield server


def beat(server: RedisServer, uid: str = 'python', ago: float = 0.0,
         kind: int = 2, **fields: Any) -> None:
    """Write a sign of life."""
    with server.client() as client:
        client.xadd('socket.io', {
            'uid': uid, 'nsp': '/', 'type': kind, **fields},
            id=f'{int((time.time() - ago) * 1000)}-{next(NUMBERS)}')


def admit(server: RedisServer, *commands: str,
          keys: str = '~socket.io ~socket.io:answers:*') -> str:
    """A user with these rights.

    :return: the URL of it.
    """
    with server.client() as client:
        client.execute_command(
            'ACL', 'SETUSER', 'node', 'reset', 'on', '>word', *keys.split(),
            '&*', *(each if each[0] == '-' else f'+{each}'
                    for each in commands))
    return server.url_of('node', 'word')


def findings(url: str, *arguments: str) -> Dict[str, List[str]]:
    """What is to be done, by check."""
    # There are no servers that could be asked.
    done = run_command('doctor', '--json', '--passive', *arguments, url=url)
    found: Dict[str, List[str]] = {}
    for each in done.objects:
        assert set(each) == {'check', 'status', 'text'}
        assert '\n' not in each['text']
        if each['status'] == 'finding':
            found.setdefault(each['check'], []).append(each['text'])
    found.pop('packages', None)
    assert done.status == 1 or not found
    return found


def with_options(url: str, options: str) -> str:
    return url.replace('://', '+streams://', 1) + '?' + options


def test_nothing_to_do(server: RedisServer) -> None:
    before = snapshot(server)
    # As by a user who may not ask for rights.
    for url in server.url, admit(server, '@all', '-acl', keys='~*'):
        for options in ('max_len=1000', 'connection_state_recovery=true',
                        'retention=60&min_replicas=1',
                        'request_transport=pubsub'):
            with server.client() as client:
                connection = client.client_id()
                assert findings(with_options(url, options)) == {}
                # It has ended no connection of others.
                assert client.client_id() == connection
    assert snapshot(server) == before


def snapshot(server: RedisServer) -> Any:
    with server.client() as client:
        return {key: client.dump(key) for key in client.keys()}


def test_for_people(server: RedisServer) -> None:
    done = run_command('doctor', url=server.url)
    text = done.out.splitlines()
    assert text[0].split()[:2] == ['CHECK', 'STATUS']
    assert any(line.split()[:2] == ['server', 'ok'] for line in text)
    assert any(line.split()[:2] == ['rights', 'ok'] for line in text)


@pytest.mark.parametrize('missing', ALL)
@pytest.mark.parametrize('asks', [True, False], ids=['dry run', 'tried'])
def test_missing_right(server: RedisServer, missing: str,
                       asks: bool) -> None:
    """Exactly the missing right is found, whether Redis says so or it has to
    be tried."""
    if asks and server.binary.version < (7,):
        pytest.skip('it has no ACL DRYRUN before version 7')
    more = ['acl|whoami', 'acl|dryrun'] if asks else []
    url = admit(server, *(each for each in [*ALL, *OWN] if each != missing),
                *more)
    before = snapshot(server)
    found = findings(url).pop('rights')
    # It is one command with two uses.
    assert len(found) == (2 if missing == 'xread' else 1)
    for each in found:
        assert f'+{missing}' in each
        assert missing.replace('|', ' ').upper() in each
    assert snapshot(server) == before


def test_missing_keys_and_channels(server: RedisServer) -> None:
    every = ['@all']
    url = admit(server, *every, keys='~socket.io')
    assert [text.partition(': ')[0] for text in findings(url)['rights']] == [
        'XDEL is not permitted', 'PEXPIRE is not permitted']
    assert all('~socket.io:answers:*' in text
               for text in findings(url)['rights'])
    found = findings(with_options(url, 'connection_state_recovery=true'))
    assert sum('~sio:session:*' in text for text in found['rights']) == 3


def test_rights_of_another_user(server: RedisServer) -> None:
    if server.binary.version < (7,):
        pytest.skip('it has no ACL DRYRUN before version 7')
    admit(server, *ALL[1:])
    text, = findings(server.url, '--user', 'node')['rights']
    assert text.startswith('XADD is not permitted') and 'user node' in text
    done = run_command('doctor', '--user', 'nobody', '--json',
                       url=server.url)
    assert any(each['check'] == 'rights' and each['status'] == 'unknown'
               for each in done.objects)


def test_same_commands_as_documented() -> None:
    """SENTINEL is sent to other servers, and CLIENT SETINFO not needed."""
    documented = {each for row in ROWS for each in row.commands}
    assert {each.command for each in rights.RIGHTS} \
        == documented - {'sentinel|master', 'client|setinfo'}
    assert ELSEWHERE


def test_memory(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis().start('--maxmemory', '3mb', '--maxmemory-policy',
                                'allkeys-lru')
    beat(server)
    policy, limit = findings(server.url)['memory']
    assert 'noeviction' in policy and 'raise maxmemory' in limit
    with server.client() as client:
        client.config_set('maxmemory', '1gb')
        client.config_set('maxmemory-policy', 'noeviction')
    assert findings(server.url) == {}


def test_stream(server: RedisServer) -> None:
    assert 'is empty' in findings(server.url, '--stream', 'x')['stream'][0]
    with server.client() as client, client.pipeline() as pipe:
        for _ in range(400):
            pipe.xadd('socket.io', {'uid': 'x', 'nsp': '/', 'type': 2})
        pipe.execute()
    text, = findings(with_options(server.url, 'max_len=100'))['stream']
    assert '401 entries' in text and 'max_len' in text


def test_another_number_of_streams(server: RedisServer) -> None:
    with server.client() as client:
        client.xadd('socket.io-0', {'a': 'b'})
        client.xadd('socket.io--2', {'a': 'b'})
    assert 'socket.io-0' in findings(server.url)['options'][0]
    found = findings(with_options(server.url, 'stream_count=3'))['options']
    assert 'a stream socket.io as well' in found[0]
    assert 'socket.io--2' in found[1]


def test_heartbeats(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis().start()
    beat(server, 'slow', 60)
    beat(server, 'dead', 50)
    beat(server, 'gone', 40)
    beat(server, 'gone', 39, kind=13)
    beat(server, 'new', 1)
    beat(server, 'slow', 0.5)
    found = sorted(findings(server.url)['heartbeats'])
    assert len(found) == 2
    assert 'server dead has written nothing for 5' in found[0]
    assert 'server slow wrote nothing for 5' in found[1] \
        or 'server slow wrote nothing for 6' in found[1]


def test_generations_of_node(make_redis: Callable[..., RedisServer],
                             ) -> None:
    """Servers of 0.2 write signs of life, those of 0.3 listen."""
    server = make_redis().start()
    beat(server, 'python', wid='w', seq=0)
    with server.client() as client, client.pubsub() as listener:
        assert findings(server.url) == {}
        listener.subscribe('socket.io#/#')
        listener.get_message(timeout=5.0)
        text, = findings(server.url)['node.js']
        assert "request_transport='pubsub'" in text
        beat(server, 'node')
        text, = findings(server.url)['node.js']
        assert '0.2' in text and '0.3' in text and 'update all' in text
    text, = findings(with_options(
        server.url, 'request_transport=pubsub'))['node.js']
    assert "request_transport='stream'" in text


def test_gap_before_a_goodbye_is_not_late() -> None:
    seen = Seen('x')
    for at, kind in (1.0, 1), (2.0, 13), (60.0, 1), (61.0, 2):
        seen.add(at, rights_type(kind), True, '/')
    assert seen.gap == 1.0 and not seen.closed


def rights_type(number: int) -> Any:
    from redis_streams_adapter.protocol.messages import MessageType
    return MessageType(number)


@pytest.mark.parametrize('installed', [True, False])
def test_gevent_websocket(monkeypatch: pytest.MonkeyPatch,
                          installed: bool) -> None:
    monkeypatch.setattr(checks.importlib.util, 'find_spec',
                        lambda name: object() if installed else None)
    finding, = checks.check_installed()
    assert (finding.status == 'finding') is installed
    assert not installed or 'pip uninstall gevent-websocket' in finding.text
