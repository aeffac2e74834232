"""A session is claimed from wherever its client was, by one node at a time."""
import logging
from typing import Any, Callable, List, Optional

import pytest

from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.protocol.messages import Broadcast, \
    DisconnectSockets, EVERYONE, SocketsJoin, Target
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry, Unavailable
from redis_streams_adapter.recovery.claims import AHEAD_INTERVAL, \
    AHEAD_LOOKS, ATTEMPTS, Claims, CONNECT_PATIENCE, PATIENCE
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.recovery.replay import Record
from redis_streams_adapter.recovery.session import Gap, OFFSET_NOT_FOUND, \
    REJECTED, SUPERSEDES, UNKNOWN_SESSION
from redis_streams_adapter.recovery.states import State
from redis_streams_adapter.stream.session_store import Found

from .claiming import entry, OFFSET, PID, World


@pytest.fixture
def world(logger: Callable[[], logging.Logger]) -> World:
    return World(logger)


# -- a client that was elsewhere ---------------------------------------------

def test_session_is_claimed(world: World) -> None:
    session = world.session(rooms=('s', 'a'), data={'name': 'x'})
    world.keep(session)
    claim = world.claim()
    assert claim.session.claim not in ('', session.claim)
    # All else stays, for a node that claims it in turn.
    assert claim.session == session._replace(claim=claim.session.claim)
    assert world.kept() == claim.session
    assert world.store.values[PID] == claim.value
    assert claim.start == Position(10)
    assert claim.found.last == Position(29)


def test_superseded_claim_is_announced(world: World) -> None:
    world.keep(world.session())
    claim = world.claim()
    assert world.published == [('/', DisconnectSockets(
        Target(('s',), (), {SUPERSEDES: 'claim of s'}), True))]
    assert not world.claims.is_superseded(claim)
    # Also by the next one here.
    again = world.claim()
    assert again.session.claim != claim.session.claim
    assert world.claims.is_superseded(claim)
    assert not world.claims.is_superseded(again)


def test_missing_session_is_unknown(world: World) -> None:
    assert world.refusal() == UNKNOWN_SESSION
    assert world.published == [] and world.store.writes == 0


@pytest.mark.parametrize('raw', [
    b'nonsense', 'of another client', 'of another namespace',
    'of another application'])
def test_session_of_other_client_is_refused(world: World, raw: Any) -> None:
    foreign = World(world.manager._get_logger)
    if raw == 'of another application':
        foreign.writer.codec._application = Application('other', 0)
    session = world.session()._replace(**{
        'of another client': {'pid': 'p'},
        'of another namespace': {'namespace': '/chat'}}.get(raw, {}))
    world.store.values[PID] = raw if isinstance(raw, bytes) \
        else foreign.keep(session)
    assert world.refusal() == UNKNOWN_SESSION
    assert world.published == [] and world.store.writes == 0
    assert len(world.log_texts) == 1
    assert PID not in world.log_texts[0]


def test_client_that_is_not_accepted_keeps_session(world: World) -> None:
    sids: List[str] = []

    def accepts(sid: str) -> bool:
        sids.append(sid)
        return False

    value = world.keep(world.session())
    client = world.here()
    assert world.refusal(accepts=accepts) == REJECTED
    assert sids == ['s']
    # So far, nothing has changed.
    assert world.store.values[PID] == value
    assert client.is_held and not world.is_dropped()


def test_session_too_large_for_node_is_not_claimed(logger: Any) -> None:
    """By this node, which allows smaller ones."""
    world, other = World(logger, max_bytes=400), World(logger)
    world.store.values[PID] = other.keep(world.session(data='x' * 400))
    assert world.refusal() == UNKNOWN_SESSION
    assert len(world.log_texts) == 1
    assert world.published == [] and world.store.writes == 0


def before_swap(world: World, what: Callable[[], Any]) -> None:
    """Let something happen just before the next attempt to claim it."""
    swap = world.store.swap

    def do(swaps: Any) -> Any:
        world.store.swap = swap  # type: ignore[method-assign]
        what()
        return swap(swaps)

    world.store.swap = do  # type: ignore[method-assign]


def test_session_changed_during_claim_is_claimed_again(world: World) -> None:
    """The claim gets the state that the other node has written."""
    world.keep(world.session())
    before_swap(world, lambda: world.keep(
        world.session(data={'newer': 1}, claim='newer')))
    claim = world.claim()
    assert claim.session.data == {'newer': 1}
    assert world.published == [('/', DisconnectSockets(
        Target(('s',), (), {SUPERSEDES: 'newer'}), True))]


