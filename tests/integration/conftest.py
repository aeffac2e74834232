"""The cluster that most tests of this directory share.

The sub-directories are named like the package's, and test single modules
against a real Redis. They run in this process, on threads, so they are left
out if ``ASYNC_MODE`` is gevent or eventlet: the result would be the same.
"""
import os
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Optional

import pytest

from ..conftest import running
from ..support.client import Client, close_all
from ..support.node_process import NodeProcess

#: The heartbeats of a cluster whose nodes all stay: however busy the machine,
#: none is ever taken for dead.
STEADY = {'heartbeat_interval': 1.0, 'heartbeat_timeout': 60.0}


def pytest_ignore_collect(collection_path: Path) -> Optional[bool]:
    """Leave out the sub-directories, except with threads."""
    if collection_path.parent == Path(__file__).parent \
            and collection_path.is_dir() \
            and os.environ.get('ASYNC_MODE', 'threading') != 'threading':
        return True
    return None


class Cluster(NamedTuple):
    """Three nodes."""

    a: NodeProcess
    b: NodeProcess
    c: NodeProcess


def start_managers(nodes: List[NodeProcess]) -> None:
    """Make all nodes members, and wait until each knows the others."""
    for node in nodes:
        node.start_manager()
    # A lone member knows all others, but it cannot always say so at once:
    # not if its stream was trimmed.
    for node in nodes if len(nodes) > 1 else []:
        node.wait_server_count(len(nodes))


@pytest.fixture(scope='session')
def cluster(mode: str, redis_server: Any) -> Iterator[Cluster]:
    """Three nodes that all tests share and none disturbs."""
    with running([NodeProcess(mode, redis_server.url, STEADY)
                  for _ in range(3)]) as nodes:
        start_managers(nodes)
        yield Cluster(*nodes)


@pytest.fixture(scope='session')
def lasting_clients() -> Iterator[List[Client]]:
    """Clients that outlive a test, see :func:`listeners`."""
    clients: List[Client] = []
    yield clients
    close_all(clients)


@pytest.fixture
def listeners(cluster: Cluster,
              lasting_clients: List[Client]) -> List[Client]:
    """One client on each of the three nodes, for tests that only listen.

    All tests share them. A client that a test has broken is replaced for the
    next one.
    """
    for index, node in enumerate(cluster):
        if len(lasting_clients) == index:
            lasting_clients.append(Client(node.url))
        elif not lasting_clients[index].is_responsive():
            lasting_clients[index].close()
            lasting_clients[index] = Client(node.url)
    return list(lasting_clients)


@pytest.fixture(scope='session', params=['background', 'sync'])
def publishing_pair(request: Any, mode: str, redis_server: Any,
                    ) -> Iterator[List[NodeProcess]]:
    """Two nodes, with each way of publishing."""
    options = {'publish': request.param,
               'stream_name': f'publish-{request.param}', **STEADY}
    with running([NodeProcess(mode, redis_server.url, options)
                  for _ in range(2)]) as nodes:
        start_managers(nodes)
        yield nodes
