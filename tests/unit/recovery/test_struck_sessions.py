"""Whatever line an exception strikes, a session stays whole, and the next
attempt finishes what was begun."""
from typing import Callable

import logging
import pytest

from redis_streams_adapter.recovery.states import State

from ..striking import held_locks, strike, Striker
from .writing import FakeSessions, House


@pytest.mark.parametrize('intended', [False, True])
def test_struck_disconnect_is_completed(logger: Callable[[], logging.Logger],
                                        intended: bool) -> None:
    def leaves(striker: Striker) -> None:
        store = FakeSessions()
        house = House(store, logger)
        client = house.stays()
        house.room(client, 'x')
        striker.run(lambda: house.leave(client, intended))
        assert not held_locks(house.writer), striker.where
        house.leave(client, intended)
        assert client.presence is State.GONE, striker.where
        assert client.gone.is_set(), striker.where
        assert house.local.count == 0, striker.where
        assert house.round() and house.round(), striker.where
        assert house.local.of_pid(client.pid) is None, striker.where
        kept = house.kept(client)
        if intended:
            assert kept is None, striker.where
        else:
            assert kept is not None, striker.where
            assert kept.rooms == ('s', 'x'), striker.where

    strike(leaves)


@pytest.mark.parametrize('is_new', [False, True])
def test_struck_write_is_in_doubt(logger: Callable[[], logging.Logger],
                                  is_new: bool) -> None:
    """One that was struck may have been carried out: it is in doubt."""
    def write(striker: Striker) -> None:
        house = House(FakeSessions(), logger)
        client = house.enter() if is_new else house.stays()
        house.room(client, 'x')
        if is_new:
            striker.run(lambda: house.writer.write_first(client))
            house.writer.write_first(client)
            house.local.settle(client)
        else:
            striker.run(house.round)
        assert not held_locks(house.writer), striker.where
        house.local.change(client)
        assert house.round() and house.round(), striker.where
        assert client.is_held, striker.where
        assert client.doubtful == [], striker.where
        kept = house.kept(client)
        assert kept is not None, striker.where
        assert kept.rooms == ('s', 'x'), striker.where

    strike(write)
