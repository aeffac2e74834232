"""Passwords are in no log record, no error and no answer, whatever goes wrong
and however they were given."""
import contextlib
import logging
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from redis_streams_adapter import RedisStreamsManager

from ...integration.conftest import STEADY
from ...integration.helpers import BACK_WITHIN, log_lengths, wait_for_outage
from ...support.client_library import library, REDIS_CLIENT
from ...support.ports import free_port
from ...support.redis_server import RedisServer
from ...support.wait import wait_until
from ..fixtures import MakeRedis, StartNodes


#: A part of every password, the wrong ones and the right one.
SECRET = 'geheim'
WRONG, RIGHT, SENTINELS = (f'{SECRET}-{each}' for each in (
    'wrong', 'right', 'sentinels'))

Given = Tuple[Any, Dict[str, Any]]

#: The ways to give a password, each as a URL or a client, and options.
WAYS: Dict[str, Callable[[int], Given]] = {
    'url': lambda port: (f'{REDIS_CLIENT}://:{WRONG}@127.0.0.1:{port}', {}),
    'url with user': lambda port: (
        f'{REDIS_CLIENT}://user:{WRONG}@127.0.0.1:{port}/0', {}),
    'query': lambda port: (
        f'{REDIS_CLIENT}://127.0.0.1:{port}/0?password={WRONG}', {}),
    'options': lambda port: (
        f'{REDIS_CLIENT}://127.0.0.1:{port}/0', {'password': WRONG}),
    'client': lambda port: (library.Redis(port=port, password=WRONG), {}),
    'cluster': lambda port: (
        f'{REDIS_CLIENT}+cluster://user:{WRONG}@127.0.0.1:{port}', {}),
    'query of a cluster': lambda port: (
        f'{REDIS_CLIENT}+cluster://127.0.0.1:{port}?password={WRONG}', {}),
    'sentinel': lambda port: (
        f'{REDIS_CLIENT}+sentinel://user:{WRONG}@127.0.0.1:{port}/0/name', {
            'sentinel_kwargs': {'password': SENTINELS}}),
    'client of a sentinel': lambda port: (
        library.sentinel.Sentinel(
            [('127.0.0.1', port)], password=WRONG,
            sentinel_kwargs={'password': SENTINELS}).master_for('name'), {}),
}


@contextlib.contextmanager
def watched(given: Given, caplog: pytest.LogCaptureFixture,
            ) -> Iterator[RedisStreamsManager]:
    """A member of a cluster. All that it shows or logs is searched for
    passwords at the end."""
    url, options = given
    shown: List[str] = []

    def collect(manager: RedisStreamsManager) -> None:
        shown.extend(map(repr, (manager, manager.health(), manager.stats(),
                                vars(manager))))

    with caplog.at_level(logging.DEBUG):
        with RedisStreamsManager(
                url, write_only=False, redis_options=options) as manager:
            manager.emit('event', None)
            yield manager
            collect(manager)
            manager.close(timeout=0.1)
        collect(manager)
    assert 'connecting again' in caplog.text
    for text in (*shown, caplog.text, *(
            repr(vars(record)) for record in caplog.records)):
        assert SECRET not in text


def wait_for_error(manager: RedisStreamsManager, *texts: str) -> None:
    """Wait until it reports one of these errors."""
    def reported() -> bool:
        health = manager.health()
        return health['outage'] is not None and any(
            text in health['last_error'] for text in texts)

    wait_until(reported, what=lambda: f'{texts}, not {manager.health()}')


@pytest.mark.parametrize('way', WAYS)
def test_refused_connection_leaks_no_password(
        way: str, caplog: pytest.LogCaptureFixture) -> None:
    with watched(WAYS[way](free_port()), caplog) as manager:
        wait_for_error(manager, 'refused')


@pytest.fixture(scope='module')
def guarded(redis_binary: str) -> Iterator[RedisServer]:
    """A server that requires a password."""
    with RedisServer(client_options={'password': RIGHT}) as server:
        yield server.start('--requirepass', RIGHT)


@pytest.mark.parametrize('way', WAYS)
def test_wrong_password_is_not_leaked(
        way: str, guarded: RedisServer,
        caplog: pytest.LogCaptureFixture) -> None:
    with watched(WAYS[way](guarded.port), caplog) as manager:
        wait_for_error(manager, 'invalid username-password')


def test_missing_password_leaks_nothing(
        guarded: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    with watched((guarded.url, {}), caplog) as manager:
        wait_for_error(manager, 'Authentication required')


def test_outage_leaks_no_password(make_redis: MakeRedis,
                                  start_nodes: StartNodes) -> None:
    """Connections are killed, the server is stopped, and it starts again with
    another password."""
    server = make_redis(client_options={'password': RIGHT})
    server.start('--requirepass', RIGHT)
    url = f'{REDIS_CLIENT}://default:{RIGHT}@127.0.0.1:{server.port}/0'
    (node,) = start_nodes(1, url, **STEADY)
    node.start_manager()
    node.wait_health('ok')
    reported: List[Any] = []
    with server.client() as admin:
        admin.execute_command('CLIENT', 'KILL', 'TYPE', 'normal')
        wait_until(lambda: node.stats()['reader_restarts'],
                   what='a broken connection')
    node.wait_health('ok', BACK_WITHIN)
    starts = log_lengths([node])
    server.stop()
    wait_for_outage([node], starts)
    reported.append(node.health())
    server.start('--requirepass', WRONG, ready=False)
    wait_until(lambda: 'invalid username-password'
               in node.health()['last_error'], BACK_WITHIN,
               'the new password to be noticed')
    reported += [node.health(), node.stats()]
    text = f'{reported} {node.logs()} {node.process.output()}'
    assert 'connecting again' in text
    assert SECRET not in text
