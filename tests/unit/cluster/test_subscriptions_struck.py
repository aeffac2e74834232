"""An exception that strikes a task during a request or a change of namespaces
over PUB/SUB: the next call repairs what it left."""
from typing import Any

import pytest

from redis_streams_adapter.protocol.requests import Asked

from ...support.wait import DEADLINE
from redis_streams_adapter.testing.pubsub import FakePubSub
from ..nodes import Call
from ..striking import held_locks, STEP, strike, Striker
from .sides import OURS, Side


def make(logger: Any, cluster: bool) -> Side:
    return Side(FakePubSub(), logger, 'me', 'sharded-pubsub', cluster, OURS)


def check(side: Side, namespace: str, where: str) -> None:
    """It listens as a member, and nothing of the strike remains."""
    assert not held_locks(side.channel), where
    Call(side.channel.serve, [namespace]).result()
    side.server.wait_listening(f'x#{namespace}#', 1, b's')
    assert Call(side.listening, namespace).result() == Asked(0, []), where
    assert not side.channel._subscriptions._waiting, where
    side.close()
    assert side.server.connections == [], where


@pytest.mark.parametrize('cluster', [False, True])
def test_serve(logger: Any, cluster: bool) -> None:
    """For the first time, and when it replaces others."""
    def serve(striker: Striker) -> None:
        side = make(logger, cluster)
        striker.run(lambda: (side.channel.serve(['/']),
                             side.channel.serve(['/chat'])))
        check(side, '/', striker.where)

    strike(serve, step=6 * STEP)


@pytest.mark.parametrize('cluster', [False, True])
def test_ask(logger: Any, cluster: bool) -> None:
    """As a guest."""
    def ask(striker: Striker) -> None:
        side = make(logger, cluster)
        side.channel.serve(['/'])
        striker.run(lambda: side.listening('/chat', DEADLINE))
        check(side, '/chat', striker.where)

    strike(ask, step=12 * STEP)
