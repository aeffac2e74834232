"""One node at a time claims a session, whichever node had its client."""
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
    Refusal, REJECTED, SUPERSEDES, UNKNOWN_SESSION
from redis_streams_adapter.recovery.states import State
from redis_streams_adapter.stream.session_store import Found

from .claiming import entry, OFFSET, PID, Fakes


@pytest.fixture
def fakes(logger: Callable[[], logging.Logger]) -> Fakes:
    return Fakes(logger)


# -- a client of another node ------------------------------------------------

def test_session_is_claimed(fakes: Fakes) -> None:
    session = fakes.session(rooms=('s', 'a'), data={'name': 'x'})
    fakes.keep(session)
    claim = fakes.claim()
    assert claim.session.claim not in ('', session.claim)
    # All other fields stay for the next node that claims it.
    assert claim.session == session._replace(claim=claim.session.claim)
    assert fakes.stored() == claim.session
    assert fakes.store.values[PID] == claim.value
    assert claim.start == Position(10)
    assert claim.found.last == Position(29)


def test_superseded_claim_is_announced(fakes: Fakes) -> None:
    fakes.keep(fakes.session())
    claim = fakes.claim()
    assert fakes.published == [('/', DisconnectSockets(
        Target(('s',), (), {SUPERSEDES: 'claim of s'}), True))]
    assert not fakes.claims.is_superseded(claim)
    # The next claim by this node is announced, too.
    again = fakes.claim()
    assert again.session.claim != claim.session.claim
    assert fakes.claims.is_superseded(claim)
    assert not fakes.claims.is_superseded(again)


def test_missing_session_is_unknown(fakes: Fakes) -> None:
    assert fakes.refusal() == UNKNOWN_SESSION
    assert fakes.published == [] and fakes.store.writes == 0


@pytest.mark.parametrize('raw', [
    b'nonsense', 'of another client', 'of another namespace',
    'of another application'])
def test_session_of_other_client_is_refused(fakes: Fakes, raw: Any) -> None:
    foreign = Fakes(fakes.manager._get_logger)
    if raw == 'of another application':
        foreign.writer.codec._application = Application('other', 0)
    session = fakes.session()._replace(**{
        'of another client': {'pid': 'p'},
        'of another namespace': {'namespace': '/chat'}}.get(raw, {}))
    fakes.store.values[PID] = raw if isinstance(raw, bytes) \
        else foreign.keep(session)
    assert fakes.refusal() == UNKNOWN_SESSION
    assert fakes.published == [] and fakes.store.writes == 0
    assert len(fakes.log_texts) == 1
    assert PID not in fakes.log_texts[0]


def test_client_that_is_not_accepted_keeps_session(fakes: Fakes) -> None:
    sids: List[str] = []

    def accepts(sid: str) -> bool:
        sids.append(sid)
        return False

    value = fakes.keep(fakes.session())
    client = fakes.here()
    assert fakes.refusal(accepts=accepts) == REJECTED
    assert sids == ['s']
    # So far, nothing has changed.
    assert fakes.store.values[PID] == value
    assert client.is_held and not fakes.is_dropped()


def test_session_too_large_for_node_is_not_claimed(logger: Any) -> None:
    """This node has a smaller limit than the node that wrote it."""
    fakes, other = Fakes(logger, max_bytes=400), Fakes(logger)
    fakes.store.values[PID] = other.keep(fakes.session(data='x' * 400))
    assert fakes.refusal() == UNKNOWN_SESSION
    assert len(fakes.log_texts) == 1
    assert fakes.published == [] and fakes.store.writes == 0


def before_swap(fakes: Fakes, what: Callable[[], Any]) -> None:
    """Call a function just before the next attempt to claim the session."""
    swap = fakes.store.swap

    def do(swaps: Any) -> Any:
        fakes.store.swap = swap  # type: ignore[method-assign]
        what()
        return swap(swaps)

    fakes.store.swap = do  # type: ignore[method-assign]


def test_session_changed_during_claim_is_claimed_again(fakes: Fakes) -> None:
    """The claim returns the state that the other node has written."""
    fakes.keep(fakes.session())
    before_swap(fakes, lambda: fakes.keep(
        fakes.session(data={'newer': 1}, claim='newer')))
    claim = fakes.claim()
    assert claim.session.data == {'newer': 1}
    assert fakes.published == [('/', DisconnectSockets(
        Target(('s',), (), {SUPERSEDES: 'newer'}), True))]


