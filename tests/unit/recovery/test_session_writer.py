"""When sessions are written, and when they are no longer ours."""
import logging
import threading
from collections import deque
from types import SimpleNamespace
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, \
    Set, Tuple, Union

import json
import pytest
from hypothesis import given, settings, strategies as st

from redis_streams_adapter.recovery import local_sessions, session_writer, \
    stored_sessions
from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.recovery.session_writer import BATCH, SessionWriter
from redis_streams_adapter.options import RecoveryOptions
from redis_streams_adapter.recovery.stored_sessions import MAX_DOUBTFUL
from redis_streams_adapter.recovery.session import Gap, load_session, Session
from redis_streams_adapter.stream.session_store import ABSENT, CHANGED, DONE, \
    Swap
from redis_streams_adapter.stream.connection import Refused
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.protocol.values import Serialiser

OURS = Application('socket.io', 0)

#: Of the sessions of these tests, in seconds.
DURATION = 120.0
INTERVAL = 5.0

#: Seconds that a wait which ends by itself is given.
AMPLE = 5.0


class FakeSessions:
    """A Redis with nothing but sessions, whose clock stands still."""

    def __init__(self) -> None:
        self.values: Dict[str, bytes] = {}
        #: What was asked, by the name of the method; of each the pids.
        self.calls: List[Tuple[str, List[str]]] = []
        #: For the next calls: whether each works, fails before it is carried
        #: out or behind that, or is refused.
        self.faults: Deque[str] = deque()
        #: Whose sessions a server has that refuses all writes.
        self.refusing: Set[str] = set()
        self.connections = 1
        self.interrupted = False
        self.patience = 0.0
        #: How many bytes the swaps have sent.
        self.sent = 0

    def put(self, pid: str, value: bytes) -> None:
        with self._call('put', [pid]):
            self.values[pid] = value

    def swap(self, swaps: Sequence[Swap]) -> List[Union[int, Refused]]:
        with self._call('swap', [each.pid for each in swaps]):
            self.sent += sum(len(value) for each in swaps
                             for value in (each.new, *each.expected))
            return [Refused('OOM') if each.pid in self.refusing
                    else self._swap(*each) for each in swaps]

    def _swap(self, pid: str, new: bytes, expected: Sequence[bytes]) -> int:
        now = self.values.get(pid)
        if (now or b'') not in expected:
            return ABSENT if now is None else CHANGED
        self.values.pop(pid, None)
        if new:
            self.values[pid] = new
        return DONE

    def touch(self, pids: Sequence[str]) -> List[Union[bool, Refused]]:
        with self._call('touch', list(pids)):
            return [Refused('OOM') if pid in self.refusing
                    else pid in self.values for pid in pids]

    def interrupt(self) -> None:
        self.interrupted = True

    def _call(self, name: str, pids: List[str]) -> Any:
        fault = self.faults.popleft() if self.faults else 'none'
        if fault == 'before':
            raise Unavailable('the connection is broken')
        if fault == 'replaced':
            # By a connection to a Redis that has nothing.
            self.connections += 1
            self.values.clear()
        if fault.startswith('refused'):
            raise Refused(fault)
        self.calls.append((name, pids))
        return _Failing(fault == 'after')

    @property
    def writes(self) -> int:
        """How many sessions were written, or tried to."""
        return sum(len(pids) for name, pids in self.calls
                   if name in ('put', 'swap'))


class _Failing:
    """What is done in it is done, and then told or not."""

    def __init__(self, fails: bool) -> None:
        self._fails = fails

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        if self._fails:
            raise Unavailable('the connection is broken')


class OneRound:
    """Stands for a task that is stopped when it has been through once."""

    def __init__(self) -> None:
        self.stopping = False

    def works(self) -> None:
        self.stopping = True


