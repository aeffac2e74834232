"""Workers of gunicorn end while they have clients, with gunicorn's defaults.
They do not wait for connections to end by themselves."""
import contextlib
import os
import signal
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import psutil
import pytest
import socketio
import websocket

from ..integration.conftest import STEADY
from ..support.gunicorn_process import GunicornProcess
from ..support.node_process import NodeProcess
from ..support.wait import DEADLINE, wait_until
from .helpers import check_received, ConnectJs, HOOKS, RECOVERING, Start, \
    Unique

#: Seconds in which a worker ends, even on a busy machine. On an idle machine
#: it takes two seconds; gunicorn would wait for 30.
ENDS_WITHIN = 10.0

#: Seconds in which a worker ends while Redis does not answer.
ENDS_WITHOUT_REDIS_WITHIN = 20.0

StartGunicorn = Callable[..., GunicornProcess]


@pytest.fixture
def node(start: Start) -> NodeProcess:
    """Another server of the cluster."""
    found, = start(1)
    return found


@pytest.fixture
def start_gunicorn(end_workers: List[int],
                   start_gunicorn_process: StartGunicorn, tmp_path: Path,
                   ) -> StartGunicorn:
    """Starts a gunicorn with one worker, and waits until it serves."""
    def start_it(redis_url: str, options: Dict[str, Any],
                 configuration: str = '', **env: str) -> GunicornProcess:
        server = start_gunicorn_process(
            redis_url, options, tmp_path, 1, HOOKS + configuration,
            preload=False, application='tests.support.shutdown_app', env=env)
        end_workers.append(wait_until(lambda: pid_of(server), 30.0, lambda: (
            f'gunicorn to serve:\n{server.process.tail()}')))
        return server

    return start_it


@pytest.fixture
def end_workers() -> Iterator[List[int]]:
    """Process ids of workers that are killed after the master has stopped:
    a worker goes on if its master was killed."""
    workers: List[int] = []
    yield workers
    for pid in workers:
        if not has_ended(pid):
            os.kill(pid, signal.SIGKILL)


def pid_of(gunicorn: GunicornProcess) -> int:
    """The pid of the worker that answers now; 0 if none does."""
    with contextlib.suppress(OSError), urllib.request.urlopen(
            f'{gunicorn.url}/pid', timeout=5.0) as response:
        return int(response.read())
    return 0


