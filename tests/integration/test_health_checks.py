"""Health checks over HTTP: real servers in each mode, and a real Redis that
freezes."""
import contextlib
import http.client
import json
import signal
import statistics
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from ..support.client import Client
from ..support.gunicorn_process import GunicornProcess
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .conftest import STEADY
from .helpers import BACK_WITHIN

StartNodes = Callable[..., List[NodeProcess]]

CHECKS = ('livez', 'readyz', 'healthz')

#: How many requests are sent while Redis is frozen.
REQUESTS = 100

#: Seconds: what half of the answers take at most, and all but a twentieth of
#: them. They take two milliseconds on an idle machine; a check that waited for
#: Redis would take five seconds.
MEDIAN, SLOWEST = 0.05, 0.5

#: gunicorn's hooks, with which a worker joins at its start.
HOOKS = ('from redis_streams_adapter.gunicorn import post_worker_init, '
         'worker_exit\n')


def get(url: str, method: str = 'GET') -> Tuple[int, Any]:
    """The code and the content of an answer."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10.0) as answer:
            code, body = answer.status, answer.read()
            headers = answer.headers
    except urllib.error.HTTPError as exc:
        code, body, headers = exc.code, exc.read(), exc.headers
    assert headers['Cache-Control'] == 'no-store'
    return code, json.loads(body) if body else None


@pytest.fixture
def redis(make_redis: Callable[..., RedisServer]) -> RedisServer:
    """A Redis for one test."""
    return make_redis().start()


def timed(node: NodeProcess, check: str,
          expected: Optional[Tuple[int, str]] = None) -> List[float]:
    """The seconds that each of many requests takes, each on a connection of
    its own, as those of load balancers are.

    :param expected: the code and the status of each answer.
    """
    took = []
    for _ in range(REQUESTS):
        begun = time.monotonic()
        code, content = get(f'{node.url}/{check}')
        took.append(time.monotonic() - begun)
        assert expected is None or (code, content['status']) == expected
    return took


# -- phases ------------------------------------------------------------------

@pytest.mark.parametrize('flask', [False, True], ids=['wsgi', 'flask'])
def test_phases(start_nodes: StartNodes, redis_server: RedisServer,
                connect: Callable[..., Client], unique: Callable[[str], str],
                flask: bool) -> None:
    """Not ready before the join, nor after the close has begun."""
    url = redis_server.url
    options: Dict[str, Any] = {'health': {'details': True}}
    stream = unique('stream')
    if flask:
        url = url.replace('://', '+streams://', 1) + f'?stream_name={stream}'
    else:
        options.update(STEADY, stream_name=stream)
    node, = start_nodes(1, url, flask, **options)
    assert get(f'{node.url}/livez') == (200, {'status': 'ok'})
    code, content = get(f'{node.url}/readyz')
    assert (code, content['status']) == (503, 'starting')
    assert get(f'{node.url}/healthz') == (200, {'status': 'starting'})
    # The checks have joined nothing. The first client does.
    client = connect(node)
    wait_for_value(lambda: get(f'{node.url}/readyz'), (200, {'status': 'ok'}))
    code, content = get(f'{node.url}/healthz')
    assert (code, content['nodes'], content['last_error']) == (200, 1, None)
    assert get(f'{node.url}/readyz', 'HEAD') == (200, None)
    assert get(f'{node.url}/readyz', 'POST')[0] == 405
    # Socket.IO still answers everything else.
    assert client.call('echo', 1) is not None
    node.close_manager()
    assert get(f'{node.url}/readyz') == (503, {'status': 'closing'})
    assert get(f'{node.url}/livez') == (200, {'status': 'ok'})


# -- a frozen Redis ----------------------------------------------------------

@pytest.mark.parametrize('strict', [False, True], ids=['', 'strict'])
def test_frozen_redis(start_nodes: StartNodes, redis: RedisServer,
                      strict: bool) -> None:
    """No answer waits for Redis: neither before the outage is noticed, nor
    while it lasts. The server stays ready, unless that was chosen."""
    node, = start_nodes(1, redis.url, health={'strict': strict},
                        redis_options={'socket_timeout': 1.0}, **STEADY)
    node.start_manager()
    node.wait_health('ok')
    redis.freeze()
    took: Dict[str, List[float]] = {}
    # Something to send, so that the writer waits for an answer, too.
    node.emit('event', 'x' * 1000)
    for check in CHECKS:
        took[f'{check} at first'] = timed(node, check)
    wait_for_value(lambda: get(f'{node.url}/healthz'),
                   (200, {'status': 'degraded'}), BACK_WITHIN)
    for check, expected in (
            ('livez', (200, 'ok')),
            ('readyz', (503 if strict else 200, 'degraded')),
            ('healthz', (200, 'degraded'))):
        took[check] = timed(node, check, expected)
    for check, seconds in took.items():
        median = statistics.median(seconds)
        slow = sorted(seconds)[-len(seconds) // 20]
        print(f'{check}: median {median * 1000:.1f} ms, 95 % in '
              f'{slow * 1000:.1f} ms, all in {max(seconds) * 1000:.1f} ms')
        assert median < MEDIAN and slow < SLOWEST, (check, median, slow)
    redis.thaw()
    wait_for_value(lambda: get(f'{node.url}/readyz'), (200, {'status': 'ok'}),
                   BACK_WITHIN)


def test_redis_that_is_frozen_from_the_start(
        start_nodes: StartNodes, redis: RedisServer) -> None:
    """A server becomes ready all the same: its clients can connect."""
    redis.freeze()
    node, = start_nodes(1, redis.url, health={},
                        redis_options={'socket_timeout': 1.0}, **STEADY)
    starting = threading.Thread(target=node.start_manager)
    starting.start()
    assert get(f'{node.url}/readyz')[0] == 503
    wait_for_value(lambda: get(f'{node.url}/readyz'),
                   (200, {'status': 'degraded'}), BACK_WITHIN)
    starting.join()
    redis.thaw()
    wait_for_value(lambda: get(f'{node.url}/readyz'), (200, {'status': 'ok'}),
                   BACK_WITHIN)


# -- secrets -----------------------------------------------------------------

def test_answers_have_no_secrets(
        start_nodes: StartNodes, make_redis: Callable[..., RedisServer],
        connect: Callable[..., Client]) -> None:
    """Neither the password of Redis, nor the key of a client's session, even
    if Redis refuses to store it, nor a pid."""
    redis = make_redis(client_options={'password': 'geheim'})
    redis.start('--requirepass', 'geheim')
    url = redis.url_of('default', 'geheim')
    node, = start_nodes(1, url, health={'details': True},
                        connection_state_recovery=True, **STEADY)
    node.start_manager()
    node.wait_health('ok')
    with redis.client() as admin:
        # Sessions can neither be read nor written from now on.
        admin.execute_command('ACL', 'SETUSER', 'default', '-@all', '+xadd',
                              '+xread', '+multi', '+exec', '+xrange', '+acl',
                              '+xinfo', '+info', '+hello', '+auth', '+ping')
        connect(node)
        shown: List[Dict[str, Any]] = []

        def state() -> Dict[str, Any]:
            shown.append(get(f'{node.url}/healthz')[1])
            return shown[-1]

        wait_until(lambda: state()['status'] == 'degraded', BACK_WITHIN)
    redis.stop()
    wait_until(lambda: state()['outage'] is not None, BACK_WITHIN)
    text = json.dumps(shown)
    assert 'last_error' in text
    for secret in ('geheim', 'sio:session:', 'pid'):
        assert secret not in text


# -- gunicorn ----------------------------------------------------------------

@pytest.fixture
def gunicorn(start_gunicorn_process: Callable[..., GunicornProcess],
             redis_server: RedisServer, unique: Callable[[str], str],
             tmp_path: Path) -> Iterator[GunicornProcess]:
    """One worker, which is ready."""
    server = start_gunicorn_process(
        redis_server.url, {'stream_name': unique('stream')}, tmp_path, 1,
        HOOKS, preload=False, application='tests.support.shutdown_app')

    def ready() -> bool:
        with contextlib.suppress(OSError):
            return get(f'{server.url}/readyz') == (200, {'status': 'ok'})
        return False

    # Without a client: the hook joins.
    wait_until(ready, 30.0, lambda: server.process.tail())
    yield server


def test_gunicorn_drains(gunicorn: GunicornProcess, mode: str) -> None:
    """After SIGTERM a worker finishes its requests. Under gevent it answers
    meanwhile that it is not ready, on connections that are open."""
    if mode != 'gevent':
        pytest.skip('a gthread worker closes idle connections at once')
    connection = http.client.HTTPConnection('127.0.0.1', gunicorn.port,
                                            timeout=10.0)
    spare = http.client.HTTPConnection('127.0.0.1', gunicorn.port,
                                       timeout=10.0)
    with contextlib.closing(connection), contextlib.closing(spare):
        for each in connection, spare:
            each.request('GET', '/livez')
            assert each.getresponse().read()
        slow = threading.Thread(target=urllib.request.urlopen,
                                args=[f'{gunicorn.url}/slow'])
        slow.start()
        gunicorn.process.signal(signal.SIGTERM)

        def refuses() -> bool:
            """New connections are accepted for up to a second, by a worker
            that is closing."""
            try:
                code, content = get(f'{gunicorn.url}/readyz')
            except OSError:
                return True
            assert (code, content['status']) in (
                (200, 'ok'), (503, 'closing'))
            return code == 503

        wait_until(refuses)
        connection.request('GET', '/readyz')
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (
            503, {'status': 'closing'})
        # A load balancer does not send more on this connection.
        assert answer.headers['Connection'] == 'close'
        spare.request('GET', '/livez')
        assert spare.getresponse().status == 200
        slow.join()
