"""The command ``dashboard``. tests/browser shows its page."""
import http.client
import json
import signal
from typing import Any, Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from redis_streams_adapter.dashboard.command import VARIABLE

from ..support.wait import wait_until

ARGUMENTS = ('dashboard', '--port', '0', '--interval', '0.2', '--json')


def get(url: str, path: str = '/', **headers: str) -> Any:
    """The answer to a request. Its connection remains open."""
    connection = http.client.HTTPConnection(
        urlsplit(url).netloc, timeout=60)
    connection.request('GET', path, headers=headers)
    return connection.getresponse()


def samples(response: Any) -> Any:
    """The events that a viewer gets."""
    for line in response:
        if line.startswith(b'data: '):
            yield json.loads(line[len(b'data: '):])


def url_of(command: Any) -> str:
    command.wait_for('"url"')
    return str(command.objects[0]['url'])


def test_viewer(begin_command: Callable[..., Any], redis_server: Any,
                stream: str) -> None:
    """It asks while somebody looks. Ctrl-C ends it meanwhile."""
    command = begin_command(*ARGUMENTS, '--stream', stream,
                            url=redis_server.url)
    url = url_of(command)
    assert urlsplit(url).hostname == '127.0.0.1'
    assert b'dashboard.js' in get(url).read()
    with redis_server.client() as client:
        client.xadd(stream, {'any': 'thing'})
    response = get(url, '/events')
    found = samples(response)
    first = next(found)
    assert first['streams'] == [stream]
    sample = next(each for each in found if each['state']['streams'])
    assert sample['state']['streams'][0]['length'] >= 1
    command.process.signal(signal.SIGINT)
    wait_until(lambda: command.process.returncode is not None, 30.0)
    assert command.process.returncode == 0
    assert 'Traceback' not in command.text


def test_requests_from_elsewhere(begin_command: Callable[..., Any],
                                 redis_server: Any) -> None:
    url = url_of(begin_command(*ARGUMENTS, url=redis_server.url))
    assert get(url, Host='elsewhere.example').status == 403


def test_token(begin_command: Callable[..., Any], redis_server: Any) -> None:
    command = begin_command(*ARGUMENTS, '--host', '0.0.0.0', '--token',
                            'auto', url=redis_server.url)
    url = url_of(command)
    token, = parse_qs(urlsplit(url).query)['token']
    url = url.replace('0.0.0.0', '127.0.0.1')
    assert get(url).status == 401
    assert get(url, '/events').status == 401
    assert get(url, Authorization=f'Bearer {token}').status == 200
    assert get(url, f'/?token={token}').status == 303


def test_redis_is_away(begin_command: Callable[..., Any]) -> None:
    """It begins all the same, and shows no password."""
    command = begin_command(
        *ARGUMENTS, url='redis://user:secret@127.0.0.1:1')
    found = samples(get(url_of(command), '/events'))
    texts = [next(found), next(found)]
    assert 'refused' in texts[1]['state']['problem']
    assert 'secret' not in json.dumps(texts) + command.text


def test_token_of_the_environment(redis_server: Any,
                                  begin_command: Callable[..., Any],
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, 'a token of the environment')
    command = begin_command(*ARGUMENTS, '--host', '0.0.0.0',
                            url=redis_server.url)
    url = url_of(command)
    # It is not repeated.
    assert 'a token' not in command.text
    assert get(url.replace('0.0.0.0', '127.0.0.1')).status == 401