def test_endless_changes_end_claim(world: World) -> None:
    world.keep(world.session())
    world.store.swap = lambda swaps: [0]  # type: ignore[method-assign]
    assert world.refusal() == UNKNOWN_SESSION
    looks = len(world.store.calls)
    assert ATTEMPTS <= looks <= ATTEMPTS + AHEAD_LOOKS
    assert world.published == []


def test_session_expired_during_claim_is_unknown(world: World) -> None:
    world.keep(world.session())
    before_swap(world, world.store.values.clear)
    assert world.refusal() == UNKNOWN_SESSION
    assert [name for name, _ in world.store.calls] == ['find', 'swap']
    assert world.published == []


# -- Redis -------------------------------------------------------------------

def test_claim_is_retried_on_new_connection(world: World) -> None:
    world.keep(world.session())
    world.store.faults.append('before')
    assert world.claim().session.sid == 's'


@pytest.mark.parametrize('what', ['reader', 'store'])
def test_claim_fails_while_redis_is_away(world: World, what: str) -> None:
    waits: List[float] = []

    def wait(timeout: float) -> bool:
        waits.append(timeout)
        return False

    world.keep(world.session())
    if what == 'reader':
        world.runtime.await_connection = wait
    else:
        world.store.wait = wait  # type: ignore[method-assign]
    world.store.faults.append('before')
    with pytest.raises(Unavailable):
        world.claim()
    assert waits == [CONNECT_PATIENCE]
    assert world.store.calls == []


# -- where to go on ----------------------------------------------------------

@pytest.mark.parametrize('offset, start', [
    (Position(9), 10), (Position(5), 5), (Position(3), 7), (None, 1)])
def test_claim_returns_position(world: World, offset: Optional[Position],
                                start: int) -> None:
    world.keep(world.session(gap=Gap(Position(3), Position(7))))
    assert world.claim(offset).start == Position(start)


def remember(world: World, floor: int, *numbers: int) -> None:
    """All after a position is in memory."""
    history = world.timeline().history
    history.serve(['/'], Position(floor))
    for number in numbers:
        history.add('/', Record(Position(number), Broadcast(('x',))))


@pytest.mark.parametrize('in_memory, offset, refused', [
    # Trimmed up to 11: what came after 10 is gone.
    (None, 9, True), (10, 9, False), (11, 9, True),
    # The entry at the offset itself has to be there.
    (4, 5, False), (5, 5, True)])
def test_position_before_trim_is_refused(world: World,
                                         in_memory: Optional[int], offset: int,
                                         refused: bool) -> None:
    world.keep(world.session())
    del world.store.entries[:11]
    if in_memory is not None:
        remember(world, in_memory, *range(in_memory + 1, 30))
    if refused:
        assert world.refusal(Position(offset)) == OFFSET_NOT_FOUND
        assert world.published == [] and world.store.writes == 0
    else:
        world.claim(Position(offset))


@pytest.mark.parametrize('upto, floor, refused', [
    # The node has read the former stream up to 20-5, and the new one from
    # 15-0 on. An entry is there, or not.
    (Position(17), 14, False), (Position(17, 1), 14, True),
    # It may be a lost one although new entries were not read either.
    (Position(13, 1), 14, True), (Position(13), 14, False),
    # All after this was read, whatever it was.
    (Position(14, 1), None, False),
    # The former stream ended before.
    (Position(21, 1), 14, False)])
def test_position_of_former_stream_is_refused(
        world: World, upto: Position, floor: Optional[int],
        refused: bool) -> None:
    world.keep(world.session(upto=upto))
    history = world.timeline().history
    history.serve(['/'], Position(1))
    history.restart(Position(14, 2) if floor is None else Position(
        floor, 1), Position(20, 5))
    if refused:
        assert world.refusal() == OFFSET_NOT_FOUND
        assert world.published == [] and world.store.writes == 0
    else:
        claim = world.claim()
        assert (claim.start, claim.restarts) == (upto, 1)


@pytest.mark.parametrize('position, upto, refused', [
    (29, Position(30), True), (30, Position(30), False),
    (1, Position(29), False)])
@pytest.mark.parametrize('is_empty', [False, True])
def test_position_after_end_of_stream_is_refused(
        world: World, position: int, upto: Position, refused: bool,
        is_empty: bool) -> None:
    """It is one of a former stream, unless this node has read it, too."""
    world.keep(world.session(upto=upto))
    remember(world, 1)
    world.timeline().position = Position(position)
    if is_empty:
        world.store.entries.clear()
        refused = upto > Position(position)
        world.keep(world.session(upto=upto, sent=None))
    if refused:
        assert world.refusal(
            None if is_empty else OFFSET) == OFFSET_NOT_FOUND
    else:
        world.claim(None if is_empty else OFFSET)


