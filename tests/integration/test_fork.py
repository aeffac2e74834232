"""After a fork the child is a separate node."""
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from ..support.client import Client, close_all
from ..support.green_fork import EVENTS
from ..support.gunicorn_process import GunicornProcess
from ..support.node_process import NodeProcess
from ..support.process import ROOT
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .conftest import STEADY, start_managers

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]
StartGunicorn = Callable[..., List[Client]]


@pytest.fixture
def pair(mode: str, redis_server: RedisServer, start_nodes: StartNodes,
         unique: Unique) -> List[NodeProcess]:
    """Two nodes with a separate stream; the first one forks."""
    if mode != 'threading':
        pytest.skip('multiprocessing forks processes with threads')
    return start_nodes(2, redis_server.url, stream_name=unique('stream'),
                       **STEADY)


def wait_count(node: NodeProcess, count: int) -> None:
    """Wait until the child of a node counts this many nodes."""
    wait_for_value(lambda: node.in_child('manager', 'server_count'), count,
                   what="the child's server_count")


def test_child_with_green_threads(redis_server: RedisServer, unique: Unique,
                                  mode: str) -> None:
    """The fork copies green threads, in the middle of what they do. The
    copies touch nothing of the parent."""
    if mode == 'threading':
        pytest.skip('a fork copies no threads')
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'tests.support.green_fork',
         mode, redis_server.url, unique('stream')],
        cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ''
    assert json.loads(done.stdout) == {
        'exit code': 0, 'health': ['ok', 'ok'], 'restarts': [0] * 4,
        'heard': [[name, number] for name in ('child', 'parent')
                  for number in range(EVENTS)]}


def test_child_of_a_member(pair: List[NodeProcess], connect: Connect,
                           unique: Unique) -> None:
    """The child of a member is a member from its first use."""
    parent, other = pair
    start_managers(pair)
    clients = [connect(node) for node in pair]
    parent.fork()
    pid, uid = parent.in_child('node', 'identify')
    assert pid != parent.process.pid
    assert uid not in (parent.identify()[1], other.identify()[1])
    wait_count(parent, 3)
    for node in pair:
        node.wait_server_count(3)

    event = unique('event')
    for number in range(10):
        parent.in_child('server', 'emit', event, ('child', number))
        parent.emit(event, ('parent', number))
        other.emit(event, ('other', number))
    assert parent.in_child('manager', 'flush', 10)
    for client in clients:
        client.wait_for(event, 30)
    marker = unique('marker')
    for node in pair:
        node.emit(marker)
    for client in clients:
        client.wait_for(marker, 2)
        for emitter in ('child', 'parent', 'other'):
            assert [number for name, number in client.received(event)
                    if name == emitter] == list(range(10))

    parent.in_child('manager', 'close')
    for node in pair:
        node.wait_server_count(2)
    assert parent.end_child() == 0
    parent.emit(marker)
    clients[1].wait_for(marker, 3)


def test_child_of_an_unstarted_manager(pair: List[NodeProcess],
                                       connect: Connect,
                                       unique: Unique) -> None:
    """As with ``--preload``: constructed once, used in several processes."""
    parent, other = pair
    other.start_manager()
    client = connect(other)
    parent.fork()
    assert other.server_count() == 1
    parent.in_child('manager', 'start')
    wait_count(parent, 2)
    other.wait_server_count(2)
    parent.start_manager()
    other.wait_server_count(3)
    wait_count(parent, 3)
    event = unique('event')
    parent.in_child('server', 'emit', event, 'child')
    parent.in_child('manager', 'flush', 10)
    parent.emit(event, 'parent')
    client.wait_for(event, 2)
    assert client.received(event) == [('child',), ('parent',)]
    parent.in_child('manager', 'close')
    other.wait_server_count(2)
    assert parent.end_child() == 0


def test_child_of_an_emitter(pair: List[NodeProcess], connect: Connect,
                             unique: Unique) -> None:
    """No message of either is taken for a copy of the other's."""
    parent, other = pair
    start_managers(pair)
    client, event = connect(other), unique('event')
    parent.make_emitter(stream_name=parent.options['stream_name'])
    expected = []
    parent.invoke('emitter', 'emit', event, 'before')
    parent.fork()
    for number in range(10):
        parent.in_child('emitter', 'emit', event, ('child', number))
        parent.invoke('emitter', 'emit', event, ('parent', number))
        expected += [('child', number), ('parent', number)]
    client.wait_for(event, 21)
    assert client.received(event) == [('before',), *expected]
    assert parent.end_child() == 0


