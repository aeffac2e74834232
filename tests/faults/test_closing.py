"""A process ends: is all that its emits have accepted still sent?"""
import importlib.util
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
import redis

from ..conftest import skip_or_fail
from ..integration.conftest import STEADY
from ..integration.helpers import BACK_WITHIN, numbers, PROMPT
from ..support.client import Client
from ..support.emitting_script import WAYS
from ..support.gunicorn_process import GunicornProcess, WORKERS
from ..support.node_process import NodeProcess
from ..support.process import OwnProcess
from ..support.redis_server import RedisServer
from ..support.wait import wait_until

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]
MakeRedis = Callable[..., RedisServer]

STREAM = 'socket.io'

#: The message type ADAPTER_CLOSE on the wire.
ADAPTER_CLOSE = b'13'

#: What a script emits before it ends, as fast as it can: many batches.
MANY = 10_000


def stored(admin: redis.Redis, event: str) -> Tuple[List[int], List[bytes]]:
    """What stands in the stream.

    :return: the numbers of an event, in order, and the types of what stands
             behind the last of them.
    """
    found: List[int] = []
    behind: List[bytes] = []
    mark = f'"{event}",'.encode()
    for _, fields in admin.xrange(STREAM):
        _, _, rest = fields.get(b'data', b'').partition(mark)
        if rest:
            found.append(int(rest.partition(b']')[0]))
            behind = []
        else:
            behind.append(fields[b'type'])
    return found, behind


# -- close() ----------------------------------------------------------------

def emit_and_close(event: str, count: int, timeout: float) -> List[Any]:
    """The calls of one handler that emits numbers and closes at once."""
    return [*(('server', 'emit', [event, number], {})
              for number in range(count)),
            ('manager', 'close', [timeout], {})]


def test_close_sends_outbox(make_redis: MakeRedis, start_nodes: StartNodes,
                            unique: Unique) -> None:
    server = make_redis().start()
    (node,) = start_nodes(1, server.url, **STEADY)
    node.start_manager()
    event = unique('event')
    node.script(*emit_and_close(event, 5000, 10.0))
    with server.client() as admin:
        found, behind = stored(admin, event)
    assert found == list(range(5000))
    # One for each namespace, and nothing behind.
    assert behind[-2:] == [ADAPTER_CLOSE] * 2
    assert behind.count(ADAPTER_CLOSE) == 2
    assert node.logs(logging.WARNING) == []
    assert node.stats()['outbox'] == 0


def test_close_waits_for_redis(make_redis: MakeRedis,
                               start_nodes: StartNodes,
                               unique: Unique) -> None:
    """For as long as it was told to."""
    server = make_redis(append_only=True).start()
    (node,) = start_nodes(1, server.url, **STEADY)
    node.start_manager()
    server.stop()
    node.wait_health('degraded')
    event = unique('event')
    closing = threading.Thread(target=node.script,
                               args=emit_and_close(event, 1000, 15.0))
    closing.start()
    wait_until(lambda: node.stats()['outbox'] > 1000,
               what='the goodbye to wait with the rest')
    server.start()
    closing.join(BACK_WITHIN)
    assert not closing.is_alive()
    with server.client() as admin:
        found, behind = stored(admin, event)
    assert found == list(range(1000))
    assert behind[-2:] == [ADAPTER_CLOSE] * 2
    assert node.logs(logging.ERROR) == []


def test_close_logs_number_of_lost_messages(make_redis: MakeRedis,
                                            start_nodes: StartNodes,
                                            unique: Unique) -> None:
    server = make_redis(append_only=True).start()
    (node,) = start_nodes(1, server.url, **STEADY)
    node.start_manager()
    server.stop()
    node.wait_health('degraded')
    started = time.monotonic()
    node.script(*emit_and_close(unique('event'), 1000, 0.5))
    assert time.monotonic() - started < 0.5 + PROMPT
    # The goodbyes are none.
    assert node.logs(logging.ERROR) == [
        'closed with 1000 messages that Redis did not take']


# -- a script ends ----------------------------------------------------------

