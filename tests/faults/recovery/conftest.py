"""Servers of one cluster."""
from typing import Any, Iterator, List

import pytest

from ...support.recovering import RecoveringNode
from .harness import Make


@pytest.fixture
def node(redis_server: Any, unique: Any) -> Iterator[Make]:
    """Makes servers of one cluster, each with its own stream by test."""
    nodes: List[RecoveringNode] = []
    stream = unique('stream')

    def make(**options: Any) -> RecoveringNode:
        nodes.append(RecoveringNode(redis_server.url, stream_name=stream,
                                    **options))
        return nodes[-1]

    yield make
    for each in nodes:
        each.close()