def test_outbox_stays_with_the_parent(
        mode: str, make_redis: Callable[..., RedisServer],
        start_nodes: StartNodes, connect: Connect, unique: Unique) -> None:
    """Events in the parent's outbox are sent only by the parent."""
    if mode != 'threading':
        pytest.skip('multiprocessing forks processes with threads')
    redis = make_redis(append_only=True).start()
    parent, other = nodes = start_nodes(2, redis.url, **STEADY)
    start_managers(nodes)
    client, event = connect(other), unique('event')
    redis.stop()
    for number in range(5):
        parent.emit(event, ('parent', number))
    parent.fork()
    for number in range(5):
        parent.in_child('server', 'emit', event, ('child', number))
    redis.start()
    assert parent.flush(15)
    assert parent.in_child('manager', 'flush', 15)
    client.wait_for(event, 10)
    marker = unique('marker')
    parent.in_child('server', 'emit', marker)
    parent.emit(marker)
    client.wait_for(marker, 2)
    for emitter in ('parent', 'child'):
        assert [number for name, number in client.received(event)
                if name == emitter] == list(range(5))
    assert parent.end_child() == 0


# -- gunicorn --preload -----------------------------------------------------

@pytest.fixture
def start_gunicorn(start_gunicorn_process: Callable[..., GunicornProcess],
                   redis_server: RedisServer, tmp_path: Path,
                   unique: Unique) -> Iterator[StartGunicorn]:
    """Starts gunicorn with two workers; returns a client of each."""
    clients: List[Client] = []

    def start(configuration: str = '') -> List[Client]:
        gunicorn = start_gunicorn_process(
            redis_server.url, {'stream_name': unique('stream'), **STEADY},
            tmp_path, configuration=configuration)
        for client in gunicorn.clients_of_all_workers():
            clients.append(client)
        return clients

    yield start
    close_all(clients)


def ask(client: Client, method: str, *args: Any) -> Any:
    """Call a method of the manager of a client's worker."""
    return client.call('invoke', 'manager', method, list(args), {})


def check_workers_are_one_cluster(clients: List[Client], unique: Unique,
                                  at_least: int = 0) -> None:
    """The workers are different nodes, and events pass between them.

    :param at_least: there may be more nodes than the two.
    """
    (pid, uid), (other_pid, other_uid) = [
        client.call('identify') for client in clients]
    assert pid != other_pid
    assert uid != other_uid
    for client in clients:
        if at_least:
            wait_until(lambda: ask(client, 'server_count') >= at_least,
                       what=f'a server_count of {at_least} or more')
        else:
            wait_for_value(lambda: ask(client, 'server_count'), 2,
                           what='server_count')
    event = unique('event')
    for number in range(10):
        for index, client in enumerate(clients):
            client.call('invoke', 'server', 'emit', [event, [index, number]],
                        {})
    marker = unique('marker')
    for client in clients:
        client.call('invoke', 'server', 'emit', [marker], {})
    for client in clients:
        client.wait_for(marker, 2)
        for index in range(2):
            assert [number for ((emitter, number),) in client.received(event)
                    if emitter == index] == list(range(10))
    clients[1].answer(event, 'yes')
    assert clients[0].call('invoke', 'server', 'call', [event],
                           {'to': clients[1].sid, 'timeout': 10}) == 'yes'


def test_preloaded_workers(start_gunicorn: StartGunicorn,
                           unique: Unique) -> None:
    check_workers_are_one_cluster(start_gunicorn(), unique)


def test_preloaded_workers_with_hooks(start_gunicorn: StartGunicorn,
                                      unique: Unique) -> None:
    check_workers_are_one_cluster(start_gunicorn(
        'from redis_streams_adapter.gunicorn import '
        'post_worker_init, worker_exit\n'), unique)


def test_workers_of_a_master_that_is_a_member(
        start_gunicorn: StartGunicorn, unique: Unique) -> None:
    """An application should not start its manager when it is loaded, but if
    it does, the workers are still separate nodes."""
    clients = start_gunicorn(
        'def pre_fork(server, worker):\n'
        '    from tests.support.gunicorn_app import manager\n'
        '    manager.start()\n')
    # The master may be the third; under gevent it does not run.
    check_workers_are_one_cluster(clients, unique, at_least=2)
