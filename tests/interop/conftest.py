"""Clusters of servers in Python and in Node.js."""
import contextlib
from typing import Any, Callable, Iterator, List

import pytest

from ..conftest import connecting, running, skip_or_fail
from ..integration.conftest import STEADY
from ..support.client import Client, close_all
from ..support.js_client import JsClient, JsClients
from ..support.js_server import JsServer
from ..support.node_process import NodeProcess
from ..support.wait import wait_for_value
from .helpers import adapter_options, Cluster, MixedCluster, NAMESPACES, \
    NEW, NEW_IOREDIS, OLD, Transport, TRANSPORTS, wait_counted, \
    wait_heard_everywhere


@pytest.fixture(scope='session')
def npm_packages() -> None:
    """The published packages."""
    from ..support.npm import find_obstacle

    obstacle = find_obstacle()
    if obstacle is not None:
        skip_or_fail(obstacle)


@pytest.fixture(scope='session')
def js_clients(npm_packages: None) -> Iterator[JsClients]:
    """The process of all JavaScript clients."""
    process = JsClients()
    try:
        yield process.start()
    finally:
        process.stop()


@pytest.fixture
def connect_js(js_clients: JsClients) -> Iterator[Callable[..., JsClient]]:
    """Connects a JavaScript client for one test: ``connect_js(server or URL,
    *namespaces)``, with the options of :meth:`.JsClients.connect`."""
    with connecting(js_clients.connect) as connect:
        yield connect


@pytest.fixture
def start_js(npm_packages: None) -> Iterator[Callable[..., List[JsServer]]]:
    """Starts servers in Node.js for one test: ``start_js(generations, url,
    **options)``. The options have the names that a manager gives them."""
    with contextlib.ExitStack() as stack:
        def start(generations: Any, url: str,
                  **options: Any) -> List[JsServer]:
            return stack.enter_context(running([
                JsServer(generation, url, adapter_options(options))
                for generation in generations]))

        yield start


@pytest.fixture(scope='session')
def mixed(mode: str, redis_server: Any, npm_packages: None,
          js_clients: JsClients) -> Iterator[MixedCluster]:
    """One server of each kind in one cluster, for what goes through the
    stream. Each has a JavaScript client, and two have a Python client."""
    options = {'stream_name': 'mixed', **STEADY}
    generations = (OLD, NEW, NEW_IOREDIS)
    with running([
            NodeProcess(mode, redis_server.url, options),
            *(JsServer(each, redis_server.url, adapter_options(options))
              for each in generations)]) as servers:
        named = dict(zip(['python', *(each.name for each in generations)],
                         servers))
        named['python'].start_manager()
        python_clients = {
            f'{name}, Python': Client(named[name].url, *NAMESPACES)
            for name in ('python', OLD.name)}
        clients = {**{f'{name}, JavaScript': js_clients.connect(
            server.url, *NAMESPACES) for name, server in named.items()},
            **python_clients}
        wait_heard_everywhere(servers, list(clients.values()))
        yield MixedCluster(named, clients)
        close_all(list(python_clients.values()))


@pytest.fixture(scope='session', params=TRANSPORTS,
                ids=lambda transport: transport.name)
def request_cluster(request: Any, mode: str, redis_server: Any,
                    npm_packages: None, js_clients: JsClients,
                    ) -> Iterator[Cluster]:
    """Four servers that can send each other requests. Those in Node.js are
    of one generation."""
    transport: Transport = request.param
    if transport.is_sharded and not redis_server.binary.has_sharded_channels:
        pytest.skip('this Redis is older than 7.0: no sharded channels')
    options = {'stream_name': f'requests-{transport.name}',
               'channel_prefix': f'requests-{transport.name}', **STEADY}
    python_options = {**options,
                      'request_transport': transport.request_transport}
    with running([
            *(NodeProcess(mode, redis_server.url, python_options)
              for _ in range(2)),
            *(JsServer(transport.generation, redis_server.url,
                       adapter_options({**options, **transport.js_options}))
              for _ in range(2)),
            ]) as servers:
        for server in servers[:2]:
            server.start_manager()
        clients = {server.name: js_clients.connect(
            server.url, *NAMESPACES) for server in servers}
        wait_heard_everywhere(servers, list(clients.values()))
        wait_counted(servers, len(servers))
        yield Cluster(*servers, clients)


@pytest.fixture
def cluster(request_cluster: Cluster) -> Cluster:
    """The same, once all clients of earlier tests are gone."""
    for server in request_cluster.servers:
        wait_for_value(lambda: len(server.fetch_sockets(local=True)), 1,
                       what=f'the number of clients of {server.name}')
    return request_cluster