class House:
    """A keeper, and the clients whose sessions it keeps."""

    def __init__(self, store: FakeSessions, logger: Any,
                 max_bytes: int = 65_536) -> None:
        self.store = store
        #: Where all clients are in the stream.
        self.position = Position(100)
        self.sent: Optional[bytes] = None
        self.gap: Optional[Gap] = None
        self.writer = SessionWriter(
            store, ThreadEngine(),  # type: ignore[arg-type]
            RecoveryOptions(DURATION, max_session_bytes=max_bytes), INTERVAL,
            Serialiser(json, False), OURS, self.describe, self.progress,
            logger)
        self.local = self.writer.local

    @staticmethod
    def describe(client: ClientSession) -> Session:
        return Session(
            client.sid, client.pid, tuple(sorted(map(str, client.rooms))),
            {} if client.data is None else client.data, client.namespace,
            client.claim, flask=client.flask)

    def progress(self, client: ClientSession) -> None:
        client.obeyed = self.position
        if client.is_settled:
            client.upto, client.sent = self.position, self.sent
            client.gap = self.gap

    def enter(self, sid: str = 's', namespace: str = '/',
              connection: str = 'e', pid: str = '') -> ClientSession:
        client = ClientSession(
            (sid, connection), namespace, pid or f'pid of {sid}', 'claim',
            upto=Position(1), gone=threading.Event(), since=Position(0, 1))
        self.local.register(client)
        return client

    def stays(self, sid: str = 's') -> ClientSession:
        """A client that has connected in good weather."""
        client = self.enter(sid)
        self.writer.write_first(client)
        self.local.settle(client)
        self.round()
        self.store.calls.clear()
        return client

    def leave(self, client: ClientSession, intended: bool = False) -> None:
        if intended:
            self.local.discard(client)
        self.local.unregister(client)

    def room(self, client: ClientSession, room: str) -> None:
        client.rooms.add(room)
        self.local.change(client)

    def round(self) -> bool:
        """Let the keeper's task go once through what there is to do.

        :return: whether it could.
        """
        self.writer._work_there.set()
        try:
            self.writer.work(OneRound())  # type: ignore[arg-type]
        except Unavailable:
            return False
        return True

    def kept(self, client: ClientSession) -> Optional[Session]:
        """What Redis has of a client."""
        value = self.store.values.get(client.pid)
        return value and load_session(  # type: ignore[return-value]
            value, client.pid, client.namespace, OURS)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the keeper takes for the time: ``clock.now``."""
    clock = SimpleNamespace(now=1000.0)
    show(clock, monkeypatch)
    return clock


def show(clock: Any, patch: pytest.MonkeyPatch) -> None:
    """Let all that writes sessions see this clock."""
    for module in (local_sessions, session_writer, stored_sessions):
        patch.setattr(module, 'time', SimpleNamespace(
            monotonic=lambda: clock.now))


@pytest.fixture
def store() -> FakeSessions:
    return FakeSessions()


@pytest.fixture
def house(store: FakeSessions, clock: Any,
          logger: Callable[[], logging.Logger]) -> House:
    return House(store, logger)


def taken(store: FakeSessions, client: ClientSession) -> None:
    """Another node takes a client over."""
    result, = store.swap([Swap(
        client.pid, b'of another', [store.values[client.pid]])])
    assert result == DONE
    store.calls.clear()


# -- who is here -------------------------------------------------------------

def test_who_is_here(house: House) -> None:
    local = house.local
    a = house.enter('a')
    chat = house.enter('b', '/chat')
    other = house.enter('c', connection='f')
    assert local.count == 3
    assert local.of_sid('a', '/') is a
    assert local.of_sid('b', '/chat') is chat
    assert local.of_sid('a', '/chat') is None
    assert local.of_sid('nobody', '/') is None
    assert local.of_pid(other.pid) is other
    assert local.of_pid('nobody') is None


# -- when it is written ------------------------------------------------------

def test_one_write_for_each_connect(house: House,
                                    store: FakeSessions) -> None:
    client = house.enter()
    client.data = {'name': 'x'}
    # In its connect handler.
    house.room(client, 'x')
    house.round()
    assert store.calls == []
    house.writer.write_first(client)
    assert house.kept(client) == Session(
        's', 'pid of s', ('s', 'x'), {'name': 'x'}, '/', 'claim', Position(1),
        since=Position(0, 1), obeyed=Position(100))
    house.local.settle(client)
    for _ in range(3):
        assert house.round()
    assert store.calls == [('put', ['pid of s'])]


def test_no_write_for_an_event(house: House, store: FakeSessions,
                               clock: Any) -> None:
    house.stays()
    for number in range(200, 300):
        house.position = house.sent = Position(number)
        house.round()
    assert store.calls == []


def test_what_has_changed_is_written_once(house: House,
                                          store: FakeSessions) -> None:
    client = house.stays()
    house.position, house.sent = Position(200), Position(199)
    house.gap = Gap(None, Position(150))
    for number in range(10):
        house.room(client, str(number))
    house.round()
    assert store.calls == [('swap', [client.pid])]
    kept = house.kept(client)
    assert kept is not None and len(kept.rooms) == 11
    # And with it how far the client has come.
    assert (kept.upto, kept.sent, kept.gap, kept.since) == (
        Position(200), Position(199), (None, Position(150)), Position(0, 1))


def test_what_is_as_before_is_not_written(house: House,
                                          store: FakeSessions) -> None:
    client = house.stays()
    house.room(client, 'x')
    client.rooms.discard('x')
    house.local.change(client)
    house.position = Position(200)
    house.round()
    assert store.calls == []


def test_the_reply_comes_before_the_connect_handler(
        house: House, store: FakeSessions) -> None:
    """As with ``always_connect``."""
    client = house.enter()
    house.writer.write_first(client)
    house.room(client, 'x')
    house.round()
    assert store.writes == 1
    house.local.settle(client)
    house.round()
    kept = house.kept(client)
    assert kept is not None and kept.rooms == ('s', 'x')
    assert store.writes == 2


def test_many_at_once(house: House, store: FakeSessions) -> None:
    stays = [house.stays(f's{number}') for number in range(2 * BATCH + 1)]
    for client in stays:
        house.room(client, 'x')
    house.round()
    assert [len(pids) for _, pids in store.calls] == [BATCH, BATCH, 1]
    for client in stays:
        kept = house.kept(client)
        assert kept is not None and 'x' in kept.rooms


def test_its_task_is_woken(house: House) -> None:
    client = house.stays()
    woken = house.writer._work_there
    woken.clear()
    house.room(client, 'x')
    assert woken.is_set()
    woken.clear()
    house.leave(client)
    assert woken.is_set() and client.gone.is_set()


def test_its_task_ends(house: House, store: FakeSessions) -> None:
    task = SimpleNamespace(stopping=False, works=lambda: None)
    thread = threading.Thread(target=house.writer.work, args=(task,))
    thread.start()
    task.stopping = True
    house.writer.interrupt()
    thread.join(10.0)
    assert not thread.is_alive()
    assert store.interrupted


# -- writes without a reply --------------------------------------------------

@pytest.mark.parametrize('fault', ['before', 'after'])
def test_the_first_write_is_in_doubt(house: House, store: FakeSessions,
                                     fault: str) -> None:
    """The client is let in all the same, and it is written later."""
    client = house.enter()
    store.faults.append(fault)
    house.writer.write_first(client)
    house.room(client, 'x')
    house.local.settle(client)
    assert house.round()
    kept = house.kept(client)
    assert kept is not None and kept.rooms == ('s', 'x')
    assert client.is_held and client.doubtful == []


@pytest.mark.parametrize('faults', [
    ['before'], ['after'], ['after', 'before'], ['after'] * 3,
    ['before', 'after', 'before', 'after']])
@pytest.mark.parametrize('intended', [None, False, True])
def test_a_write_is_in_doubt(house: House, store: FakeSessions,
                             faults: List[str],
                             intended: Optional[bool]) -> None:
    client = house.stays()
    store.faults.extend(faults)
    for number, _ in enumerate(faults):
        house.room(client, str(number))
        assert not house.round()
    if intended is not None:
        house.leave(client, intended)
    assert house.round()
    kept = house.kept(client)
    if intended:
        assert kept is None
    else:
        assert kept is not None
        assert len(kept.rooms) == 1 + len(faults)
    assert client.is_held
    assert (house.local.of_pid(client.pid) is None) is (intended is not None)


def test_a_refusal_leaves_no_doubt(house: House,
                                   store: FakeSessions) -> None:
    """Nothing was written, and it is not sent again with the next one."""
    fresh, client = house.enter('fresh'), house.stays()
    store.faults.append('refused: OOM')
    house.writer.write_first(fresh)
    assert fresh.doubtful == []
    for number in range(20):
        house.room(client, str(number))
        store.faults.append('refused: OOM')
        assert not house.round()
        assert client.doubtful == []
    assert house.round()
    kept = house.kept(client)
    assert kept is not None and len(kept.rooms) == 21


def test_what_was_in_doubt_before_stays_so(house: House,
                                           store: FakeSessions) -> None:
    """The same value was sent before, without a reply."""
    client = house.stays()
    house.room(client, 'x')
    for fault in ('after', 'refused: OOM'):
        store.faults.append(fault)
        assert not house.round()
    assert len(client.doubtful) == 1
    assert house.round()
    assert client.is_held and client.doubtful == []


@pytest.mark.parametrize('fault', ['before', 'after'])
@pytest.mark.parametrize('intended', [None, False, True])
def test_doubt_is_bounded(house: House, store: FakeSessions, fault: str,
                          intended: Optional[bool]) -> None:
    """However often a reply is lost, and whatever changes meanwhile."""
    client = house.stays()
    for number in range(50):
        house.room(client, str(number))
        store.faults.append(fault)
        assert not house.round()
        assert len(client.doubtful) <= MAX_DOUBTFUL
    if intended is not None:
        house.leave(client, intended)
    store.sent = 0
    assert house.round() and house.round()
    assert store.sent < 20_000
    kept = house.kept(client)
    if intended:
        assert kept is None
    else:
        assert kept is not None and len(kept.rooms) == 51
    assert client.is_held and client.doubtful == []
    assert (house.local.of_pid(client.pid) is None) is (intended is not None)


def test_all_of_a_batch_is_in_doubt(house: House,
                                    store: FakeSessions) -> None:
    stays = [house.stays(f's{number}') for number in range(BATCH + 10)]
    for client in stays:
        house.room(client, 'x')
    store.faults.append('after')
    assert not house.round()
    assert house.round()
    for client in stays:
        kept = house.kept(client)
        assert kept is not None and kept.rooms[-1] == 'x'
        assert client.is_held


# -- another node has it -----------------------------------------------------

def test_what_was_lost_is_never_written_again(
        house: House, store: FakeSessions, clock: Any) -> None:
    client, other = house.stays(), house.stays('other')
    taken(store, client)
    house.room(client, 'x')
    assert house.round()
    assert not client.is_held and other.is_held
    store.calls.clear()
    house.room(client, 'y')
    clock.now += DURATION
    house.round()
    store.connections += 1
    house.writer.history_is_gone()
    clock.now += INTERVAL
    house.round()
    house.writer.close(AMPLE)
    house.leave(client)
    house.round()
    assert all(client.pid not in pids for _, pids in store.calls)
    assert store.values[client.pid] == b'of another'
    assert house.local.of_pid(client.pid) is None


@pytest.mark.parametrize('intended', [False, True])
def test_it_was_lost_before_it_leaves(house: House, store: FakeSessions,
                                      intended: bool) -> None:
    client = house.stays()
    taken(store, client)
    house.leave(client, intended)
    house.round()
    assert store.values[client.pid] == b'of another'
    assert house.local.of_pid(client.pid) is None
    house.round()
    assert store.writes == 1


def test_we_are_told_that_it_is_lost(house: House,
                                     store: FakeSessions) -> None:
    client = house.stays()
    house.local.supersede(client)
    house.room(client, 'x')
    house.round()
    house.leave(client)
    assert house.local.of_pid(client.pid) is None
    assert store.calls == []
    assert client.gone.is_set()


def test_it_is_lost_before_its_last_session_is_written(
        house: House, store: FakeSessions) -> None:
    """It returns to this node at once."""
    client = house.stays()
    house.leave(client)
    assert house.local.of_pid(client.pid) is client
    house.local.supersede(client)
    assert house.local.of_pid(client.pid) is None
    house.round()
    assert store.calls == []


def test_another_connection_here_has_it(house: House,
                                        store: FakeSessions) -> None:
    """Of two of one name, the one that leaves is forgotten."""
    old = house.stays()
    house.local.supersede(old)
    house.leave(old)
    new = house.enter('s', pid=old.pid)
    new.claim = 'another'
    house.writer.claimed(new, store.values[old.pid])
    house.local.settle(new)
    assert house.local.of_pid(old.pid) is new
    house.local.forget(old)
    assert house.local.of_pid(old.pid) is new
    house.round()
    kept = house.kept(new)
    assert kept is not None and kept.claim == 'another'


def test_a_server_in_node_has_taken_it(house: House,
                                       store: FakeSessions) -> None:
    """It deletes what it takes."""
    client = house.stays()
    del store.values[client.pid]
    house.room(client, 'x')
    house.round()
    assert not client.is_held
    assert store.values == {}


def test_redis_has_dropped_it(house: House, store: FakeSessions) -> None:
    """We had to connect again since it was seen: it may be another
    Redis."""
    client = house.stays()
    store.values.clear()
    store.connections += 1
    house.room(client, 'x')
    house.round()
    kept = house.kept(client)
    assert kept is not None and client.is_held
    # Now it was seen.
    store.values.clear()
    house.room(client, 'y')
    house.round()
    assert not client.is_held and store.values == {}


def test_redis_was_emptied(house: House, store: FakeSessions) -> None:
    """Without our losing the connection."""
    stays = [house.stays(), house.stays('other')]
    store.values.clear()
    house.writer.history_is_gone()
    house.round()
    assert set(store.values) == {client.pid for client in stays}
    assert store.writes == 2
    house.round()
    assert store.writes == 2


@pytest.mark.parametrize('how', ['touch', 'swap'])
def test_we_see_that_first(house: House, store: FakeSessions, clock: Any,
                           how: str) -> None:
    """It looks as if a server in Node.js had taken them all."""
    client, taken_over = house.stays(), house.stays('other')
    taken(store, taken_over)
    house.room(taken_over, 'x')
    house.round()
    store.values.clear()
    if how == 'swap':
        house.room(client, 'x')
    else:
        clock.now += INTERVAL
    house.round()
    assert not client.is_held and not taken_over.is_held
    house.writer.history_is_gone()
    house.round()
    assert client.is_held and house.kept(client) is not None
    # This one was seen elsewhere.
    assert not taken_over.is_held and house.kept(taken_over) is None


@pytest.mark.parametrize('leaves', [False, True])
def test_the_connection_is_replaced_under_way(
        house: House, store: FakeSessions, leaves: bool) -> None:
    client = house.stays()
    house.room(client, 'x')
    if leaves:
        house.leave(client)
    store.faults.append('replaced')
    house.round()
    house.round()
    kept = house.kept(client)
    assert kept is not None and kept.rooms == ('s', 'x')
    assert client.is_held


# -- it leaves ---------------------------------------------------------------

def test_it_leaves_on_purpose(house: House, store: FakeSessions) -> None:
    client = house.stays()
    house.leave(client, intended=True)
    # It may return before that is written.
    assert house.local.of_pid(client.pid) is client
    assert house.local.of_sid(client.sid, '/') is None
    house.round()
    assert store.values == {}
    assert house.local.of_pid(client.pid) is None
    house.round()
    assert store.writes == 1


def test_it_leaves_before_anything_was_written(
        house: House, store: FakeSessions) -> None:
    client = house.enter()
    house.leave(client, intended=True)
    house.round()
    assert store.values == {}
    assert store.calls == []
    assert house.local.of_pid(client.pid) is None


def test_it_leaves_on_purpose_and_is_gone_already(
        house: House, store: FakeSessions) -> None:
    client = house.stays()
    house.local.discard(client)
    store.values.clear()
    house.leave(client)
    house.round()
    assert house.local.of_pid(client.pid) is None
    assert client.is_held


def test_the_connection_is_lost(house: House, store: FakeSessions,
                                clock: Any) -> None:
    client = house.stays()
    client.upto, client.sent = Position(300), Position(299)
    house.room(client, 'last')
    house.local.leave(client)
    # Whatever changes in its disconnect handler.
    house.room(client, 'too late')
    house.position = Position(400)
    house.leave(client)
    house.round()
    kept = house.kept(client)
    assert kept is not None
    assert kept.rooms == ('last', 's')
    assert (kept.upto, kept.sent) == (Position(300), Position(299))
    assert house.local.of_pid(client.pid) is None
    # Its time runs from now on.
    store.calls.clear()
    clock.now += DURATION
    house.round()
    assert store.calls == []


def test_the_time_to_live_starts_when_it_leaves(
        house: House, store: FakeSessions) -> None:
    """Also where nothing has changed."""
    client = house.stays()
    house.leave(client)
    house.round()
    assert store.calls == [('swap', [client.pid])]


def test_redis_is_away_for_longer_than_it_may_be(
        house: House, store: FakeSessions, clock: Any) -> None:
    """Nobody could come back to it: it is not written any more."""
    client, here = house.stays(), house.stays('here')
    house.leave(client)
    store.faults.extend(['before'] * 2)
    assert not house.round()
    clock.now += DURATION
    assert not house.round()
    assert house.local.of_pid(client.pid) is client
    store.calls.clear()
    clock.now += 1
    assert house.round()
    assert house.local.of_pid(client.pid) is None
    assert all(client.pid not in pids for _, pids in store.calls)
    assert house.local.of_pid(here.pid) is here


# -- it is kept alive --------------------------------------------------------

def test_touch(house: House, store: FakeSessions, clock: Any) -> None:
    stays = [house.stays(), house.stays('other')]
    house.enter('connecting')
    clock.now += INTERVAL - 1
    house.round()
    assert store.calls == []
    clock.now += 1
    house.round()
    assert store.calls == [('touch', [client.pid for client in stays])]
    house.round()
    assert len(store.calls) == 1


def test_many_are_touched(house: House, store: FakeSessions,
                          clock: Any) -> None:
    for number in range(BATCH + 1):
        house.stays(f's{number}')
    clock.now += INTERVAL
    house.round()
    assert [(name, len(pids)) for name, pids in store.calls] == [
        ('touch', BATCH), ('touch', 1)]


def test_touch_finds_that_it_was_taken(house: House, store: FakeSessions,
                                       clock: Any) -> None:
    gone, here = house.stays(), house.stays('other')
    del store.values[gone.pid]
    clock.now += INTERVAL
    house.round()
    assert not gone.is_held and here.is_held
    house.round()
    assert gone.pid not in store.values


def test_touch_finds_that_redis_has_dropped_it(
        house: House, store: FakeSessions, clock: Any) -> None:
    client = house.stays()
    store.values.clear()
    store.connections += 1
    clock.now += INTERVAL
    house.round()
    house.round()
    assert client.is_held
    assert client.pid in store.values


def test_a_touch_fails(house: House, store: FakeSessions,
                       clock: Any) -> None:
    house.stays()
    clock.now += INTERVAL
    store.faults.append('before')
    assert not house.round()
    assert house.round()
    assert [name for name, _ in store.calls] == ['touch']


def test_it_is_kept_alive_first_of_all(house: House, store: FakeSessions,
                                       clock: Any) -> None:
    """That works also where Redis refuses to write."""
    client = house.stays()
    house.room(client, 'x')
    clock.now += INTERVAL
    store.faults.extend(['none', 'refused'])
    assert not house.round()
    assert store.calls == [('touch', [client.pid])]
    assert house.round()
    assert [name for name, _ in store.calls] == ['touch', 'swap']


def test_how_far_it_has_come(house: House, store: FakeSessions,
                             clock: Any) -> None:
    """What its session says must not be older than the stream goes back."""
    client = house.stays()
    house.position, house.sent = Position(500), Position(400)
    began = clock.now
    while clock.now - began <= DURATION / 2:
        kept = house.kept(client)
        assert kept is not None and kept.upto == Position(1)
        clock.now += INTERVAL
        house.round()
    assert [name for name, _ in store.calls] == ['touch'] * 13 + ['swap']
    kept = house.kept(client)
    assert kept is not None
    assert (kept.upto, kept.sent) == (Position(500), Position(400))


def test_soon_after_it_was_taken_over(house: House, store: FakeSessions,
                                      clock: Any) -> None:
    """It says how far the client was before it was away."""
    client = house.enter()
    value = house.writer.codec.encode(client.marked(house.describe(client)))
    store.values[client.pid] = value
    house.writer.claimed(client, value)
    house.writer.write_first(client)
    house.local.settle(client)
    house.round()
    assert store.calls == []
    clock.now += INTERVAL
    house.round()
    assert [name for name, _ in store.calls] == ['touch', 'swap']
    kept = house.kept(client)
    assert kept is not None and kept.upto == Position(100)
    clock.now += INTERVAL
    house.round()
    assert [name for name, _ in store.calls] == ['touch', 'swap', 'touch']


# -- what cannot be kept -----------------------------------------------------

LARGE = {'a': 'x' * 1000}


@pytest.fixture
def small_house(store: FakeSessions, clock: Any,
                logger: Callable[[], logging.Logger]) -> House:
    return House(store, logger, max_bytes=500)


@pytest.mark.parametrize('data, why', [
    (LARGE, 'max_session_bytes is 500'), ({'a': object()}, 'object')])
def test_what_cannot_be_kept(
        small_house: House, store: FakeSessions, clock: Any, data: Any,
        why: str, logged: Callable[[int], List[str]]) -> None:
    """Nothing is kept, rather than something old; the log is told once."""
    house, client = small_house, small_house.stays()
    client.data = data
    for number in range(3):
        house.room(client, str(number))
        house.round()
        clock.now += INTERVAL
    assert store.values == {}
    warning, = logged(logging.WARNING)
    assert client.sid in warning and why in warning
    assert client.pid not in warning
    # Until it can be kept again.
    client.data = {'a': 1}
    house.local.change(client)
    house.round()
    kept = house.kept(client)
    assert kept is not None and kept.data == {'a': 1}
    client.data = data
    house.local.change(client)
    house.round()
    assert store.values == {}
    assert len(logged(logging.WARNING)) == 1


def test_it_could_never_be_kept(
        small_house: House, store: FakeSessions, clock: Any,
        logged: Callable[[int], List[str]]) -> None:
    house, client = small_house, small_house.enter()
    client.data = LARGE
    house.writer.write_first(client)
    house.local.settle(client)
    house.round()
    clock.now += DURATION
    house.round()
    house.leave(client)
    house.round()
    assert store.calls == []
    assert house.local.of_pid(client.pid) is None
    assert len(logged(logging.WARNING)) == 1


def test_check_size(small_house: House) -> None:
    check = small_house.writer.codec.check_size
    check({})
    check(None)
    check({'a': 'x' * 300})
    with pytest.raises(ValueError, match='max_session_bytes is 500'):
        check({'a': 'x' * 400})
    with pytest.raises(TypeError):
        check({'a': object()})
    deep: List[Any] = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ValueError, match='nested'):
        check(deep)


@pytest.mark.parametrize('error', [
    KeyError('x'), RecursionError('x'), RuntimeError('x'), OSError('x')],
    ids=repr)
def test_whatever_an_application_keeps(
        house: House, store: FakeSessions, error: Exception,
        logged: Callable[[int], List[str]]) -> None:
    """It is one client's trouble."""
    bad, good = house.stays('bad'), house.stays('good')

    def describe(client: ClientSession) -> Session:
        if client is bad:
            raise error
        return House.describe(client)

    house.writer._describe = describe
    for client in bad, good:
        house.room(client, 'x')
    assert house.round()
    assert house.kept(bad) is None
    kept = house.kept(good)
    assert kept is not None and kept.rooms == ('good', 'x')
    assert len(logged(logging.WARNING)) == 1


