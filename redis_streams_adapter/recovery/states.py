"""The states of a client's session, the events that change them, and the one
table of transitions.

A session has five *aspects*, each with states of its own:

========== =============================================================
presence   is the client's connection still being let in, connected,
           leaving, or gone?
place      is it known where in the stream the client begins?
possession does this node have the session? Another connection may have taken
           it over (*superseded*), or Redis lacked it (*missing*: a server in
           Node.js deletes what it takes over, but Redis may have been emptied)
purpose    is the session kept for the client's return, or deleted because the
           client leaves on purpose?
content    does the session hold something that was not sent to Redis?
========== =============================================================

Each event belongs to one aspect. A transition that is not in
:data:`TRANSITIONS` cannot happen, and raises. If a second task may be late
with an event, the table says so: the state stays as it is. Of several tasks
that race, the one whose event changed the state made the transition.

Pure: no I/O, no locks. See
:mod:`redis_streams_adapter.recovery.local_sessions` for the lock.
"""
from enum import Enum
from typing import Dict, Tuple


class State(Enum):
    """The state of a session in one aspect. The value completes "it is"."""

    #: Presence. The connect handler is not done; nothing but the first
    #: session is written.
    CONNECTING = 'connecting'
    #: The client has all that it missed, and its session follows it.
    CONNECTED = 'connected'
    #: The client leaves before it was connected: it may lack what it missed.
    LEAVING_EARLY = 'leaving early'
    #: Its last session is noted; its disconnect handler runs.
    LEAVING = 'leaving'
    #: No longer registered.
    GONE = 'gone'

    #: Place.
    UNPLACED = 'unplaced'
    PLACED = 'placed'

    #: Possession.
    HELD = 'held'
    MISSING = 'missing'
    SUPERSEDED = 'superseded'

    #: Purpose.
    KEPT = 'kept'
    DISCARDED = 'discarded'

    #: Content.
    UNCHANGED = 'unchanged'
    CHANGED = 'changed'


class Event(Enum):
    """What happens to a session: a verb, and the aspect that it concerns."""

    #: The connect handler is done, and the client has what it missed.
    SETTLE = 'settle', 'presence'
    #: The client is about to be disconnected.
    LEAVE = 'leave', 'presence'
    #: It is no longer registered.
    UNREGISTER = 'unregister', 'presence'

    #: Its first position in the stream is known.
    PLACE = 'place', 'place'

    #: Another connection has taken it over, here or elsewhere.
    SUPERSEDE = 'supersede', 'possession'
    #: Redis does not have it, although nothing was lost there.
    MISS = 'miss', 'possession'
    #: Redis has lost something after all.
    REGAIN = 'regain', 'possession'

    #: The client leaves on purpose, or is disconnected. Final.
    DISCARD = 'discard', 'purpose'

    #: Rooms or data have changed.
    CHANGE = 'change', 'content'
    #: All that has changed so far is about to be written.
    WRITE = 'write', 'content'

    def __init__(self, verb: str, aspect: str) -> None:
        self.verb = verb
        self.aspect = aspect


class ImpossibleTransition(RuntimeError):
    """An event that cannot happen in a state: an error in this package."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(
            f'cannot {event.verb} a session that is {state.value}')
        self.state = state
        self.event = event


#: The state after each event, for each state in which it can happen.
TRANSITIONS: Dict[Tuple[State, Event], State] = {
    (State.CONNECTING, Event.SETTLE): State.CONNECTED,
    (State.CONNECTING, Event.LEAVE): State.LEAVING_EARLY,
    (State.CONNECTED, Event.LEAVE): State.LEAVING,
    # Another task disconnected it when its connect handler had just ended.
    (State.LEAVING_EARLY, Event.SETTLE): State.LEAVING,
    (State.LEAVING_EARLY, Event.UNREGISTER): State.GONE,
    (State.LEAVING, Event.UNREGISTER): State.GONE,
    # No change: it was gone when its connect handler ended.
    (State.GONE, Event.SETTLE): State.GONE,
    # No change: of several tasks that disconnect it, the first one notes its
    # last session.
    (State.LEAVING_EARLY, Event.LEAVE): State.LEAVING_EARLY,
    (State.LEAVING, Event.LEAVE): State.LEAVING,
    (State.GONE, Event.LEAVE): State.GONE,
    (State.GONE, Event.UNREGISTER): State.GONE,

    (State.UNPLACED, Event.PLACE): State.PLACED,

    (State.HELD, Event.SUPERSEDE): State.SUPERSEDED,
    (State.HELD, Event.MISS): State.MISSING,
    (State.MISSING, Event.SUPERSEDE): State.SUPERSEDED,
    (State.MISSING, Event.REGAIN): State.HELD,
    # No change: several tasks may notice. Another node keeps a session that it
    # has taken over, whatever Redis has lost.
    (State.MISSING, Event.MISS): State.MISSING,
    (State.SUPERSEDED, Event.SUPERSEDE): State.SUPERSEDED,
    (State.SUPERSEDED, Event.MISS): State.SUPERSEDED,
    (State.SUPERSEDED, Event.REGAIN): State.SUPERSEDED,
    (State.HELD, Event.REGAIN): State.HELD,

    (State.KEPT, Event.DISCARD): State.DISCARDED,
    # No change: it is disconnected twice.
    (State.DISCARDED, Event.DISCARD): State.DISCARDED,

    (State.UNCHANGED, Event.CHANGE): State.CHANGED,
    (State.CHANGED, Event.WRITE): State.UNCHANGED,
    # No change: several changes are written at once, and some sessions are
    # written without a change.
    (State.CHANGED, Event.CHANGE): State.CHANGED,
    (State.UNCHANGED, Event.WRITE): State.UNCHANGED,
}


def state_after(state: State, event: Event) -> State:
    """The state that an event leads to.

    :raises ImpossibleTransition: the event cannot happen in this state.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ImpossibleTransition(state, event) from None