def test_endless_changes_end_claim(fakes: Fakes) -> None:
    fakes.keep(fakes.session())
    fakes.store.swap = lambda swaps: [0]  # type: ignore[method-assign]
    assert fakes.refusal() == UNKNOWN_SESSION
    looks = len(fakes.store.calls)
    assert ATTEMPTS <= looks <= ATTEMPTS + AHEAD_LOOKS
    assert fakes.published == []


def test_session_expired_during_claim_is_unknown(fakes: Fakes) -> None:
    fakes.keep(fakes.session())
    before_swap(fakes, fakes.store.values.clear)
    assert fakes.refusal() == UNKNOWN_SESSION
    assert [name for name, _ in fakes.store.calls] == ['find', 'swap']
    assert fakes.published == []


# -- Redis -------------------------------------------------------------------

def test_claim_is_retried_on_new_connection(fakes: Fakes) -> None:
    fakes.keep(fakes.session())
    fakes.store.faults.append('before')
    assert fakes.claim().session.sid == 's'


@pytest.mark.parametrize('what', ['reader', 'store'])
def test_claim_fails_while_redis_is_away(fakes: Fakes, what: str) -> None:
    waits: List[float] = []

    def wait(timeout: float) -> bool:
        waits.append(timeout)
        return False

    fakes.keep(fakes.session())
    if what == 'reader':
        fakes.runtime.await_connection = wait
    else:
        fakes.store.wait = wait  # type: ignore[method-assign]
    fakes.store.faults.append('before')
    with pytest.raises(Unavailable):
        fakes.claim()
    assert waits == [CONNECT_PATIENCE]
    assert fakes.store.calls == []


# -- the position from which the client continues ----------------------------

@pytest.mark.parametrize('offset, start', [
    (Position(9), 10), (Position(5), 5), (Position(3), 7), (None, 1)])
def test_claim_returns_position(fakes: Fakes, offset: Optional[Position],
                                start: int) -> None:
    fakes.keep(fakes.session(gap=Gap(Position(3), Position(7))))
    assert fakes.claim(offset).start == Position(start)


def remember(fakes: Fakes, floor: int, *numbers: int) -> None:
    """Keep all entries after a position in memory."""
    history = fakes.timeline().history
    history.serve(['/'], Position(floor))
    for number in numbers:
        history.add('/', Record(Position(number), Broadcast(('x',))))


@pytest.mark.parametrize('in_memory, offset, refused', [
    # Trimmed up to 11: the entry after 10 is gone.
    (None, 9, True), (10, 9, False), (11, 9, True),
    # The entry at the offset itself has to exist.
    (4, 5, False), (5, 5, True)])
def test_position_before_trim_is_refused(fakes: Fakes,
                                         in_memory: Optional[int], offset: int,
                                         refused: bool) -> None:
    fakes.keep(fakes.session())
    del fakes.store.entries[:11]
    if in_memory is not None:
        remember(fakes, in_memory, *range(in_memory + 1, 30))
    if refused:
        assert fakes.refusal(Position(offset)) == OFFSET_NOT_FOUND
        assert fakes.published == [] and fakes.store.writes == 0
    else:
        fakes.claim(Position(offset))


@pytest.mark.parametrize('upto, floor, refused', [
    # The node has read the former stream up to 20-5, and the new one from
    # 15-0 on. The entry exists or not.
    (Position(17), 14, False), (Position(17, 1), 14, True),
    # The entry may be lost, although new entries were not read either.
    (Position(13, 1), 14, True), (Position(13), 14, False),
    # All later entries were read.
    (Position(14, 1), None, False),
    # The former stream ended before.
    (Position(21, 1), 14, False)])
def test_position_of_former_stream_is_refused(
        fakes: Fakes, upto: Position, floor: Optional[int],
        refused: bool) -> None:
    fakes.keep(fakes.session(upto=upto))
    history = fakes.timeline().history
    history.serve(['/'], Position(1))
    history.restart(Position(14, 2) if floor is None else Position(
        floor, 1), Position(20, 5))
    if refused:
        assert fakes.refusal() == OFFSET_NOT_FOUND
        assert fakes.published == [] and fakes.store.writes == 0
    else:
        claim = fakes.claim()
        assert (claim.start, claim.restarts) == (upto, 1)


