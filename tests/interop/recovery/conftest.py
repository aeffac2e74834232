"""A cluster of servers in both languages, with recovery."""
from typing import Any, Callable, Dict, Iterator

import pytest

from ...integration.conftest import STEADY
from ...support.js_client import JsClients
from ...support.js_server import JsServer
from ...support.node_process import NodeProcess
from ...support.proxy import Proxy
from ...support.redis_server import RedisServer
from ...support.returning_client import ReturningClient
from ...conftest import running
from ..helpers import adapter_options, NAMESPACES, Server, Transport, \
    Unique, wait_counted, wait_heard_everywhere
from ..moving_client import RecoveryCluster, MovingClient
from .harness import ADAPTERS, ConnectJs, DATA, StartJs, StartNodes


@pytest.fixture(scope='package', params=ADAPTERS,
                ids=lambda transport: transport.name)
def cluster(request: Any, mode: str, redis_server: RedisServer,
            npm_packages: None, js_clients: JsClients,
            ) -> Iterator[RecoveryCluster]:
    """Two servers in each language, with one client each."""
    transport: Transport = request.param
    name = f'recovery-{transport.name}'
    options = {
        'stream_name': name, 'channel_prefix': name,
        'session_key_prefix': f'{name}:', **STEADY,
        'connection_state_recovery': {'max_disconnection_duration': 60}}
    python_options = {**options,
                      'request_transport': transport.request_transport}
    with running([
            *(NodeProcess(mode, redis_server.url, python_options)
              for _ in range(2)),
            *(JsServer(transport.generation, redis_server.url,
                       adapter_options(options)) for _ in range(2)),
            ]) as servers, redis_server.client() as admin:
        for server in servers[:2]:
            server.start_manager()
        witnesses = [js_clients.connect(server.url, *NAMESPACES)
                     for server in servers]
        wait_heard_everywhere(servers, witnesses)
        wait_counted(servers, len(servers))
        yield RecoveryCluster(*servers, witnesses, admin, options)
        for witness in witnesses:
            witness.close()


@pytest.fixture
def stranger(cluster: RecoveryCluster) -> Iterator[ReturningClient]:
    """A client without a connection, which can send any pid."""
    client = ReturningClient(cluster.python.url)
    client.drop()
    yield client
    client.close()


@pytest.fixture
def half_open(cluster: RecoveryCluster, unique: Unique,
              make_proxy: Callable[[int], Proxy],
              connect_js: ConnectJs) -> MovingClient:
    """A client that has moved from Python to Node.js, while the server in
    Python still believes that the first connection is alive."""
    proxy = make_proxy(cluster.python.port)
    proxy.open()
    client = connect_js(f'http://127.0.0.1:{proxy.port}')
    mover = MovingClient(cluster, client, 'python', unique, DATA)
    cluster.wait_session(mover.pid, DATA)
    mover.emit_and_wait()
    proxy.go_silent()
    mover.client.drop()
    mover.emit_from_all()
    cluster.settle(unique)
    connect, = mover.client.move(cluster.js.url)
    assert connect.recovered
    mover.home = cluster.js
    mover.check_received_all()
    assert cluster.python.disconnects_of(mover.sid) == []
    # Newer than the state that the server in Python has.
    mover.enter_new_room({**DATA, 'since': 'Node.js'})
    mover.emit_and_wait()
    return mover


@pytest.fixture(params=ADAPTERS[:2], ids=lambda transport: transport.name)
def pair(request: Any, redis_server: RedisServer, unique: Unique,
         start_nodes: StartNodes, start_js: StartJs) -> Dict[str, Server]:
    """One server in each language."""
    transport: Transport = request.param
    options = {
        'stream_name': unique('stream'), **STEADY,
        'connection_state_recovery': {'max_disconnection_duration': 60}}
    python, = start_nodes(1, redis_server.url, **options,
                          request_transport=transport.request_transport)
    js, = start_js([transport.generation], redis_server.url, **options)
    python.start_manager()
    return {'python': python, 'js': js}
