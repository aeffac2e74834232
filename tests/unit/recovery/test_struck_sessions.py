"""An exception at any line leaves a session consistent, and the next attempt
completes the operation."""
from typing import Callable

import logging
import pytest

from redis_streams_adapter.recovery.states import State

from ..striking import held_locks, strike, Striker
from .writing import FakeSessions, Node


@pytest.mark.parametrize('intended', [False, True])
def test_struck_disconnect_is_completed(logger: Callable[[], logging.Logger],
                                        intended: bool) -> None:
    def disconnect(striker: Striker) -> None:
        store = FakeSessions()
        node = Node(store, logger)
        client = node.connected()
        node.enter_room(client, 'x')
        striker.run(lambda: node.disconnect(client, intended))
        assert not held_locks(node.writer), striker.where
        node.disconnect(client, intended)
        assert client.presence is State.GONE, striker.where
        assert client.gone.is_set(), striker.where
        assert node.local.count == 0, striker.where
        assert node.run_once() and node.run_once(), striker.where
        assert node.local.of_pid(client.pid) is None, striker.where
        stored = node.stored(client)
        if intended:
            assert stored is None, striker.where
        else:
            assert stored is not None, striker.where
            assert stored.rooms == ('s', 'x'), striker.where

    strike(disconnect)


@pytest.mark.parametrize('is_new', [False, True])
def test_struck_write_is_in_doubt(logger: Callable[[], logging.Logger],
                                  is_new: bool) -> None:
    """Redis may have carried out the interrupted write."""
    def write(striker: Striker) -> None:
        node = Node(FakeSessions(), logger)
        client = node.connect() if is_new else node.connected()
        node.enter_room(client, 'x')
        if is_new:
            striker.run(lambda: node.writer.write_first(client))
            node.writer.write_first(client)
            node.local.settle(client)
        else:
            striker.run(node.run_once)
        assert not held_locks(node.writer), striker.where
        node.local.change(client)
        assert node.run_once() and node.run_once(), striker.where
        assert client.is_held, striker.where
        assert client.doubtful == [], striker.where
        stored = node.stored(client)
        assert stored is not None, striker.where
        assert stored.rooms == ('s', 'x'), striker.where

    strike(write)
