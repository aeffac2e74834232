"""No command shows a password, or the pid of a session. What all commands have
in common."""
import base64
from typing import Callable, Iterator, List

import msgpack
import pytest

from redis_streams_adapter.commands.catalogue import COMMANDS

from ..support.redis_server import RedisServer
from .conftest import run_command, run_process

PASSWORD = 'pa%2Fss-word'
DECODED = 'pa/ss-word'
PID = 'pid-of-a-session'

#: Each command, with arguments that end it.
CALLS = {
    'nodes': [], 'stats': [], 'rooms': [], 'sockets': ['--data'],
    'top': ['--json', '--count', '1', '--interval', '0.01'],
    'tail': ['--from', 'start', '--no-follow', '--data'], 'lag': [],
    'sessions': [], 'emit': ['news', '5'], 'call': ['event', '{}'],
    'doctor': [],
    # An address for documentation, which no machine has: it ends at once.
    'exporter': ['--host', '192.0.2.1']}

HIDDEN = [PASSWORD, DECODED, 'ss-word', PID]


@pytest.fixture(scope='module')
def server(redis_binary: str) -> Iterator[RedisServer]:
    """It has a session, and asks for a password."""
    with RedisServer().start('--requirepass', DECODED, ready=False) as server:
        server._client_options['password'] = DECODED
        server.wait_ready()
        with server.client() as client:
            client.set(f'sio:session:{PID}', base64.b64encode(msgpack.packb(
                {'sid': 'sid', 'pid': PID, 'rooms': ['sid'], 'data': {}})))
            client.xadd('socket.io', {'uid': 'x', 'nsp': '/', 'type': 2})
            client.xadd('socket.io', {
                'uid': 'x', 'nsp': '/', 'type': 8,
                'data': base64.b64encode(msgpack.packb({
                    'requestId': 'r', 'sockets': [{
                        'id': 'sid', 'rooms': [], 'data': {},
                        'handshake': {'auth': {'pid': PID}}}]}))})
        yield server


def test_every_command_is_called_here() -> None:
    assert set(CALLS) == set(COMMANDS)


def urls(server: RedisServer) -> List[str]:
    """URLs with passwords: a right one, wrong ones, wrong places."""
    rest = f'127.0.0.1:{server.port}'
    return [f'redis://:{PASSWORD}@{rest}/0',
            f'redis+streams://:{PASSWORD}@{rest}/0?retention=60',
            f'redis://{rest}/0?password={PASSWORD}',
            f'redis://user:x{PASSWORD}@{rest}/0',
            f'redis://:{PASSWORD}@127.0.0.1:1/0',
            f'redis://:{PASSWORD}@no.invalid:1/0',
            f'redis://:{DECODED}@{rest}/0', f'redis://:{PASSWORD}@',
            f'redis://:{PASSWORD}', f'other://:{PASSWORD}@{rest}/0',
            f'redis+stream://:{PASSWORD}@{rest}/0',
            f'redis://:{PASSWORD}@{rest}/x',
            f'redis+streams://:{PASSWORD}@{rest}/0?no=option',
            f':{PASSWORD}@{rest}']


@pytest.mark.parametrize('command', CALLS)
def test_no_secret_is_shown(server: RedisServer, command: str) -> None:
    for index, url in enumerate(urls(server)):
        for more in ([], ['--json']):
            done = run_command(command, *CALLS[command], *more, '--timeout',
                               '0.3', url=url)
            for secret in HIDDEN:
                assert secret not in done.out + done.err, (url, done)
            assert 'Traceback' not in done.err
            assert (index == 0) <= (done.status in (0, 1))


@pytest.mark.parametrize('command', CALLS)
def test_no_secret_of_arguments_is_shown(server: RedisServer,
                                         command: str) -> None:
    url = urls(server)[0]
    for arguments in ([url], [f'--unknown={url}'], [f'--timeout={url}'],
                      [f'--url={url[8:]}'], [f'--kind={url}']):
        done = run_command(command, *CALLS[command], *arguments, url=url)
        assert 'ss-word' not in done.err


def test_processes_show_none_either(server: RedisServer) -> None:
    """With the log of the package, as a user runs it."""
    for command in 'emit', 'nodes':
        done = run_process(command, *CALLS[command], '--timeout', '0.5',
                           url=urls(server)[3])
        assert done.status == 1
        for secret in HIDDEN:
            assert secret not in done.out + done.err


@pytest.mark.parametrize('command', CALLS)
def test_no_url(command: str) -> None:
    done = run_command(command, *CALLS[command])
    assert done.status == 2 and done.out == ''
    assert '--url' in done.err and 'REDIS_STREAMS_URL' in done.err


def test_environment(server: RedisServer,
                     monkeypatch: pytest.MonkeyPatch) -> None:
    """REDIS_STREAMS_URL comes before REDIS_URL, and --url before both."""
    from redis_streams_adapter import cli
    right, wrong = urls(server)[0], 'redis://127.0.0.1:1/0'
    for first, second, given, status in (
            (right, wrong, None, 0), (wrong, right, None, 1),
            (None, right, None, 0), ('', right, None, 0),
            (wrong, wrong, right, 0), (right, right, wrong, 1)):
        for name, value in (('REDIS_STREAMS_URL', first),
                            ('REDIS_URL', second)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        assert cli.main(['lag', *(['--url', given] if given else [])]) \
            == status


@pytest.mark.parametrize('command', CALLS)
@pytest.mark.parametrize('arguments', [
    ['--timeout', 'nan'], ['--namespace', 'chat'], ['--stream', ''],
    ['--no-such'], ['--url', 'localhost']])
def test_wrong_arguments(command: str, arguments: List[str]) -> None:
    done = run_command(command, *CALLS[command], *arguments,
                       url='redis://127.0.0.1:1/0')
    assert done.status == 2 and 'usage:' in done.err


def test_help_names_the_exit_status() -> None:
    for command in CALLS:
        done = run_command(command, '--help')
        assert done.status == 0 and 'Exit status' in done.out


def test_reader_of_the_output_ends(server: RedisServer,
                                   begin_command: Callable[..., object],
                                   ) -> None:
    """As with ``tail | head``: no traceback."""
    import subprocess
    from .conftest import COMMAND, environment, ROOT
    process = subprocess.Popen(
        [*COMMAND, 'tail', '--from', 'start'], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=ROOT,
        env=environment(urls(server)[0]))
    try:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        with server.client() as client:
            for _ in range(3):
                client.xadd('socket.io', {'uid': 'x', 'nsp': '/', 'type': 2})
        assert process.wait(30) == 1
        assert process.stderr.read() == b''
    finally:
        process.kill()
        process.wait()