def test_entry_added_after_query_of_end_is_known(world: World) -> None:
    world.keep(world.session(upto=Position(30)))
    remember(world, 1)
    world.timeline().position = Position(29)
    found = world.store.find

    def find(*args: Any) -> Any:
        result = found(*args)
        world.store.entries.append(entry(30))
        return result

    world.store.find = find  # type: ignore[method-assign]
    assert world.claim().start == Position(30)


def test_offset_without_entry_is_refused(world: World) -> None:
    world.keep(world.session())
    assert world.refusal(Position(5, 1)) == OFFSET_NOT_FOUND
    assert world.refusal(Position(0, 5)) == OFFSET_NOT_FOUND


def anonymous(world: World, **more: str) -> None:
    """A server in Node.js wrote it, or an older version of this package: it
    does not say of which application."""
    world.store.values[PID] = world.writer.codec._encode({
        'sid': 's', 'pid': PID, 'rooms': ['s'], 'data': {}, **more})


@pytest.mark.parametrize('what, refused', [
    (entry(5), False), (entry(5, '/chat'), True),
    (entry(5, message=SocketsJoin(EVERYONE, ('a',))), True),
    (Entry(Position(5), [b'no', b'message']), True)],
    ids=['event', 'namespace', 'command', 'nonsense'])
def test_offset_identifies_client_of_node_js(
        world: World, what: Entry, refused: bool) -> None:
    """One that has received an event of this application."""
    anonymous(world)
    world.store.entries[4] = what
    if refused:
        assert world.refusal(Position(5)) == OFFSET_NOT_FOUND
        assert world.store.writes == 0
    else:
        assert world.claim(Position(5)).start == Position(5)


def test_event_in_memory_needs_no_lookup(world: World) -> None:
    anonymous(world)
    remember(world, 1, 5)
    world.claim(Position(5))
    assert world.store.pages == []


def test_client_of_node_js_without_offset_is_refused(world: World) -> None:
    for since in ({}, {'since': '1-0'}):
        anonymous(world, **since)
        assert world.refusal(None) == OFFSET_NOT_FOUND


def test_missing_entry_of_offset_of_node_js_is_refused(world: World) -> None:
    """And the next one may be of another application's client."""
    anonymous(world, since='1-0', sent='5-0', upto='10-0')
    del world.store.entries[4]
    assert world.refusal(Position(5)) == OFFSET_NOT_FOUND


# -- a client that was here --------------------------------------------------

def test_local_client_is_taken_over(world: World) -> None:
    value = world.keep(world.session())
    client = world.here(data={'newer': 1}, rooms={'s', 'newer'})
    claim = world.claim()
    assert world.is_dropped()
    assert client.possession is State.SUPERSEDED
    assert world.progressed == [client]
    # Redis may not have all of it yet.
    assert claim.session.data == {'newer': 1}
    assert claim.session.rooms == ('newer', 's')
    assert world.kept() == claim.session
    assert world.store.values[PID] == claim.value != value
    # No other node has it.
    assert world.published == []


def test_local_session_not_yet_in_redis_is_claimed(world: World) -> None:
    world.here(data={'newer': 1})
    assert world.claim().session.data == {'newer': 1}
    assert world.kept().data == {'newer': 1}


def test_state_left_by_disconnect_counts(world: World) -> None:
    client = world.here()
    client.rooms.add('left')
    world.manager.clients.clear()
    world.local.unregister(client)
    client.rooms.add('too late')
    assert world.claim().session.rooms == ('left', 's')


def test_wait_for_disconnect_handler_is_limited(world: World) -> None:
    world.here()
    world.server.eio.sockets['e'].on_close = lambda: None
    value = world.keep(world.session())
    assert world.refusal() == UNKNOWN_SESSION
    gone: Any = world.local.of_pid(PID)
    assert gone.gone.waits == [PATIENCE]
    assert world.store.values[PID] == value
    assert len(world.log_texts) == 1


def test_client_gone_without_state_is_unknown(world: World) -> None:
    """An exception has struck."""
    client = world.here()
    world.server.eio.sockets['e'].on_close = client.gone.set
    value = world.keep(world.session())
    assert world.refusal() == UNKNOWN_SESSION
    assert world.store.values[PID] == value


@pytest.mark.parametrize('why', ['discarded', 'of another namespace'])
def test_disconnected_client_is_not_claimed(world: World, why: str) -> None:
    """Its session may not be deleted yet."""
    world.keep(world.session())
    client = world.here(
        namespace='/chat' if why == 'of another namespace' else '/')
    if why == 'discarded':
        world.local.discard(client)
    assert world.refusal() == UNKNOWN_SESSION
    assert not world.is_dropped() and world.store.writes == 0


