"""Fixtures for :mod:`.sides`, and for calls to the cluster."""
import logging
from typing import Any, Callable, Iterator, List, Optional

import pytest

from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.protocol.routing import member_channel
from redis_streams_adapter.testing.pubsub import FakePubSub

from .sides import kinds_of, OURS, Side


@pytest.fixture
def server() -> FakePubSub:
    return FakePubSub()


@pytest.fixture
def make_side(server: FakePubSub, logger: Callable[[], logging.Logger],
              ) -> Iterator[Callable[..., Side]]:
    made: List[Side] = []

    def make_one(uid: str, transport: str, cluster: bool = False,
                 serve: Optional[List[str]] = None,
                 application: Application = OURS) -> Side:
        side = Side(server, logger, uid, transport, cluster, application)
        made.append(side)
        namespaces = ['/'] if serve is None else serve
        side.channel.serve(namespaces)
        for namespace in namespaces:
            for kind in kinds_of(transport):
                server.wait_listening(f'x#{namespace}#{uid}#', 1, kind)
                server.wait_listening(
                    member_channel('x', namespace, application.name, uid),
                    1, kind)
        return side

    yield make_one
    for side in made:
        side.close()
    assert server.connections == []


@pytest.fixture
def nothing_is_open(make_manager: Any, managers: List[Any]) -> Iterator[None]:
    """The asking side has no open request after the test."""
    yield
    for manager in managers:
        assert len(manager._live().node._requests) == 0
