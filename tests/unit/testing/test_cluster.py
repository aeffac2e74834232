"""A cluster in one process: what applications rely on in their tests."""
import subprocess
import sys
from typing import Any, Iterator, List

import pytest
import socketio
from flask import Flask
from flask_socketio import SocketIO

from redis_streams_adapter import ConfigurationError, RedisStreamsManager
from redis_streams_adapter.testing import LocalClient, LocalCluster

from ...support.wait import wait_for_value, wait_until
from ..fake_server import make_server
from ..nodes import Call

TRANSPORTS = ['stream', 'pubsub', 'sharded-pubsub']

#: Seconds that a wait takes which is in vain.
IN_VAIN = 0.1


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(2) as cluster:
        yield cluster


def servers_of(cluster: LocalCluster) -> List[socketio.Server]:
    servers = [make_server(client_manager=manager)
               for manager in cluster.managers]
    cluster.start()
    return servers


def test_cluster_has_its_managers() -> None:
    with LocalCluster(3, max_len=50) as cluster:
        assert len(cluster.managers) == 3
        for manager in cluster.managers:
            assert type(manager) is RedisStreamsManager
        cluster.start()
        assert [manager.server_count() for manager in cluster.managers] == [
            3, 3, 3]
        assert len({manager.uid for manager in cluster.managers}) == 3


def test_clusters_are_independent() -> None:
    with LocalCluster(1) as one, LocalCluster(1) as other:
        one.start()
        other.start()
        assert one.managers[0].server_count() == 1


def test_settle_delivers_events(cluster: LocalCluster) -> None:
    servers = servers_of(cluster)
    clients = [LocalClient(server) for server in servers]
    for number in range(100):
        servers[number % 2].emit('hello', number)
    cluster.settle()
    for client in clients:
        assert sorted(client.received('hello')) == [
            (number,) for number in range(100)]


def test_settle_waits_for_consequences() -> None:
    with LocalCluster(2) as cluster:
        one, other = cluster.managers
        cluster.start()
        answers: List[Any] = []
        one.on_server_side('ping', lambda: one.server_side_emit('pong'))
        other.on_server_side('pong', lambda: answers.append('pong'))
        other.server_side_emit('ping')
        wait_until(lambda: answers)
        cluster.settle()


def test_cluster_has_several_streams() -> None:
    with LocalCluster(2, stream_count=3) as cluster:
        servers = servers_of(cluster)
        client = LocalClient(servers[0], '/', '/chat')
        for namespace in client.namespaces:
            servers[1].emit('hello', namespace, namespace=namespace)
        cluster.settle()
        for namespace in client.namespaces:
            assert client.received('hello', namespace) == [(namespace,)]
        assert len(cluster.redis.streams) == 3


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_cluster_calls_work(transport: str) -> None:
    with LocalCluster(2, request_transport=transport) as cluster:
        servers = servers_of(cluster)
        clients = [LocalClient(server) for server in servers]
        for manager in cluster.managers:
            wait_until(lambda: manager.server_count() == 2)
            found = Call(manager.fetch_sockets).result()
            assert {each.sid for each in found} == {
                client.sid for client in clients}


def test_client_is_recovered() -> None:
    with LocalCluster(2, connection_state_recovery=True) as cluster:
        servers = servers_of(cluster)
        client = LocalClient(servers[0])
        sid, pid = client.sid, client.reply()['pid']
        servers[0].emit('hello', 1)
        cluster.settle()
        offset = client.received('hello')[0][-1]
        client.lose()
        servers[1].emit('hello', 2)
        cluster.settle()
        back = LocalClient(servers[1], auth={'pid': pid, 'offset': offset})
        cluster.settle()
        assert back.sid == sid
        assert [args[0] for args in back.received('hello')] == [2]
        outcome = cluster.managers[1].recovery(sid)
        assert outcome is not None and outcome.recovered


def test_outage_is_survived(cluster: LocalCluster) -> None:
    servers = servers_of(cluster)
    client = LocalClient(servers[0])
    cluster.settle()
    cluster.disconnect()
    servers[1].emit('hello', 1)
    with pytest.raises(TimeoutError, match='not everything is delivered'):
        cluster.settle(IN_VAIN)
    assert client.received('hello') == []
    assert cluster.managers[1].health()['status'] == 'degraded'
    cluster.reconnect()
    cluster.settle()
    assert client.received('hello') == [(1,)]