def test_it_changes_while_it_is_serialised(house: House) -> None:
    """A handler runs on another task."""
    client = house.stays()
    serialiser, attempts = house.writer.codec._serialiser, []

    def pack(fields: Dict[str, Any]) -> bytes:
        attempts.append(fields)
        if len(attempts) % 3:
            raise RuntimeError('dictionary changed size during iteration')
        return Serialiser.pack(serialiser, fields)

    serialiser.pack = pack  # type: ignore[method-assign]
    house.room(client, 'x')
    house.round()
    kept = house.kept(client)
    assert kept is not None and kept.rooms == ('s', 'x')
    assert attempts


def test_copy(house: House) -> None:
    """Whatever the application does with it afterwards."""
    client = house.stays()
    client.data = {'a': [1], 2: (3,)}
    session = house.describe(client)
    copy = house.writer.codec.copy(session)
    assert copy == session._replace(data={'a': [1], '2': [3]})
    client.data['a'].append(2)
    assert copy.data['a'] == [1]
    # What cannot be kept is as good as it is.
    client.data['b'] = object()
    assert house.writer.codec.copy(session) is session


def test_redis_refuses(house: House, store: FakeSessions, clock: Any,
                       logged: Callable[[int], List[str]]) -> None:
    """Nobody else may notice; the log is told once, until it is over."""
    client = house.enter()
    store.faults.append('refused: NOPERM')
    house.writer.write_first(client)
    house.local.settle(client)
    for _ in range(3):
        store.faults.append('refused: NOPERM')
        assert not house.round()
    warning, = logged(logging.WARNING)
    assert 'NOPERM' in warning
    store.faults.append('refused: OOM')
    assert not house.round()
    assert len(logged(logging.WARNING)) == 2
    assert house.round()
    assert house.kept(client) is not None
    house.room(client, 'x')
    store.faults.append('refused: OOM')
    assert not house.round()
    assert len(logged(logging.WARNING)) == 3
    # An outage is told by others.
    store.faults.append('before')
    assert not house.round()
    assert len(logged(logging.WARNING)) == 3


