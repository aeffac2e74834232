"""The commands that ask the servers: ``nodes``, ``stats``, ``rooms``,
``sockets``, ``call`` and ``top``."""
import os
import pty
import select
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Iterator, List, NamedTuple

import pytest

from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.process import ROOT
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from ..conftest import connecting, running
from .conftest import COMMAND, environment, run_command, run_process

STREAM = 'cluster-of-commands'


class Cluster(NamedTuple):
    """Two servers with three clients, of which two drink tea."""

    server: RedisServer
    nodes: List[NodeProcess]
    clients: List[Client]

    def run(self, *arguments: str) -> Any:
        """Run a command about it."""
        return run_command(*arguments, '--stream', STREAM, '--timeout', '20',
                           url=self.server.url)


@pytest.fixture(scope='module')
def cluster(mode: str, redis_binary: str) -> Iterator[Cluster]:
    with RedisServer().start() as server, running(
            [NodeProcess(mode, server.url, {'stream_name': STREAM})
             for _ in range(2)]) as nodes, connecting(Client) as connect:
        for node in nodes:
            node.start_manager()
        clients = [connect(nodes[0]), connect(nodes[0]), connect(nodes[1])]
        for node in nodes:
            node.wait_server_count(2)
        for node, client in (nodes[0], clients[0]), (nodes[1], clients[2]):
            node.enter_room(client.sid, 'tea')
        nodes[0].enter_room(clients[1].sid, 'a\x1b[31mb')
        yield Cluster(server, nodes, clients)


@pytest.fixture(autouse=True)
def remains_unseen(cluster: Cluster) -> Iterator[None]:
    """No command becomes a server."""
    yield
    assert [node.server_count() for node in cluster.nodes] == [2, 2]


def test_nodes(cluster: Cluster) -> None:
    found = cluster.run('nodes', '--json').objects
    assert {each['uid'] for each in found} == {
        node.uid() for node in cluster.nodes}
    for each in found:
        assert each['last_seen'] < 20
    lines = cluster.run('nodes').out.splitlines()
    assert lines[0].split()[:3] == ['UID', 'LANGUAGE', 'HOST']
    assert len(lines) == 3


def test_nodes_of_another_namespace(cluster: Cluster) -> None:
    """That there is none is known after heartbeat_timeout."""
    done = cluster.run('nodes', '--namespace', '/none')
    assert done.status == 0 and 'no server serves' in done.out


def test_stats(cluster: Cluster) -> None:
    found = {each['uid']: each
             for each in cluster.run('stats', '--json').objects}
    for node, clients in zip(cluster.nodes, (2, 1)):
        each = found.pop(node.uid())
        assert each['language'] == 'python' and each['clients'] == clients
        assert each['pid'] == node.identify()[0]
        assert each['health']['status'] == 'ok' and each['stats']['received']
    assert found == {}
    head, *rows = cluster.run('stats').out.splitlines()
    assert 'STATUS' in head and 'LAG' in head and len(rows) == 2
    assert all(' ok ' in row for row in rows)


def test_rooms(cluster: Cluster) -> None:
    assert cluster.run('rooms', '--json').objects == [
        {'room': 'tea', 'clients': 2}, {'room': 'a\x1b[31mb', 'clients': 1}]
    assert cluster.run('rooms', '--json', '--limit', '1').objects == [
        {'room': 'tea', 'clients': 2}]
    done = cluster.run('rooms')
    assert [line.split() for line in done.out.splitlines()] == [
        ['ROOM', 'CLIENTS'], ['tea', '2'], ['a\\x1b[31mb', '1']]


def test_sockets(cluster: Cluster) -> None:
    found = {each['sid']: each
             for each in cluster.run('sockets', '--json').objects}
    assert set(found) == {each.sid for each in cluster.clients}
    first = found[cluster.clients[0].sid]
    assert first['node'] == cluster.nodes[0].uid()
    assert first['rooms'] == ['tea'] and first['connected'] < 300
    assert 'handshake' not in first and 'data' not in first
    one, = cluster.run(
        'sockets', '--to', 'tea', f'--except={cluster.clients[0].sid}',
        '--data', '--json').objects
    assert one['sid'] == cluster.clients[2].sid
    assert 'headers' in one['handshake'] and 'data' in one
    assert len(cluster.run('sockets').out.splitlines()) == 4
    assert 'no such clients' in cluster.run('sockets', '--to', 'x').out


