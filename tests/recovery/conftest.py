"""Servers with recovery, and JavaScript clients that return to them."""
from typing import Any, Callable, Iterator, List

import pytest

from ..conftest import running
from ..integration.conftest import start_managers
from ..interop.conftest import connect_js, js_clients, npm_packages
from ..support.node_process import NodeProcess
from .helpers import Pair, RECOVERING

# Fixtures of these tests too.
__all__ = ['connect_js', 'js_clients', 'npm_packages']


@pytest.fixture(scope='session')
def pair(mode: str, redis_server: Any) -> Iterator[Pair]:
    """Two nodes that all tests share, and that no test disturbs."""
    options = {**RECOVERING, 'stream_name': 'recovery'}
    with running([NodeProcess(mode, redis_server.url, options)
                  for _ in range(2)]) as nodes:
        start_managers(nodes)
        yield Pair(*nodes)


@pytest.fixture
def start(start_nodes: Callable[..., List[NodeProcess]],
          redis_server: Any, unique: Callable[[str], str],
          ) -> Callable[..., List[NodeProcess]]:
    """Starts the nodes of one test: ``start(count, *urls, **options)``. They
    form a separate cluster.

    The URLs are those of a Redis for each node, or for all of them. Without
    one, the nodes use the common Redis.
    """
    def start_them(count: int, *urls: str,
                   **options: Any) -> List[NodeProcess]:
        options = {**RECOVERING, 'stream_name': unique('stream'),
                   'channel_prefix': unique('channel'), **options}
        if len(urls) < 2:
            nodes = start_nodes(count, *(urls or [redis_server.url]),
                                **options)
        else:
            nodes = [start_nodes(1, url, **options)[0] for url in urls]
        start_managers(nodes)
        return nodes

    return start_them