def test_state_of_later_node_counts(world: World) -> None:
    """The state that the other node wrote counts, before this node has read
    about its claim."""
    world.keep(world.session(claim='of another', data={'newer': 1}))
    client = world.here(data={'older': 1})
    claim = world.claim()
    assert client.possession is State.SUPERSEDED
    assert world.is_dropped()
    assert claim.session.data == {'newer': 1}
    (_, message), = world.published
    assert message.target.flags == {  # type: ignore[union-attr]
        SUPERSEDES: 'of another'}


def test_state_lost_by_redis_is_not_replaced_by_older_one(
        world: World) -> None:
    """The local state is older than the lost one."""
    world.local.supersede(world.here())
    assert world.refusal() == UNKNOWN_SESSION
    assert world.store.writes == 0


def test_session_registered_during_lookup_is_found_again(world: World) -> None:
    """The state that was found is older than the registered one."""
    world.keep(world.session())
    find = world.store.find

    def find_too_early(*args: Any) -> Found:
        found = find(*args)
        world.store.find = find  # type: ignore[method-assign]
        world.here(claim='newer', data='here')
        world.keep(world.session(claim='newer', data='written before'))
        return found

    world.store.find = find_too_early  # type: ignore[method-assign]
    assert world.claim().session.data == 'here'
    assert world.is_dropped()
    assert world.published == []


def test_session_registered_during_accepts_is_found_again(
        world: World) -> None:
    world.keep(world.session())

    def accepts(sid: str) -> bool:
        if world.local.of_pid(PID) is None:
            world.here(data={'newer': 1})
        return True

    assert world.claim(accepts=accepts).session.data == {'newer': 1}
    assert world.is_dropped()


@pytest.mark.parametrize('claim, data', [
    ('claim of s', 'left here'), ('of another', 'of another')])
def test_session_written_during_claim_is_claimed_again(
        world: World, claim: str, data: str) -> None:
    """By this node, which has it no longer; or by another one that has had
    it in between."""
    world.keep(world.session())
    world.here(data='left here')
    before_swap(world, lambda: world.keep(
        world.session(claim=claim, data='of another')))
    assert world.claim().session.data == data
    assert world.kept().data == data


def test_session_registered_during_claim_is_found_again(world: World) -> None:
    world.keep(world.session())
    clients: List[ClientSession] = []
    world.claims = Claims(
        world.clients, lambda *_: clients.append(world.here()))
    world.claim()
    assert clients[0].possession is State.SUPERSEDED
    assert world.is_dropped()


def test_sid_of_other_client_is_refused(world: World) -> None:
    world.keep(world.session())
    world.manager.register('s', 'other', '/', ())
    world.connect('other')
    assert world.refusal() == UNKNOWN_SESSION
    assert not world.is_dropped('other') and world.store.writes == 0


# -- a client that was sent packets ahead of its reply -----------------------

def test_unread_reply_means_unknown_offset(world: World) -> None:
    """Another connection may be about to read its reply: then it is that
    one's."""
    world.keep(world.session(ahead=str(OFFSET)))
    claim = world.claim()
    waits = [event.waits for event in world.events]
    assert waits == [[AHEAD_INTERVAL]] * AHEAD_LOOKS
    assert claim.session.ahead == str(OFFSET)


def test_unread_first_event_means_unknown_offset(world: World) -> None:
    world.keep(world.session(sent=None, ahead=''))
    assert world.claim(None).session.ahead == ''
    assert len(world.events) == AHEAD_LOOKS


def test_read_reply_of_other_connection_counts(world: World) -> None:
    world.keep(world.session(ahead=str(OFFSET)))

    def read() -> None:
        world.keep(world.session(ahead=None, upto=Position(20)))

    world.store.before.extend([lambda: None, lambda: None, read])
    claim = world.claim()
    assert claim.session.ahead is None
    assert len(world.events) == 2


def test_ended_connection_reads_no_reply(world: World) -> None:
    world.keep(world.session(ahead=str(OFFSET), final=True))
    claim = world.claim()
    assert claim.session.ahead == str(OFFSET)
    assert not claim.session.final
    assert world.events == []


def test_later_offset_shows_what_client_has_read(world: World) -> None:
    """The client has read the event at that offset."""
    world.keep(world.session(ahead='3-0'))
    claim = world.claim()
    assert claim.session.ahead == '3-0'
    assert world.events == []


def test_later_events_of_other_connection_do_not_count(world: World) -> None:
    world.keep(world.session())
    before_swap(world, lambda: world.keep(world.session(ahead=str(OFFSET))))
    assert world.claim().session.ahead is None
    assert world.events == []