def restart_after_find(fakes: Fakes) -> None:
    """The reader finds that the stream is another one, just after Redis was
    asked for the first time."""
    find, history = fakes.store.find, fakes.timeline().history
    history.serve(['/'], Position(1))

    def do(*args: Any) -> Found:
        fakes.store.find = find  # type: ignore[method-assign]
        found = find(*args)
        history.restart(Position(14, 2), Position(20, 5))
        return found

    fakes.store.find = do  # type: ignore[method-assign]


@pytest.mark.parametrize('upto, refused', [
    (Position(17), False), (Position(17, 1), True)])
def test_new_stream_during_claim(fakes: Fakes, upto: Position,
                                 refused: bool) -> None:
    """Redis is asked again."""
    fakes.keep(fakes.session(upto=upto))
    restart_after_find(fakes)
    if refused:
        assert fakes.refusal() == OFFSET_NOT_FOUND
        assert fakes.store.writes == 0
    else:
        assert fakes.claim().restarts == 1
        assert fakes.store.writes == 1


@pytest.mark.parametrize('upto, refused', [
    (Position(17), False), (Position(17, 1), True)])
def test_new_stream_after_claim(fakes: Fakes, upto: Position,
                                refused: bool) -> None:
    """The client goes on in the new stream, if its position is one of it."""
    fakes.keep(fakes.session(upto=upto))
    claim = fakes.claim()
    history = fakes.timeline().history
    history.serve(['/'], Position(1))
    history.restart(Position(14, 2), Position(20, 5))
    fakes.store.entries.append(entry(40))
    if refused:
        with pytest.raises(Refusal) as caught:
            fakes.claims.check_again(claim, '/', OFFSET)
        assert caught.value.reason == OFFSET_NOT_FOUND
    else:
        again = fakes.claims.check_again(claim, '/', OFFSET)
        assert (again.session, again.value, again.start) \
            == (claim.session, claim.value, claim.start)
        assert (again.restarts, again.found.last) == (1, Position(40))


@pytest.mark.parametrize('position, upto, refused', [
    (29, Position(30), True), (30, Position(30), False),
    (1, Position(29), False)])
@pytest.mark.parametrize('is_empty', [False, True])
def test_position_after_end_of_stream_is_refused(
        fakes: Fakes, position: int, upto: Position, refused: bool,
        is_empty: bool) -> None:
    """It belongs to a former stream, unless this node has read it, too."""
    fakes.keep(fakes.session(upto=upto))
    remember(fakes, 1)
    fakes.timeline().position = Position(position)
    if is_empty:
        fakes.store.entries.clear()
        refused = upto > Position(position)
        fakes.keep(fakes.session(upto=upto, sent=None))
    if refused:
        assert fakes.refusal(
            None if is_empty else OFFSET) == OFFSET_NOT_FOUND
    else:
        fakes.claim(None if is_empty else OFFSET)


def test_entry_added_after_query_of_end_is_known(fakes: Fakes) -> None:
    fakes.keep(fakes.session(upto=Position(30)))
    remember(fakes, 1)
    fakes.timeline().position = Position(29)
    found = fakes.store.find

    def find(*args: Any) -> Any:
        result = found(*args)
        fakes.store.entries.append(entry(30))
        return result

    fakes.store.find = find  # type: ignore[method-assign]
    assert fakes.claim().start == Position(30)


def test_offset_without_entry_is_refused(fakes: Fakes) -> None:
    fakes.keep(fakes.session())
    assert fakes.refusal(Position(5, 1)) == OFFSET_NOT_FOUND
    assert fakes.refusal(Position(0, 5)) == OFFSET_NOT_FOUND


def anonymous(fakes: Fakes, **more: str) -> None:
    """Store a session without an application, as Node.js and older versions
    of this package write it."""
    fakes.store.values[PID] = fakes.writer.codec._encode({
        'sid': 's', 'pid': PID, 'rooms': ['s'], 'data': {}, **more})


@pytest.mark.parametrize('what, refused', [
    (entry(5), False), (entry(5, '/chat'), True),
    (entry(5, message=SocketsJoin(EVERYONE, ('a',))), True),
    (Entry(Position(5), [b'no', b'message']), True)],
    ids=['event', 'namespace', 'command', 'nonsense'])
def test_offset_identifies_client_of_node_js(
        fakes: Fakes, what: Entry, refused: bool) -> None:
    """The client has received an event of this application."""
    anonymous(fakes)
    fakes.store.entries[4] = what
    if refused:
        assert fakes.refusal(Position(5)) == OFFSET_NOT_FOUND
        assert fakes.store.writes == 0
    else:
        assert fakes.claim(Position(5)).start == Position(5)


