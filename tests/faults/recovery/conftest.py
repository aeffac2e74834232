"""Servers of one cluster."""
from typing import Any, Iterator, List, Optional

import pytest

from ...support.recovering import RecoveringNode
from .harness import MakeNode


@pytest.fixture
def make_node(redis_server: Any, unique: Any) -> Iterator[MakeNode]:
    """Makes servers that share a stream: ``make_node(**options)``."""
    nodes: List[RecoveringNode] = []
    stream = unique('stream')

    def make(url: Optional[str] = None, **options: Any) -> RecoveringNode:
        nodes.append(RecoveringNode(url or redis_server.url,
                                    stream_name=stream, **options))
        return nodes[-1]

    yield make
    for each in nodes:
        each.close()