@pytest.mark.parametrize('way', WAYS)
def test_outbox_is_sent_when_script_ends(make_redis: MakeRedis, mode: str,
                                         unique: Unique, tmp_path: Path,
                                         way: str) -> None:
    """It calls nothing that would wait."""
    server = make_redis().start()
    event = unique('event')
    script = OwnProcess(
        [sys.executable, '-m', 'tests.support.emitting_script', mode, way,
         server.url, event, str(MANY)], tmp_path / 'script.out')
    assert script.wait(30.0) == 0, script.tail()
    assert script.output() == ''
    with server.client() as admin:
        found, behind = stored(admin, event)
    assert found == list(range(MANY))
    member, _ = WAYS[way]
    # There may be a heartbeat before it.
    assert behind.count(ADAPTER_CLOSE) == member
    assert behind[-1:] == [ADAPTER_CLOSE] * member


# -- a worker of gunicorn ends ----------------------------------------------

#: What the configuration of gunicorn says, with the hooks and without.
HOOKS = {
    'hooks': '''
from redis_streams_adapter.gunicorn import worker_exit
from redis_streams_adapter.gunicorn import post_worker_init as join
''',
    'atexit alone': '''
def join(worker):
    pass
'''}

COUNT = '''
def post_worker_init(worker):
    join(worker)
    from tests.support.gunicorn_app import count
    count({event!r}, {directory!r})
'''

StartGunicorn = Callable[[str, Dict[str, Any], str], GunicornProcess]


@pytest.fixture
def start_gunicorn(mode: str, tmp_path: Path) -> Iterator[StartGunicorn]:
    """Starts a gunicorn with two workers."""
    if mode not in WORKERS:
        pytest.skip(f'gunicorn has no worker for {mode}')
    if importlib.util.find_spec('gunicorn') is None:
        skip_or_fail('gunicorn is not installed')
    servers: List[GunicornProcess] = []

    def start(redis_url: str, options: Dict[str, Any],
              configuration: str) -> GunicornProcess:
        servers.append(GunicornProcess(
            mode, redis_url, options, tmp_path, configuration=configuration,
            preload=False))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize('how', HOOKS)
def test_outbox_is_sent_when_gunicorn_worker_ends(
        make_redis: MakeRedis, start_nodes: StartNodes,
        start_gunicorn: StartGunicorn, connect: Connect, unique: Unique,
        tmp_path: Path, how: str) -> None:
    """One worker, with much in its outbox, and then gunicorn, while all
    workers emit."""
    server = make_redis().start()
    (listener,) = start_nodes(1, server.url, **STEADY)
    listener.start_manager()
    client = connect(listener)
    event = unique('event')
    gunicorn = start_gunicorn(server.url, STEADY, HOOKS[how]
                              + COUNT.format(event=event,
                                             directory=str(tmp_path)))

    def busy() -> Dict[int, bytes]:
        """What the workers have tried that have emitted for a while."""
        tried = {int(path.stem): path.read_bytes()
                 for path in tmp_path.glob('*.tried')}
        return {pid: text for pid, text in tried.items()
                if text.count(b'\n') > 100}

    def wait_busy(count: int) -> List[int]:
        wait_until(lambda: len(busy()) == count, 30.0,
                   lambda: f'workers to emit:\n{gunicorn.process.tail()}')
        return sorted(busy())

    first, _ = wait_busy(2)
    server.freeze()
    sent = busy()[first].count(b'\n')
    wait_until(lambda: busy()[first].count(b'\n') > sent + 500,
               what='more to be accepted')
    os.kill(first, signal.SIGTERM)
    # Its last act begins: all of that is still to be sent.
    wait_until(lambda: f'Worker exiting (pid: {first})'
               in gunicorn.process.output(), what='the worker to end')
    server.thaw()
    # Another one has taken its place.
    wait_busy(3)
    assert gunicorn.process.stop() == 0
    everything = busy()
    assert len(everything) == 3
    for pid, tried in everything.items():
        name = f'{event}-{pid}'
        accepted = tried.count(b'\n')
        client.wait_for(name, accepted)
        *_, last = tried.splitlines()
        arrived = numbers(client, name)
        # Of the last one it may not be known that it was accepted.
        assert arrived in (list(range(accepted)), list(range(int(last) + 1)))
    listener.wait_server_count(1)
    assert listener.stats()['messages_lost'] == 0