def test_event_in_memory_needs_no_lookup(fakes: Fakes) -> None:
    anonymous(fakes)
    remember(fakes, 1, 5)
    fakes.claim(Position(5))
    assert fakes.store.pages == []


def test_client_of_node_js_without_offset_is_refused(fakes: Fakes) -> None:
    for since in ({}, {'since': '1-0'}):
        anonymous(fakes, **since)
        assert fakes.refusal(None) == OFFSET_NOT_FOUND


def test_missing_entry_of_offset_of_node_js_is_refused(fakes: Fakes) -> None:
    """The next entry may belong to another application."""
    anonymous(fakes, since='1-0', sent='5-0', upto='10-0')
    del fakes.store.entries[4]
    assert fakes.refusal(Position(5)) == OFFSET_NOT_FOUND


# -- a client of this node ---------------------------------------------------

def test_local_client_is_taken_over(fakes: Fakes) -> None:
    value = fakes.keep(fakes.session())
    client = fakes.here(data={'newer': 1}, rooms={'s', 'newer'})
    claim = fakes.claim()
    assert fakes.is_dropped()
    assert client.possession is State.SUPERSEDED
    assert fakes.progressed == [client]
    # Redis may not have the latest state yet.
    assert claim.session.data == {'newer': 1}
    assert claim.session.rooms == ('newer', 's')
    assert fakes.stored() == claim.session
    assert fakes.store.values[PID] == claim.value != value
    # No other node has the client, so no node needs an announcement.
    assert fakes.published == []


def test_local_session_not_yet_in_redis_is_claimed(fakes: Fakes) -> None:
    fakes.here(data={'newer': 1})
    assert fakes.claim().session.data == {'newer': 1}
    assert fakes.stored().data == {'newer': 1}


def test_state_left_by_disconnect_counts(fakes: Fakes) -> None:
    client = fakes.here()
    client.rooms.add('left')
    fakes.manager.clients.clear()
    fakes.local.unregister(client)
    client.rooms.add('too late')
    assert fakes.claim().session.rooms == ('left', 's')


def test_wait_for_disconnect_handler_is_limited(fakes: Fakes) -> None:
    fakes.here()
    fakes.server.eio.sockets['e'].on_close = lambda: None
    value = fakes.keep(fakes.session())
    assert fakes.refusal() == UNKNOWN_SESSION
    gone: Any = fakes.local.of_pid(PID)
    assert gone.gone.waits == [PATIENCE]
    assert fakes.store.values[PID] == value
    assert len(fakes.log_texts) == 1


def test_client_gone_without_state_is_unknown(fakes: Fakes) -> None:
    """An exception struck before the state was copied."""
    client = fakes.here()
    fakes.server.eio.sockets['e'].on_close = client.gone.set
    value = fakes.keep(fakes.session())
    assert fakes.refusal() == UNKNOWN_SESSION
    assert fakes.store.values[PID] == value


@pytest.mark.parametrize('why', ['discarded', 'of another namespace'])
def test_disconnected_client_is_not_claimed(fakes: Fakes, why: str) -> None:
    """Its session may still exist in Redis."""
    fakes.keep(fakes.session())
    client = fakes.here(
        namespace='/chat' if why == 'of another namespace' else '/')
    if why == 'discarded':
        fakes.local.discard(client)
    assert fakes.refusal() == UNKNOWN_SESSION
    assert not fakes.is_dropped() and fakes.store.writes == 0


def test_state_of_later_node_counts(fakes: Fakes) -> None:
    """The other node's state counts even before this node has read its
    claim."""
    fakes.keep(fakes.session(claim='of another', data={'newer': 1}))
    client = fakes.here(data={'older': 1})
    claim = fakes.claim()
    assert client.possession is State.SUPERSEDED
    assert fakes.is_dropped()
    assert claim.session.data == {'newer': 1}
    (_, message), = fakes.published
    assert message.target.flags == {  # type: ignore[union-attr]
        SUPERSEDES: 'of another'}


def test_state_lost_by_redis_is_not_replaced_by_older_one(
        fakes: Fakes) -> None:
    """The local state is older than the lost one."""
    fakes.local.supersede(fakes.here())
    assert fakes.refusal() == UNKNOWN_SESSION
    assert fakes.store.writes == 0


