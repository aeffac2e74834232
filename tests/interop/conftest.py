"""Clusters of servers in Python and in Node.js."""
import contextlib
import itertools
from typing import Any, Callable, Iterator, List

import pytest

from ..conftest import running, skip_or_fail
from ..integration.conftest import STEADY
from ..support.client import Client, close_all
from ..support.js_client import JsClient, JsClients
from ..support.js_server import JsServer
from ..support.node_process import NodeProcess
from ..support.wait import wait_for_value
from .helpers import adapter_options, Asking, NEW, NEW_IOREDIS, OLD, Party, \
    Server, Transport, TRANSPORTS, wait_until_heard

#: Namespaces that have handlers on every server.
NAMESPACES = ('/', '/chat')


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
    """Connects a JavaScript client for one test: ``connect_js(server,
    *namespaces)``."""
    clients: List[JsClient] = []

    def connect(server: Server, *namespaces: str) -> JsClient:
        client = js_clients.connect(server.url, *namespaces)
        clients.append(client)
        # As for the fixture `connect`: now its server knows it for sure.
        for namespace in namespaces or ('/',):
            client.call('echo', namespace=namespace)
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def start_js(npm_packages: None) -> Iterator[Callable[..., List[JsServer]]]:
    """Starts servers in Node.js for one test: ``start_js(generations, url,
    **options)``, the options spelled as our own."""
    with contextlib.ExitStack() as stack:
        def start(generations: Any, url: str,
                  **options: Any) -> List[JsServer]:
            return stack.enter_context(running([
                JsServer(generation, url, adapter_options(options))
                for generation in generations]))

        yield start


@pytest.fixture(scope='session')
def broadcasting(mode: str, redis_server: Any, npm_packages: None,
                 js_clients: JsClients) -> Iterator[Party]:
    """One server of each kind in one cluster, for all that goes through the
    stream. A JavaScript client on each, and a Python one on two."""
    options = {'stream_name': 'broadcasting', **STEADY}
    generations = (OLD, NEW, NEW_IOREDIS)
    numbers = itertools.count(1)
    with running([
            NodeProcess(mode, redis_server.url, options),
            *(JsServer(each, redis_server.url, adapter_options(options))
              for each in generations)]) as servers:
        named = dict(zip(['python', *(each.name for each in generations)],
                         servers))
        named['python'].start_manager()
        ours = {f'{name}, Python': Client(named[name].url, *NAMESPACES)
                for name in ('python', OLD.name)}
        clients = {**{f'{name}, JavaScript': js_clients.connect(
            server.url, *NAMESPACES) for name, server in named.items()},
            **ours}
        for namespace in NAMESPACES:
            wait_until_heard(servers, list(clients.values()),
                             lambda name: f'{name}-{next(numbers)}',
                             namespace)
        yield Party(named, clients)
        close_all(list(ours.values()))


@pytest.fixture(scope='session', params=TRANSPORTS,
                ids=lambda transport: transport.name)
def asking_cluster(request: Any, mode: str, redis_server: Any,
                   npm_packages: None, js_clients: JsClients,
                   ) -> Iterator[Asking]:
    """Four servers that can ask each other, of one generation."""
    transport: Transport = request.param
    if transport.is_sharded and not redis_server.counts_entries():
        pytest.skip('this Redis is older than 7.0: no sharded channels')
    options = {'stream_name': f'asking-{transport.name}',
               'channel_prefix': f'asking-{transport.name}', **STEADY}
    ours = {**options, 'request_transport': transport.request_transport}
    with running([
            *(NodeProcess(mode, redis_server.url, ours) for _ in range(2)),
            *(JsServer(transport.generation, redis_server.url,
                       adapter_options({**options, **transport.js_options}))
              for _ in range(2)),
            ]) as servers:
        for server in servers[:2]:
            server.start_manager()
        clients = {server.name: js_clients.connect(
            server.url, *NAMESPACES) for server in servers}
        numbers = itertools.count(1)
        for namespace in NAMESPACES:
            wait_until_heard(servers, list(clients.values()),
                             lambda name: f'{name}-{next(numbers)}',
                             namespace)
            for server in servers:
                server.wait_server_count(len(servers), namespace)
        yield Asking(*servers, clients)


@pytest.fixture
def asking(asking_cluster: Asking) -> Asking:
    """The same, with no client of an earlier test still on its way out."""
    for server in asking_cluster.servers:
        wait_for_value(lambda: len(server.fetch_sockets(local=True)), 1,
                       what=f'the number of clients of {server.name}')
    return asking_cluster