def test_one_server_refuses(house: House, store: FakeSessions, clock: Any,
                            logged: Callable[[int], List[str]]) -> None:
    """The sessions that other servers have are written all the same."""
    clients = [house.stays(f's{number}') for number in range(2 * BATCH)]
    store.refusing = {client.pid for client in clients[::2]}
    for attempt in range(3):
        clock.now += INTERVAL
        for client in clients:
            house.room(client, f'room {attempt}')
        assert not house.round()
        for client in clients[1::2]:
            kept = house.kept(client)
            assert kept is not None and f'room {attempt}' in kept.rooms
            assert not client.has_changed
        assert all(client.has_changed and not client.doubtful
                   for client in clients[::2])
    assert len(logged(logging.WARNING)) == 1
    store.refusing.clear()
    assert house.round()
    for client in clients:
        kept = house.kept(client)
        assert kept is not None and len(kept.rooms) == 4
    assert all(client.is_held for client in clients)


# -- the end -----------------------------------------------------------------

def test_close(house: House, store: FakeSessions) -> None:
    stays = [house.stays(f's{number}') for number in range(BATCH + 1)]
    connecting, lost = house.enter('connecting'), house.stays('lost')
    taken(store, lost)
    house.local.supersede(lost)
    leaves = house.stays('leaves')
    house.leave(leaves, intended=True)
    house.position = Position(900)
    house.writer.close(AMPLE)
    assert store.patience == AMPLE
    for client in [*stays, connecting]:
        kept = house.kept(client)
        assert kept is not None and kept.obeyed == Position(900)
        # Who is connecting has not got what it missed.
        assert kept.upto == Position(
            1 if client is connecting else 900)
    assert leaves.pid not in store.values
    assert store.values[lost.pid] == b'of another'


