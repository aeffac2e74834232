"""The later one of two connections that claim a session has it, here or on
another node."""
import logging
from typing import Any, Callable, Optional

import pytest

from redis_streams_adapter.protocol.messages import Target
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery import claims as module
from redis_streams_adapter.recovery.claims import Claim
from redis_streams_adapter.recovery.session import SUPERSEDES, TurnedAway
from redis_streams_adapter.recovery.states import State
from redis_streams_adapter.stream.session_store import Found

from .claiming import PID, World


@pytest.fixture
def world(logger: Callable[[], logging.Logger]) -> World:
    return World(logger)


# -- two connections on their way here ---------------------------------------

def claim_of(world: World, value: bytes) -> Claim:
    return Claim(world.session(), value, Position(10),
                 Found(value, True, None, None))


def test_earlier_rival_is_removed(world: World) -> None:
    rival = world.here()
    world.store.values[PID] = b'of this one'
    world.claims.supersede_rival(rival, claim_of(world, b'of this one'))
    assert world.is_dropped()
    assert rival.possession is State.SUPERSEDED


@pytest.mark.parametrize('value', [b'of the rival', None])
def test_later_rival_stays(world: World, value: Optional[bytes]) -> None:
    rival = world.here()
    if value is not None:
        world.store.values[PID] = value
    with pytest.raises(TurnedAway):
        world.claims.supersede_rival(rival, claim_of(world, b'of this one'))
    assert rival.is_held and not world.is_dropped()


# -- claimed by others -------------------------------------------------------

def supersede(world: World, claim: Any, *sids: Any,
              namespace: str = '/') -> None:
    flags = {} if claim is None else {SUPERSEDES: claim}
    world.claims.superseded(namespace, Target(sids or ('s',), (), flags))


def test_client_claimed_by_other_node_is_removed(world: World) -> None:
    client = world.here()
    supersede(world, client.claim)
    assert client.possession is State.SUPERSEDED
    # Its disconnect handler runs: not on the reader's task.
    assert not world.is_dropped()
    world.run_background()
    assert world.is_dropped()
    assert world.store.calls == []


def test_claim_in_other_namespace_does_not_count(world: World) -> None:
    client = world.here()
    supersede(world, client.claim, namespace='/chat')
    assert client.is_held and world.background == []


def test_claim_before_registration_counts(world: World) -> None:
    claim = claim_of(world, b'')
    assert not world.claims.is_superseded(claim)
    supersede(world, claim.session.claim)
    assert world.claims.is_superseded(claim)


@pytest.mark.parametrize('claim', [None, '', 5, ['x']])
def test_malformed_claim_is_ignored(world: World, claim: Any) -> None:
    """Anyone may write to the stream."""
    client = world.here()
    supersede(world, claim, 's', 5)
    assert client.is_held
    assert not world.claims.is_superseded(
        claim_of(world, b'')._replace(session=world.session(claim='')))


def test_the_oldest_claims_are_forgotten(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'SUPERSEDED', 3)
    for number in range(5):
        supersede(world, f'claim {number}')
    assert [world.claims.is_superseded(claim_of(world, b'')._replace(
        session=world.session(claim=f'claim {number}')))
        for number in range(5)] == [False, False, True, True, True]


@pytest.mark.parametrize('claim', ['of an older time', None])
@pytest.mark.parametrize('found, goes', [
    ('its own', False), ('of another', True), ('nonsense', True),
    (None, False), ('Redis is away', False)])
def test_unknown_claim_of_client_is_checked_in_redis(
        world: World, claim: Optional[str], found: Optional[str],
        goes: bool) -> None:
    """Redis knows whether another node has it."""
    client = world.here()
    if found in ('its own', 'of another'):
        world.keep(world.session(claim=client.claim if found == 'its own'
                                 else 'of another'))
    elif found == 'nonsense':
        world.store.values[PID] = b'nonsense'
    elif found is not None:
        world.store.faults.append('before')
    supersede(world, claim)
    assert client.is_held and world.store.calls == []
    world.run_background()
    assert world.is_dropped() is goes
    assert client.is_held is not goes