def test_server_starts_during_outage() -> None:
    with LocalCluster(2) as cluster:
        cluster.disconnect()
        with pytest.raises(TimeoutError, match='know each other'):
            cluster.start(IN_VAIN)
        cluster.reconnect()
        cluster.start()


def test_cluster_closes_during_outage() -> None:
    with LocalCluster(2) as cluster:
        cluster.start()
        cluster.disconnect()
        cluster.managers[0].emit('hello', 1)
    assert cluster.managers[0].health()['outbox'] == 0


def test_closed_server_leaves_cluster(cluster: LocalCluster) -> None:
    cluster.start()
    cluster.managers[0].close()
    cluster.managers[1].emit('hello', 1)
    cluster.settle()
    wait_until(lambda: cluster.managers[1].server_count() == 1)


def test_emitter_reaches_cluster(cluster: LocalCluster) -> None:
    servers = servers_of(cluster)
    emitter = cluster.manager(write_only=True)
    client = LocalClient(servers[0])
    emitter.emit('hello', 1)
    cluster.settle()
    assert client.received('hello') == [(1,)]
    assert cluster.managers[0].server_count() == 2


def test_later_server_joins(cluster: LocalCluster) -> None:
    cluster.start()
    manager = cluster.manager(max_len=5)
    cluster.start()
    assert manager.server_count() == 3


def test_flask_socketio_works(cluster: LocalCluster) -> None:
    applications = [SocketIO(Flask(__name__), client_manager=manager,
                             async_mode='threading')
                    for manager in cluster.managers]
    clients: List[LocalClient] = []
    asked: List[Any] = []
    for application in applications:
        # As docs/testing.rst has it: the handlers need the application.
        app = application.sockio_mw.flask_app
        application.on_event('connect', lambda auth: auth == 'let me in')
        application.on_event('ask', asked.append)
        clients.append(LocalClient(
            application.server, auth='let me in', environ={
                **app.test_request_context().request.environ,
                'flask.app': app}))
    cluster.start()
    applications[0].emit('hello', 1)
    cluster.settle()
    for client in clients:
        assert client.received('hello') == [(1,)]
        client.emit('ask', 2)
    wait_for_value(lambda: asked, [2, 2])


@pytest.mark.parametrize('options', [
    {'url': 'redis://'}, {'redis_options': {}}, {'min_replicas': 1},
    {'max_len': 0}, {'no_such_option': 1}])
def test_wrong_options_raise(options: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        LocalCluster(1, **options)
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        LocalCluster(0).manager(**options)


@pytest.mark.parametrize('options', [
    {'stream_name': 'x'}, {'channel': 'x'}, {'stream_count': 2}])
def test_options_apply_to_all_servers(options: Any) -> None:
    LocalCluster(1, **options).close()
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        LocalCluster(0).manager(**options)


def test_package_does_not_import_testing() -> None:
    code = ('import sys, redis_streams_adapter\n'
            'from redis_streams_adapter import RedisStreamsManager\n'
            'import redis_streams_adapter.cli\n'
            'import redis_streams_adapter.flask_socketio\n'
            'print([name for name in sys.modules if "testing" in name '
            'and name.startswith("redis_streams_adapter")])')
    done = subprocess.run([sys.executable, '-c', code], check=True,
                          stdout=subprocess.PIPE, text=True)
    assert done.stdout == '[]\n'


def test_client_without_event_raises(cluster: LocalCluster) -> None:
    server = servers_of(cluster)[0]
    client = LocalClient(server)
    with pytest.raises(AssertionError, match="expected 'hello' 1 times"):
        client.wait_for('hello', timeout=IN_VAIN)
    server.emit('hello', 1)
    server.emit('hello', 2)
    cluster.settle()
    with pytest.raises(AssertionError, match="expected 'hello' 1 times"):
        client.wait_for('hello')
    assert client.wait_for('hello', 2) == [(1,), (2,)]


def test_forked_child_leaves_cluster_alone() -> None:
    """An application may fork; its child leaves the cluster alone."""
    program = '''if True:
        import os
        from redis_streams_adapter.testing import LocalCluster
        with LocalCluster(2, request_transport='pubsub') as cluster:
            cluster.start()
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            assert cluster.managers[0].server_count() == 2
    '''
    # Python warns of a fork in a process with threads, since 3.12.
    done = subprocess.run(
        [sys.executable, '-W', 'ignore::DeprecationWarning', '-c', program],
        capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, '')
