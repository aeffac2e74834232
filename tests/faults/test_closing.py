"""A process that ends still sends all that its emits have accepted."""
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
import redis

from ..integration.conftest import STEADY
from ..integration.helpers import BACK_WITHIN, numbers, PROMPT
from ..support.emitting_script import WAYS
from ..support.gunicorn_process import GunicornProcess
from ..support.process import OwnProcess
from ..support.wait import wait_until
from .fixtures import Connect, MakeRedis, StartNodes, Unique


STREAM = 'socket.io'

#: The message type ADAPTER_CLOSE on the wire.
ADAPTER_CLOSE = b'13'

#: How many events a script emits before it ends: many batches.
MANY = 10_000


def stored(admin: redis.Redis, event: str) -> Tuple[List[int], List[bytes]]:
    """What is in the stream.

    :return: the numbers of an event, in order, and the message types after
             the last of them.
    """
    found: List[int] = []
    later: List[bytes] = []
    mark = f'"{event}",'.encode()
    for _, fields in admin.xrange(STREAM):
        _, _, rest = fields.get(b'data', b'').partition(mark)
        if rest:
            found.append(int(rest.partition(b']')[0]))
            later = []
        else:
            later.append(fields[b'type'])
    return found, later


# -- close() ----------------------------------------------------------------

def emit_and_close(event: str, count: int, timeout: float) -> List[Any]:
    """The calls that emit numbers and then close the manager."""
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
        found, later = stored(admin, event)
    assert found == list(range(5000))
    # One for each namespace, and nothing after them.
    assert later[-2:] == [ADAPTER_CLOSE] * 2
    assert later.count(ADAPTER_CLOSE) == 2
    assert node.logs(logging.WARNING) == []
    assert node.stats()['outbox'] == 0


def test_close_waits_for_redis(make_redis: MakeRedis,
                               start_nodes: StartNodes,
                               unique: Unique) -> None:
    """It waits for at most its timeout."""
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
               what='ADAPTER_CLOSE to wait with the rest')
    server.start()
    closing.join(BACK_WITHIN)
    assert not closing.is_alive()
    with server.client() as admin:
        found, later = stored(admin, event)
    assert found == list(range(1000))
    assert later[-2:] == [ADAPTER_CLOSE] * 2
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
    # ADAPTER_CLOSE does not count.
    assert node.logs(logging.ERROR) == [
        'closed with 1000 messages that Redis did not take']


# -- a script ends ----------------------------------------------------------

@pytest.mark.parametrize('way', WAYS)
def test_outbox_is_sent_when_script_ends(make_redis: MakeRedis, mode: str,
                                         unique: Unique, tmp_path: Path,
                                         way: str) -> None:
    """The script itself does not wait for its outbox."""
    server = make_redis().start()
    event = unique('event')
    script = OwnProcess(
        [sys.executable, '-m', 'tests.support.emitting_script', mode, way,
         server.url, event, str(MANY)], tmp_path / 'script.out')
    assert script.wait(30.0) == 0, script.tail()
    assert script.output() == ''
    with server.client() as admin:
        found, later = stored(admin, event)
    assert found == list(range(MANY))
    member, _ = WAYS[way]
    # A heartbeat may come before it.
    assert later.count(ADAPTER_CLOSE) == member
    assert later[-1:] == [ADAPTER_CLOSE] * member


# -- a worker of gunicorn ends ----------------------------------------------

#: The configuration of gunicorn, with the hooks and without.
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
def start_gunicorn(start_gunicorn_process: Callable[..., GunicornProcess],
                   tmp_path: Path) -> StartGunicorn:
    """Starts a gunicorn with two workers."""
    return lambda redis_url, options, configuration: start_gunicorn_process(
        redis_url, options, tmp_path, configuration=configuration,
        preload=False)


@pytest.mark.parametrize('how', HOOKS)
def test_outbox_is_sent_when_gunicorn_worker_ends(
        make_redis: MakeRedis, start_nodes: StartNodes,
        start_gunicorn: StartGunicorn, connect: Connect, unique: Unique,
        tmp_path: Path, how: str) -> None:
    """One worker ends with many messages in its outbox, and then gunicorn
    ends while all workers emit."""
    server = make_redis().start()
    (listener,) = start_nodes(1, server.url, **STEADY)
    listener.start_manager()
    client = connect(listener)
    event = unique('event')
    # Without hooks the workers have not joined, and would wait for Redis.
    gunicorn = start_gunicorn(
        server.url, {**STEADY, 'publish': 'background'},
        HOOKS[how] + COUNT.format(event=event, directory=str(tmp_path)))

    def busy() -> Dict[int, bytes]:
        """The attempts of the workers that have emitted for a while."""
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
    # It begins to exit, with all of these still to be sent.
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
        # The worker may have ended before it noted the last one as accepted.
        assert arrived in (list(range(accepted)), list(range(int(last) + 1)))
    listener.wait_server_count(1)
    assert listener.stats()['messages_lost'] == 0