def test_session_registered_during_lookup_is_found_again(fakes: Fakes) -> None:
    """The state that was found is older than the registered one."""
    fakes.keep(fakes.session())
    find = fakes.store.find

    def find_too_early(*args: Any) -> Found:
        found = find(*args)
        fakes.store.find = find  # type: ignore[method-assign]
        fakes.here(claim='newer', data='here')
        fakes.keep(fakes.session(claim='newer', data='written before'))
        return found

    fakes.store.find = find_too_early  # type: ignore[method-assign]
    assert fakes.claim().session.data == 'here'
    assert fakes.is_dropped()
    assert fakes.published == []


def test_session_registered_during_accepts_is_found_again(
        fakes: Fakes) -> None:
    fakes.keep(fakes.session())

    def accepts(sid: str) -> bool:
        if fakes.local.of_pid(PID) is None:
            fakes.here(data={'newer': 1})
        return True

    assert fakes.claim(accepts=accepts).session.data == {'newer': 1}
    assert fakes.is_dropped()


@pytest.mark.parametrize('claim, data', [
    ('claim of s', 'left here'), ('of another', 'of another')])
def test_session_written_during_claim_is_claimed_again(
        fakes: Fakes, claim: str, data: str) -> None:
    """It was written by this node, which has lost the client since, or by
    another node that had the client in between."""
    fakes.keep(fakes.session())
    fakes.here(data='left here')
    before_swap(fakes, lambda: fakes.keep(
        fakes.session(claim=claim, data='of another')))
    assert fakes.claim().session.data == data
    assert fakes.stored().data == data


def test_session_registered_during_claim_is_found_again(fakes: Fakes) -> None:
    fakes.keep(fakes.session())
    clients: List[ClientSession] = []
    fakes.claims = Claims(
        fakes.clients, lambda *_: clients.append(fakes.here()))
    fakes.claim()
    assert clients[0].possession is State.SUPERSEDED
    assert fakes.is_dropped()


def test_sid_of_other_client_is_refused(fakes: Fakes) -> None:
    fakes.keep(fakes.session())
    fakes.manager.register('s', 'other', '/', ())
    fakes.connect('other')
    assert fakes.refusal() == UNKNOWN_SESSION
    assert not fakes.is_dropped('other') and fakes.store.writes == 0


# -- a client that was sent packets before its reply -------------------------

def test_unread_reply_means_unknown_offset(fakes: Fakes) -> None:
    """Another connection may be about to read its reply. It then keeps the
    client."""
    fakes.keep(fakes.session(ahead=str(OFFSET)))
    claim = fakes.claim()
    waits = [event.waits for event in fakes.events]
    assert waits == [[AHEAD_INTERVAL]] * AHEAD_LOOKS
    assert claim.session.ahead == str(OFFSET)


def test_unread_first_event_means_unknown_offset(fakes: Fakes) -> None:
    fakes.keep(fakes.session(sent=None, ahead=''))
    assert fakes.claim(None).session.ahead == ''
    assert len(fakes.events) == AHEAD_LOOKS


def test_read_reply_of_other_connection_counts(fakes: Fakes) -> None:
    fakes.keep(fakes.session(ahead=str(OFFSET)))

    def read() -> None:
        fakes.keep(fakes.session(ahead=None, upto=Position(20)))

    fakes.store.before.extend([lambda: None, lambda: None, read])
    claim = fakes.claim()
    assert claim.session.ahead is None
    assert len(fakes.events) == 2


def test_ended_connection_reads_no_reply(fakes: Fakes) -> None:
    fakes.keep(fakes.session(ahead=str(OFFSET), final=True))
    claim = fakes.claim()
    assert claim.session.ahead == str(OFFSET)
    assert not claim.session.final
    assert fakes.events == []


def test_later_offset_shows_what_client_has_read(fakes: Fakes) -> None:
    """The client has read the event at that offset."""
    fakes.keep(fakes.session(ahead='3-0'))
    claim = fakes.claim()
    assert claim.session.ahead == '3-0'
    assert fakes.events == []


def test_later_events_of_other_connection_do_not_count(fakes: Fakes) -> None:
    fakes.keep(fakes.session())
    before_swap(fakes, lambda: fakes.keep(fakes.session(ahead=str(OFFSET))))
    assert fakes.claim().session.ahead is None
    assert fakes.events == []