def test_close_while_redis_is_away(
        house: House, store: FakeSessions,
        logged: Callable[[int], List[str]]) -> None:
    house.stays()
    store.faults.append('before')
    house.writer.close(AMPLE)
    assert len(logged(logging.WARNING)) == 1


# -- whatever happens --------------------------------------------------------

EVENTS = st.lists(st.sampled_from([
    'room', 'round', 'round', 'before', 'after', 'reconnect', 'time',
    'emptied', 'taken', 'leave', 'purpose']), max_size=30)


@settings(max_examples=500)
@given(EVENTS)
def test_whatever_happens(events: List[str]) -> None:
    """What another node has is never touched; else Redis has what the client
    is like, in the end."""
    store, clock = FakeSessions(), SimpleNamespace(now=1000.0)
    other = False
    with pytest.MonkeyPatch.context() as patch:
        show(clock, patch)
        house = House(store, lambda: logging.getLogger('tests.unit'))
        client = house.enter()
        house.writer.write_first(client)
        house.local.settle(client)
        for number, event in enumerate(events):
            if event == 'room' and not client.is_leaving:
                house.room(client, str(number))
            elif event == 'round':
                house.round()
            elif event in ('before', 'after'):
                store.faults.append(event)
            elif event == 'reconnect':
                store.connections += 1
            elif event == 'time':
                clock.now += 3 * INTERVAL
            elif event == 'emptied' and not other \
                    and house.local.of_pid(client.pid):
                store.values.clear()
                house.writer.history_is_gone()
            elif event == 'taken' and client.pid in store.values:
                store.values[client.pid] = b'of another'
                other = True
            elif event in ('leave', 'purpose') and not client.is_leaving:
                house.leave(client, intended=event == 'purpose')
            if other:
                assert store.values[client.pid] == b'of another'
        store.faults.clear()
        clock.now += DURATION
        for _ in range(3):
            assert house.round()
    if other:
        assert store.values[client.pid] == b'of another'
        assert not client.is_held or client.is_leaving
    elif clock.now - client.left > DURATION:
        # It could not come back any more: it need not be written.
        assert client.is_leaving
    elif client.is_discarded:
        assert store.values == {}
    else:
        kept = house.kept(client)
        assert kept is not None
        assert kept.rooms == (client.last or house.describe(client)).rooms
    assert (house.local.of_pid(client.pid) is None) is (
        client.is_leaving)


# -- the server shuts down ----------------------------------------------------

def test_what_has_changed_is_waited_for(
        store: FakeSessions, logger: Callable[[], logging.Logger]) -> None:
    house = House(store, logger)
    client = house.stays()
    house.writer.catch_up(AMPLE)
    house.room(client, 'tea')
    task = SimpleNamespace(stopping=False, works=lambda: None)
    thread = threading.Thread(target=house.writer.work, args=(task,))
    waits = threading.Thread(target=house.writer.catch_up, args=(AMPLE,))
    waits.start()
    thread.start()
    waits.join(2 * AMPLE)
    kept = house.kept(client)
    assert kept is not None and 'tea' in kept.rooms
    task.stopping = True
    house.writer.interrupt()
    thread.join(AMPLE)
    # Nobody writes it any more.
    house.room(client, 'cake')
    house.writer.catch_up(0.1)
