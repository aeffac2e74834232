"""If two connections claim a session, the later one gets it, on this node or
on another one."""
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

from .claiming import PID, Fakes


@pytest.fixture
def fakes(logger: Callable[[], logging.Logger]) -> Fakes:
    return Fakes(logger)


# -- two connections to this node --------------------------------------------

def claim_of(fakes: Fakes, value: bytes) -> Claim:
    return Claim(fakes.session(), value, Position(10),
                 Found(value, True, None, None))


def test_earlier_rival_is_removed(fakes: Fakes) -> None:
    rival = fakes.here()
    fakes.store.values[PID] = b'of this one'
    fakes.claims.supersede_rival(rival, claim_of(fakes, b'of this one'))
    assert fakes.is_dropped()
    assert rival.possession is State.SUPERSEDED


@pytest.mark.parametrize('value', [b'of the rival', None])
def test_later_rival_stays(fakes: Fakes, value: Optional[bytes]) -> None:
    rival = fakes.here()
    if value is not None:
        fakes.store.values[PID] = value
    with pytest.raises(TurnedAway):
        fakes.claims.supersede_rival(rival, claim_of(fakes, b'of this one'))
    assert rival.is_held and not fakes.is_dropped()


# -- claimed by other nodes --------------------------------------------------

def supersede(fakes: Fakes, claim: Any, *sids: Any,
              namespace: str = '/') -> None:
    flags = {} if claim is None else {SUPERSEDES: claim}
    fakes.claims.superseded(namespace, Target(sids or ('s',), (), flags))


def test_client_claimed_by_other_node_is_removed(fakes: Fakes) -> None:
    client = fakes.here()
    supersede(fakes, client.claim)
    assert client.possession is State.SUPERSEDED
    # Its disconnect handler runs, but not on the reader's task.
    assert not fakes.is_dropped()
    fakes.run_background()
    assert fakes.is_dropped()
    assert fakes.store.calls == []


def test_claim_in_other_namespace_does_not_count(fakes: Fakes) -> None:
    client = fakes.here()
    supersede(fakes, client.claim, namespace='/chat')
    assert client.is_held and fakes.background == []


def test_claim_before_registration_counts(fakes: Fakes) -> None:
    claim = claim_of(fakes, b'')
    assert not fakes.claims.is_superseded(claim)
    supersede(fakes, claim.session.claim)
    assert fakes.claims.is_superseded(claim)


@pytest.mark.parametrize('claim', [None, '', 5, ['x']])
def test_malformed_claim_is_ignored(fakes: Fakes, claim: Any) -> None:
    """Anyone may write to the stream."""
    client = fakes.here()
    supersede(fakes, claim, 's', 5)
    assert client.is_held
    assert not fakes.claims.is_superseded(
        claim_of(fakes, b'')._replace(session=fakes.session(claim='')))


def test_the_oldest_claims_are_forgotten(
        fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'SUPERSEDED', 3)
    for number in range(5):
        supersede(fakes, f'claim {number}')
    assert [fakes.claims.is_superseded(claim_of(fakes, b'')._replace(
        session=fakes.session(claim=f'claim {number}')))
        for number in range(5)] == [False, False, True, True, True]


@pytest.mark.parametrize('claim', ['of an older time', None])
@pytest.mark.parametrize('found, gone', [
    ('its own', False), ('of another', True), ('nonsense', True),
    (None, False), ('Redis is away', False)])
def test_unknown_claim_of_client_is_checked_in_redis(
        fakes: Fakes, claim: Optional[str], found: Optional[str],
        gone: bool) -> None:
    """The session in Redis shows whether another node has the client."""
    client = fakes.here()
    if found in ('its own', 'of another'):
        fakes.keep(fakes.session(claim=client.claim if found == 'its own'
                                 else 'of another'))
    elif found == 'nonsense':
        fakes.store.values[PID] = b'nonsense'
    elif found is not None:
        fakes.store.faults.append('before')
    supersede(fakes, claim)
    assert client.is_held and fakes.store.calls == []
    fakes.run_background()
    assert fakes.is_dropped() is gone
    assert client.is_held is not gone
