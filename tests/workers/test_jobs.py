"""No event of a job is lost when its process ends without a word."""
import os
import re
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Callable, Iterator, List, Set, Tuple

import pytest

from ..support.process import ROOT
from ..support.ports import free_port
from ..support.redis_server import RedisServer
from ..support.wait import wait_until

for _name in ('celery', 'rq'):
    pytest.importorskip(_name)

#: How many events each job emits, see :mod:`tests.support.jobs`.
EVENTS = 20

#: How many jobs there are.
JOBS = 6

#: Seconds that all jobs of one test may take.
PATIENCE = 60.0

Start = Callable[..., 'subprocess.Popen[bytes]']


@pytest.fixture
def redis(make_redis: Callable[..., RedisServer]) -> RedisServer:
    return make_redis().start()


@pytest.fixture
def start(redis: RedisServer, tmp_path: Path) -> Iterator[Start]:
    """Starts a command in a process group, which ends with the test."""
    with ExitStack() as stack:
        def run(*command: str, query: str = '', importing: str = '') -> Any:
            out = stack.enter_context((tmp_path / 'out').open('ab'))
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, start_new_session=True,
                env={**os.environ, 'PYTHONPATH': str(ROOT),
                     'JOBS_REDIS_URL': redis.url, 'JOBS_QUERY': query,
                     'JOBS_IMPORT': importing})
            stack.callback(end, process)
            return process

        yield run


def end(process: Any) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()


def stored(redis: RedisServer) -> List[Tuple[int, int]]:
    """The events in the stream, in order: job and number."""
    entries: Any = redis.client().xrange('socket.io')
    found = [re.search(rb'job (\d+) event (\d+);', fields.get(b'data', b''))
             for _, fields in entries]
    return [(int(each[1]), int(each[2])) for each in found if each]


def check(redis: RedisServer, jobs: int = JOBS) -> None:
    """Each event is there now, once and in order."""
    events = stored(redis)
    for job in range(jobs):
        assert [index for number, index in events if number == job] \
            == list(range(EVENTS))


@pytest.mark.parametrize('importing', ['', 'emit'])
def test_rq(redis: RedisServer, start: Start, importing: str) -> None:
    from rq import Queue

    queue = Queue(connection=redis.client())
    for number in range(JOBS):
        queue.enqueue('tests.support.jobs.job', number)
    worker = start(str(Path(sys.executable).with_name('rq')), 'worker',
                   '--burst', '--url', redis.url, importing=importing)
    assert worker.wait(PATIENCE) == 0
    check(redis)


@pytest.mark.parametrize('pool, query, importing', [
    ('prefork', '', ''), ('prefork', '', 'emit'), ('prefork', '', 'start'),
    # The end of a child is noticed, too.
    ('prefork', '?publish=background', ''),
    ('threads', '', ''), ('gevent', '', '')])
def test_celery(redis: RedisServer, start: Start, pool: str, query: str,
                importing: str) -> None:
    from celery import Celery

    app = Celery('jobs', broker=redis.url)
    for number in range(JOBS):
        app.send_task('job', (number,))
    one_each = ['--max-tasks-per-child', '1'] if pool == 'prefork' else []
    start(sys.executable, '-m', 'celery', '-A', 'tests.support.jobs', 'worker',
          '--loglevel', 'ERROR', '--without-mingle', '--without-gossip',
          '--pool', pool, '--concurrency', '2', *one_each,
          query=query, importing=importing)
    wait_until(lambda: len(stored(redis)) >= JOBS * EVENTS,
               timeout=PATIENCE, what='all events')
    check(redis)


@pytest.mark.parametrize('way', ['fork', 'spawn', 'forkserver'])
@pytest.mark.parametrize('importing', ['', 'emit'])
def test_python_forks(redis: RedisServer, start: Start, way: str,
                      importing: str) -> None:
    """``fork``: :func:`os.fork` and :func:`os._exit`; else a pool of
    multiprocessing, which terminates its children."""
    process = start(sys.executable, '-m', 'tests.support.jobs', way,
                    importing=importing)
    assert process.wait(PATIENCE) == 0
    check(redis, jobs=1)


def test_flush_before_a_sudden_end(redis: RedisServer, start: Start) -> None:
    process = start(sys.executable, '-m', 'tests.support.jobs', 'flush',
                    query='?publish=background')
    assert process.wait(PATIENCE) == 0
    check(redis, jobs=1)


# What is imported in the master must not use the manager, see
# `processes.is_uwsgi_master`.
@pytest.mark.parametrize('importing, options', [
    ('', []), ('', ['--lazy-apps']), ('emit', ['--lazy-apps']),
    ('start', ['--lazy-apps'])])
def test_workers_of_uwsgi(redis: RedisServer, start: Start, importing: str,
                          options: List[str]) -> None:
    """Each is a node of its own, although Python does not notice the
    fork."""
    uwsgi = Path(sys.executable).with_name('uwsgi')
    if not uwsgi.exists():
        pytest.skip('uWSGI is not installed')
    port = free_port()
    start(str(uwsgi), '--master', '-p', '4', '--enable-threads',
          '--http-socket', f'127.0.0.1:{port}', '--module',
          'tests.support.jobs:application', '-H', sys.prefix,
          '--disable-logging', *options, importing=importing)

    def listens() -> bool:
        with suppress(OSError), socket.create_connection(('127.0.0.1', port)):
            return True
        return False

    wait_until(listens, timeout=PATIENCE, what='uWSGI')
    nodes: Set[Tuple[bytes, ...]] = set()

    def request(number: int) -> None:
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/?{number}',
                                    timeout=PATIENCE) as answer:
            nodes.add(tuple(answer.read().split()))

    jobs = 40
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(request, range(jobs)))
    pids, uids = zip(*nodes)
    assert len(set(pids)) == len(set(uids)) == len(nodes)
    # A node that has joined answers before its events are in the stream.
    wait_until(lambda: len(stored(redis)) >= jobs * EVENTS,
               timeout=PATIENCE, what='all events')
    check(redis, jobs)