def test_call(cluster: Cluster) -> None:
    for number, node in enumerate(cluster.nodes):
        node.handle_server_side('add', {'number': number})
    found = cluster.run('call', 'add', '5', '"x"', '--json').objects
    assert sorted(each['response']['number'] for each in found) == [0, 1]
    for node in cluster.nodes:
        assert node.server_side_events('add') == [[5, 'x']]


def test_missing_answer(cluster: Cluster) -> None:
    """A server does not answer: what is missing is named."""
    cluster.nodes[1].freeze()
    try:
        done = run_command('stats', '--stream', STREAM, '--json',
                           '--timeout', '1', url=cluster.server.url)
    finally:
        cluster.nodes[1].thaw()
    assert done.status == 1
    assert 'not all servers have answered' in done.err
    cluster.nodes[1].wait_server_count(2)
    cluster.nodes[0].wait_server_count(2)


def test_script_is_answered_at_once(cluster: Cluster) -> None:
    """A process that has just started gets all answers."""
    done = run_process('rooms', '--stream', STREAM, '--json', '--timeout',
                       '30', url=cluster.server.url)
    assert done.objects[0] == {'room': 'tea', 'clients': 2}


# -- top ---------------------------------------------------------------------

def test_top_as_json(cluster: Cluster) -> None:
    found = cluster.run('top', '--json', '--count', '2', '--interval',
                        '0.2').objects
    assert len(found) == 4
    assert [each['received_rate'] is None for each in found] == [
        True, True, False, False]
    assert all(each['lost'] == 0 and each['status'] == 'ok'
               for each in found)
    # Of a processor.
    assert [each['cpu'] is None for each in found] == [
        True, True, False, False]
    assert all(0 <= each['cpu'] < 3 for each in found[2:])


def test_top_needs_a_terminal(cluster: Cluster) -> None:
    done = cluster.run('top')
    assert done.status == 2 and done.out == ''
    assert 'terminal' in done.err or "'redis-streams-adapter[cli]'" \
        in done.err


def test_top_needs_rich(cluster: Cluster,
                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'rich', None)
    done = cluster.run('top')
    assert done.status == 2
    assert "pip install 'redis-streams-adapter[cli]'" in done.err


@pytest.mark.parametrize('end', ['q', 'SIGINT'])
def test_top(cluster: Cluster, end: str) -> None:
    """It shows every server, and ends with 0."""
    pytest.importorskip('rich')
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, 'top', '--stream', STREAM, '--interval', '0.2'],
        stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT,
        env={**environment(cluster.server.url), 'TERM': 'xterm',
             'COLUMNS': '200', 'LINES': '40'})
    os.close(theirs)
    shown = b''
    try:
        deadline = time.monotonic() + 60
        wanted = [b'2 servers, 3 clients', *(
            node.uid().encode() for node in cluster.nodes)]
        while not all(each in shown for each in wanted):
            assert time.monotonic() < deadline and process.poll() is None
            shown += os.read(terminal, 65536)
        if end == 'q':
            os.write(terminal, b'q')
        else:
            process.send_signal(signal.SIGINT)

        def ended() -> bool:
            return process.poll() is not None or not _drain(terminal)

        wait_until(ended, 30.0, 'top to end')
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert b'Traceback' not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def _drain(terminal: int) -> bool:
    """Read what is there, so that the process can write."""
    try:
        if select.select([terminal], [], [], 0)[0]:
            return bool(os.read(terminal, 65536))
    except OSError:
        return False
    return True


def test_tables_of_a_terminal(cluster: Cluster) -> None:
    pytest.importorskip('rich')
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, 'rooms', '--stream', STREAM, '--timeout', '30'],
        stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT,
        env={**environment(cluster.server.url), 'TERM': 'xterm'})
    os.close(theirs)
    shown = b''
    try:
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert '─'.encode() in shown and b'tea' in shown
    assert b'a\\x1b[31mb' in shown


def test_redis_is_away(make_redis: Callable[..., RedisServer]) -> None:
    """At once, with the reason."""
    server = make_redis()
    for command in (['nodes'], ['stats'], ['rooms'], ['sockets'],
                    ['call', 'x'], ['top', '--json']):
        done = run_command(*command, url=server.url)
        assert done.status == 1 and done.out == ''
        assert 'cannot be used' in done.err
        assert len(done.err.splitlines()) == 1