def has_ended(pid: int) -> bool:
    """Whether a process is gone."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_ended(pid: int, gunicorn: GunicornProcess,
               timeout: float = ENDS_WITHIN) -> None:
    """Wait until a worker has ended, and check that it was not killed."""
    wait_until(lambda: has_ended(pid), timeout, lambda: (
        f'worker {pid} to end:\n{gunicorn.process.tail()}'))
    assert f'(pid:{pid}) was sent SIGKILL' not in gunicorn.process.output()


# -- why a worker ends --------------------------------------------------------

MANY = 200


def interrupt(gunicorn: GunicornProcess, pid: int, _: Path) -> None:
    """Send what a Ctrl-C sends, to the worker and the master."""
    os.kill(pid, signal.SIGINT)
    gunicorn.process.signal(signal.SIGINT)


def signal_master(number: int) -> Callable[..., None]:
    return lambda gunicorn, pid, _: gunicorn.process.signal(number)


def signal_worker(number: int) -> Callable[..., None]:
    return lambda gunicorn, pid, _: os.kill(pid, number)


def send_requests(gunicorn: GunicornProcess, pid: int, _: Path) -> None:
    """Send requests until the worker has had enough of them."""
    for _each in range(MANY):
        if 'Autorestarting' in gunicorn.process.output():
            return
        pid_of(gunicorn)
    raise AssertionError('the worker goes on')


def change_file(gunicorn: GunicornProcess, pid: int, file: Path) -> None:
    file.write_text('changed')
    os.utime(file, (time.time() + 10, time.time() + 10))


#: By the name of a way to end a worker: a function that does it, and whether
#: another worker takes its place.
WAYS: Dict[str, Any] = {
    'TERM': (signal_master(signal.SIGTERM), False),
    'QUIT': (signal_master(signal.SIGQUIT), False),
    'Ctrl-C': (interrupt, False),
    'HUP': (signal_master(signal.SIGHUP), True),
    'worker is sent TERM': (signal_worker(signal.SIGTERM), True),
    'max_requests': (send_requests, True),
    'reload': (change_file, True),
    'master is killed': (signal_master(signal.SIGKILL), False),
}

CONFIGURATIONS = {
    'max_requests': 'max_requests = 100\n',
    'reload': 'reload = True\nreload_engine = "poll"\n'
              'reload_extra_files = [{file!r}]\n'}


@pytest.mark.parametrize('way', WAYS)
def test_clients_are_recovered(
        start_gunicorn: StartGunicorn, connect_js: ConnectJs,
        node: NodeProcess, redis_server: Any, unique: Unique,
        tmp_path: Path, way: str) -> None:
    """They get back at once, with all that they have missed, and the other
    servers no longer count the worker."""
    file = tmp_path / 'watched'
    file.write_text('')
    gunicorn = start_gunicorn(
        redis_server.url,
        {**RECOVERING, 'stream_name': node.options['stream_name']},
        CONFIGURATIONS.get(way, '').format(file=str(file)))
    end, has_successor = WAYS[way]
    watcher = connect_js(node)
    clients = [connect_js(gunicorn.url, reconnection=True)]
    if way != 'max_requests':
        clients.append(connect_js(gunicorn.url, transport='polling',
                                  reconnection=True))
    silent = websocket.create_connection(
        gunicorn.url.replace('http', 'ws') + '/socket.io/?EIO=4'
        '&transport=websocket', timeout=DEADLINE)
    pid, uid = clients[0].call('identify')
    event = unique('event')
    node.start_pulse(event, 0.01)
    for client in clients:
        client.wait_for(event, 5)
        if not has_successor:
            client.set_server(node.url)
    end(gunicorn, pid, file)
    wait_ended(pid, gunicorn)
    # The worker is no longer a member, so no request waits for it.
    assert uid not in node.nodes()
    assert watcher.sid in node.fetch_sids(timeout=5.0)
    for client in clients:
        # A polling client may reach both workers, while there are two.
        first, *others = client.wait_connects(2, 30.0)
        assert {(each.sid, each.recovered) for each in others} == {
            (first.sid, True)}, f'{client.disconnects()}, {client.errors()}'
    # Its last argument is an offset.
    left = watcher.wait_for('left', len(clients))
    assert {each[0] for each in left} == {client.sid for client in clients}
    assert (clients[0].sid, 'transport close') in {each[:2] for each in left}
    silent.close()
    check_received(clients, [node], unique,
                   **{event: node.stop_pulse(event)})


def test_clients_reconnect_without_recovery(
        start_gunicorn: StartGunicorn, connect_js: ConnectJs,
        node: NodeProcess, redis_server: Any, unique: Unique) -> None:
    """Clients in JavaScript and in Python, with either transport, receive
    events from the new worker."""
    gunicorn = start_gunicorn(redis_server.url, {
        **STEADY, 'stream_name': node.options['stream_name']})
    watcher, event = connect_js(node), unique('event')
    clients = [connect_js(gunicorn.url, transport=transport,
                          reconnection=True)
               for transport in ('websocket', 'polling')]
    counts: Dict[str, List[Any]] = {}
    with contextlib.ExitStack() as stack:
        for transport in ('websocket', 'polling'):
            found = counts[transport] = []
            client = socketio.Client(reconnection_delay=0.1,
                                     reconnection_delay_max=0.5,
                                     handle_sigint=False)
            client.on(event, found.append)
            client.connect(gunicorn.url, transports=[transport])
            stack.callback(client.shutdown)
        pid, uid = clients[0].call('identify')
        gunicorn.process.signal(signal.SIGHUP)
        wait_ended(pid, gunicorn)
        assert uid not in node.nodes()
        # What the disconnect handlers of all four have emitted.
        watcher.wait_for('left', 4)

        def all_receive() -> bool:
            # Each time again: the new worker may still have a connection
            # that its client has given up, because its next request went to
            # the old worker.
            node.emit(event, 1)
            return all(counts.values()) and all(
                each.received(event) for each in clients)

        wait_until(all_receive, 30.0,
                   lambda: f'an event to arrive everywhere: {counts}')


def test_events_of_handlers_and_requests_are_sent(
        start_gunicorn: StartGunicorn, connect_js: ConnectJs,
        node: NodeProcess, redis_server: Any) -> None:
    """What disconnect handlers and HTTP requests in progress emit arrives."""
    gunicorn = start_gunicorn(
        redis_server.url,
        {**STEADY, 'stream_name': node.options['stream_name']},
        HANDLER_SECONDS='1')
    watcher = connect_js(node)
    clients = [connect_js(gunicorn.url) for _ in range(3)]
    pid, uid = clients[0].call('identify')
    answers: List[bytes] = []

    def ask() -> None:
        with urllib.request.urlopen(f'{gunicorn.url}/slow') as response:
            answers.append(response.read())

    request = threading.Thread(target=ask)
    request.start()
    watcher.wait_for('begun')
    os.kill(pid, signal.SIGTERM)
    for client in clients:
        client.wait_disconnected()
    request.join(ENDS_WITHIN)
    assert answers == [str(pid).encode()]
    wait_ended(pid, gunicorn)
    assert uid not in node.nodes()
    # A worker that is just starting ignores a TERM (gunicorn 27).
    wait_until(lambda: pid_of(gunicorn), 30.0, 'another worker to serve')
    assert [each[0] for each in watcher.wait_for('slow')] == [pid]
    left = watcher.wait_for('left', len(clients))
    assert {each[0] for each in left} == {client.sid for client in clients}


def test_worker_ends_while_redis_does_not_answer(
        start_gunicorn: StartGunicorn, connect_js: ConnectJs,
        make_redis: Any) -> None:
    """Its clients are disconnected without a wait for Redis."""
    redis = make_redis().start()
    gunicorn = start_gunicorn(redis.url, RECOVERING)
    client = connect_js(gunicorn.url)
    pid, _ = client.call('identify')
    redis.freeze()
    try:
        gunicorn.process.signal(signal.SIGTERM)
        client.wait_disconnected()
        wait_ended(pid, gunicorn, ENDS_WITHOUT_REDIS_WITHIN)
    finally:
        redis.thaw()
    assert gunicorn.process.wait() == 0
