"""A cluster of servers in both languages, whose clients may return."""
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
from ..travels import Recovering, Traveller
from .harness import ADAPTERS, ConnectJs, DATA, StartJs, StartNodes


@pytest.fixture(scope='package', params=ADAPTERS,
                ids=lambda transport: transport.name)
def cluster(request: Any, mode: str, redis_server: RedisServer,
            npm_packages: None, js_clients: JsClients,
            ) -> Iterator[Recovering]:
    """Two servers of each language, with a client each."""
    transport: Transport = request.param
    name = f'recovery-{transport.name}'
    options = {
        'stream_name': name, 'channel_prefix': name,
        'session_key_prefix': f'{name}:', **STEADY,
        'connection_state_recovery': {'max_disconnection_duration': 60}}
    ours = {**options, 'request_transport': transport.request_transport}
    with running([
            *(NodeProcess(mode, redis_server.url, ours) for _ in range(2)),
            *(JsServer(transport.generation, redis_server.url,
                       adapter_options(options)) for _ in range(2)),
            ]) as servers, redis_server.client() as admin:
        for server in servers[:2]:
            server.start_manager()
        witnesses = [js_clients.connect(server.url, *NAMESPACES)
                     for server in servers]
        wait_heard_everywhere(servers, witnesses)
        wait_counted(servers, len(servers))
        yield Recovering(*servers, witnesses, admin, options)
        for witness in witnesses:
            witness.close()


@pytest.fixture
def stranger(cluster: Recovering) -> Iterator[ReturningClient]:
    """A client that can claim to be another one. It has lost its
    connection."""
    client = ReturningClient(cluster.python.url)
    client.drop()
    yield client
    client.close()


@pytest.fixture
def half_open(cluster: Recovering, unique: Unique,
              make_proxy: Callable[[int], Proxy],
              connect_js: ConnectJs) -> Traveller:
    """It has gone from Python to Node.js, and its first connection has never
    ended for the server in Python."""
    proxy = make_proxy(cluster.python.port)
    proxy.open()
    client = connect_js(f'http://127.0.0.1:{proxy.port}')
    traveller = Traveller(cluster, client, 'python', unique, DATA)
    cluster.wait_session(traveller.pid, DATA)
    traveller.tell_present()
    proxy.go_silent()
    traveller.client.drop()
    traveller.tell()
    cluster.settle(unique)
    connect, = traveller.client.move(cluster.js.url)
    assert connect.recovered
    traveller.home = cluster.js
    traveller.check_told()
    assert cluster.python.disconnects_of(traveller.sid) == []
    # Newer than what the server in Python has of it.
    traveller.settle_in({**DATA, 'since': 'Node.js'})
    traveller.tell_present()
    return traveller


@pytest.fixture(params=ADAPTERS[:2], ids=lambda transport: transport.name)
def pair(request: Any, redis_server: RedisServer, unique: Unique,
         start_nodes: StartNodes, start_js: StartJs) -> Dict[str, Server]:
    """One of each language."""
    transport: Transport = request.param
    options = {
        'stream_name': unique('stream'), **STEADY,
        'connection_state_recovery': {'max_disconnection_duration': 60}}
    ours = start_nodes(1, redis_server.url, **options,
                       request_transport=transport.request_transport)
    theirs = start_js([transport.generation], redis_server.url, **options)
    ours[0].start_manager()
    return {'python': ours[0], 'js': theirs[0]}
