"""The states of a session and all transitions."""
import itertools
import threading
from typing import Dict, Set

import pytest

from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.recovery.states import Event, \
    ImpossibleTransition, State, state_after, TRANSITIONS

#: The states of each aspect, initial states first.
ASPECTS: Dict[str, Set[State]] = {
    'presence': {State.CONNECTING, State.CONNECTED, State.LEAVING_EARLY,
                 State.LEAVING, State.GONE},
    'place': {State.UNPLACED, State.PLACED},
    'possession': {State.HELD, State.MISSING, State.SUPERSEDED},
    'purpose': {State.KEPT, State.DISCARDED},
    'content': {State.UNCHANGED, State.CHANGED},
}

PAIRS = list(itertools.product(State, Event))


def make(placed: bool = False) -> ClientSession:
    return ClientSession(('s', 'e'), '/', 'pid', 'claim', START,
                         threading.Event(), placed=placed)


def name_of(value: object) -> str:
    return str(getattr(value, 'name', value))


@pytest.mark.parametrize('state, event', TRANSITIONS, ids=name_of)
def test_allowed_transitions(state: State, event: Event) -> None:
    client, after = make(), TRANSITIONS[state, event]
    assert {state, after} <= ASPECTS[event.aspect]
    others = {each: getattr(client, each) for each in ASPECTS
              if each != event.aspect}
    setattr(client, event.aspect, state)
    assert client.apply(event) is (after is not state)
    assert getattr(client, event.aspect) is after
    assert others == {each: getattr(client, each) for each in others}


@pytest.mark.parametrize('state, event', [
    pair for pair in PAIRS if pair not in TRANSITIONS], ids=name_of)
def test_impossible_transitions_raise(state: State, event: Event) -> None:
    with pytest.raises(ImpossibleTransition) as caught:
        state_after(state, event)
    assert (caught.value.state, caught.value.event) == (state, event)
    assert state.value in str(caught.value)
    assert event.verb in str(caught.value)
    client = make()
    setattr(client, event.aspect, state)
    with pytest.raises(ImpossibleTransition):
        client.apply(event)
    assert getattr(client, event.aspect) is state


def test_each_state_has_one_aspect() -> None:
    found = [state for states in ASPECTS.values() for state in states]
    assert len(found) == len(set(found)) == len(State)
    assert {event.aspect for event in Event} == set(ASPECTS)


@pytest.mark.parametrize('placed', [False, True])
def test_each_state_can_be_reached(placed: bool) -> None:
    client = make(placed)
    for aspect, states in ASPECTS.items():
        reached = {getattr(client, aspect)}
        for _ in State:
            reached |= {after for (before, event), after
                        in TRANSITIONS.items() if before in reached}
        assert reached == states - ({State.UNPLACED} if placed else set())


def test_one_of_two_events_makes_transition() -> None:
    client = make()
    assert client.apply(Event.LEAVE)
    assert not client.apply(Event.LEAVE)
