"""One task sends the commands of many. tests/integration/stream tests scripts
and keys with a real Redis."""
import logging
import threading
from typing import Any, Callable, Dict, Iterator, List

import pytest
import redis

from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry, Unavailable
from redis_streams_adapter.stream.connection import Refused
from redis_streams_adapter.stream.scripts import NEXT, RANGE
from redis_streams_adapter.stream.session_store import ABSENT, CHANGED, DONE, \
    Found, PIPELINE, SessionStore, Swap

from ...support.wait import DEADLINE, wait_until
from ..nodes import Call
from ..scripted import Break, ScriptedServers


class Store(ScriptedServers):
    """A server with keys, which replies unless it is held."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.values: Dict[bytes, bytes] = {}
        #: Replies that replace the normal ones, by command.
        self.replies: Dict[bytes, Any] = {}
        self.goes_on = threading.Event()
        self.goes_on.set()

    def answer(self, place: Any, command: Any) -> Any:
        self.goes_on.wait(DEADLINE)
        name, key = command[:2]
        if name in self.replies:
            return self.replies[name]
        if name == b'SET':
            self.values[key] = command[2]
        return self.values.get(key)


@pytest.fixture
def server() -> Store:
    return Store()


@pytest.fixture
def sessions(server: Store) -> SessionStore:
    return SessionStore(server.driver(), ThreadEngine(), 'sessions:', 10.0)


@pytest.fixture
def start(sessions: SessionStore, server: Store,
          logger: Callable[[], logging.Logger]
          ) -> Iterator[Callable[[], Task]]:
    """Starts the task, and ends it after the test."""
    task = Task('sessions', sessions.work, ThreadEngine(), None, logger)

    def start_task() -> Task:
        task.start()
        assert task.tried.wait(DEADLINE)
        return task

    yield start_task
    server.goes_on.set()
    task.stop()
    sessions.interrupt()
    assert not task.begun or task.join(DEADLINE)


@pytest.fixture
def task(start: Callable[[], Task]) -> Task:
    return start()


@pytest.mark.usefixtures('task')
def test_put_and_get(sessions: SessionStore, server: Store) -> None:
    assert sessions.get('p') is None
    sessions.put('p', b'1')
    assert sessions.get('p') == b'1'
    assert server.commands()[1] == (
        b'SET', b'sessions:p', b'1', b'PX', b'10000')


@pytest.mark.usefixtures('task')
def test_touch(sessions: SessionStore, server: Store) -> None:
    server.replies[b'PEXPIRE'] = 1
    assert sessions.touch(['a', 'b']) == [True, True]
    assert server.commands() == [
        (b'PEXPIRE', b'sessions:a', b'10000'),
        (b'PEXPIRE', b'sessions:b', b'10000')]
    assert sessions.touch([]) == []


@pytest.mark.usefixtures('task')
@pytest.mark.parametrize('result', [DONE, CHANGED, ABSENT])
def test_swap(sessions: SessionStore, server: Store, result: int) -> None:
    """Each key has its own script call: the keys may be on several servers."""
    server.replies[b'EVAL'] = result
    assert sessions.swap([Swap('p', b'2', [b'1', b'']),
                          Swap('q', b'', [b'1'])]) == [result] * 2
    first, second = server.commands()
    assert first[2:] == (b'1', b'sessions:p', b'2', b'10000', b'1', b'')
    assert second[2:] == (b'1', b'sessions:q', b'', b'10000', b'1')


@pytest.mark.usefixtures('task')
def test_find(sessions: SessionStore, server: Store) -> None:
    server.values[b'sessions:p'] = b'1'
    server.replies[b'EVAL'] = [b'5-0', b'7-0', b'6-0']
    assert sessions.find('p', 's', Position(6)) == Found(
        b'1', True, Position(5), Position(7))
    assert server.commands()[-1] == (b'EVAL', RANGE, b'1', b's', b'6-0')
    server.replies[b'EVAL'] = [b'5-0', b'7-0', None]
    assert sessions.find('p', 's', None) == Found(
        b'1', False, Position(5), Position(7))
    assert server.commands()[-1] == (b'EVAL', RANGE, b'1', b's')
    server.replies[b'EVAL'] = [None] * 3
    assert sessions.find('x', 's', Position(6)) == Found(
        None, False, None, None)


@pytest.mark.usefixtures('task')
def test_page(sessions: SessionStore, server: Store) -> None:
    server.replies[b'XRANGE'] = [[b'5-0', [b'a', b'1']]]
    server.replies[b'EVAL'] = [b'4-0', b'5-0', None]
    assert sessions.page('s', Position(4, 7), 10) == (
        [Entry(Position(5), [b'a', b'1'])], Position(4))
    assert server.commands()[0] == (
        b'XRANGE', b's', b'(4-7', b'+', b'COUNT', b'10')


@pytest.mark.usefixtures('task')
def test_ids(sessions: SessionStore, server: Store) -> None:
    server.replies[b'EVAL'] = [b'4-0', b'5-0', None]
    assert sessions.first_id('s') == Position(4)
    server.replies[b'EVAL'] = [b'5-0']
    assert sessions.next_id('s', Position(4)) == Position(5)
    assert server.commands()[-1] == (b'EVAL', NEXT, b'1', b's', b'4-0')
    server.replies[b'EVAL'] = []
    assert sessions.next_id('s', Position(5)) is None


@pytest.mark.usefixtures('task')
def test_read_in_parts(sessions: SessionStore, server: Store) -> None:
    server.replies[b'EVAL'] = [b'5-0', [1, 2], b'abc']
    assert sessions.read_in_parts('s', b'XRANGE', b'(4-0', b'+') == [
        Entry(Position(5), [b'a', b'bc'])]
    assert server.commands()[-1][-3:] == (b'XRANGE', b'(4-0', b'+')


@pytest.mark.usefixtures('task')
def test_page_before(sessions: SessionStore, server: Store) -> None:
    server.replies[b'XREVRANGE'] = [[b'5-0', [b'a', b'1']]]
    assert sessions.page_before('s', Position(5, 7), 10) == [
        Entry(Position(5), [b'a', b'1'])]
    assert server.commands()[0] == (
        b'XREVRANGE', b's', b'5-7', b'-', b'COUNT', b'10')


@pytest.mark.usefixtures('task')
def test_waiting_commands_are_sent_together(sessions: SessionStore,
                                            server: Store,
                                            monkeypatch: Any) -> None:
    """Each caller gets the replies to its own commands."""
    for number in range(PIPELINE):
        server.values[b'sessions:%d' % number] = b'%d' % number
    batches: List[int] = []
    carry_out = sessions._servers.carry_out

    def counted(commands: Any) -> Any:
        batches.append(len(commands))
        return carry_out(commands)

    monkeypatch.setattr(sessions._servers, 'carry_out', counted)
    server.goes_on.clear()
    calls = [Call(sessions.get, 'first')]
    wait_until(lambda: batches)
    calls += [Call(sessions.get, str(number)) for number in range(PIPELINE)]
    wait_until(lambda: len(sessions._jobs) == PIPELINE)
    server.goes_on.set()
    assert calls[0].result() is None
    for number, call in enumerate(calls[1:]):
        assert call.result() == b'%d' % number
    assert batches == [1, PIPELINE]


@pytest.mark.usefixtures('task')
def test_error_reply_affects_only_its_caller(sessions: SessionStore,
                                             server: Store) -> None:
    server.replies[b'EVAL'] = redis.ResponseError('NOPERM')
    with pytest.raises(Refused, match='NOPERM'):
        sessions.swap([Swap('p', b'2', [b'1'])])
    sessions.put('p', b'1')
    assert sessions.get('p') == b'1'
    assert sessions.connections == 1


@pytest.mark.usefixtures('task')
def test_server_that_refuses_some_writes(sessions: SessionStore,
                                         server: Store) -> None:
    """Other sessions are still written."""
    error = redis.ResponseError('OOM')
    server.reply = lambda place, command: \
        error if b'sessions:q' in command else 1
    first, refused, last = sessions.swap([
        Swap(pid, b'2', [b'1']) for pid in 'pqr'])
    assert first == last == DONE
    assert isinstance(refused, Refused)
    first, refused, last = sessions.touch(['p', 'q', 'r'])
    assert first is last is True
    assert isinstance(refused, Refused)
    with pytest.raises(Refused, match='OOM'):
        sessions.touch(['q'])


def test_connection_that_breaks(sessions: SessionStore, server: Store,
                                task: Task) -> None:
    """No command is sent twice. The next one uses a new connection."""
    server.replies[b'SET'] = Break()
    with pytest.raises(Unavailable):
        sessions.put('p', b'1')
    assert [each[0] for each in server.commands()] == [b'SET']
    del server.replies[b'SET']
    assert sessions.wait(DEADLINE)
    sessions.put('p', b'1')
    assert sessions.connections == 2
    assert task.restarts == 1


@pytest.mark.usefixtures('task')
def test_caller_of_broken_connection_waits_for_the_next(
        sessions: SessionStore, server: Store, monkeypatch: Any) -> None:
    """When the error arrives, the store is no longer connected."""
    is_up, answer = [], sessions._answer

    def note(*args: Any) -> None:
        is_up.append(sessions.wait(0))
        answer(*args)

    monkeypatch.setattr(sessions, '_answer', note)
    server.replies[b'SET'] = Break()
    with pytest.raises(Unavailable):
        sessions.put('p', b'1')
    assert is_up == [False]


def test_outage(sessions: SessionStore, server: Store,
                start: Callable[[], Task]) -> None:
    """No call waits for a reply that cannot come."""
    server.away.append(None)
    start()
    assert not sessions.wait(0)
    with pytest.raises(Unavailable, match='away'):
        sessions.get('p')
    server.away.clear()
    assert sessions.wait(DEADLINE)
    assert sessions.get('p') is None


@pytest.mark.usefixtures('task')
def test_late_reply(sessions: SessionStore, server: Store) -> None:
    sessions.patience = 0.01
    server.goes_on.clear()
    with pytest.raises(Unavailable, match='in time'):
        sessions.get('p')


def test_end_of_the_task(sessions: SessionStore, server: Store,
                         task: Task) -> None:
    """Waiting calls end, and later calls fail at once."""
    server.goes_on.clear()
    calls = [Call(sessions.get, str(number)) for number in range(3)]
    wait_until(lambda: server.sent)
    task.stop()
    sessions.interrupt()
    server.goes_on.set()
    assert task.join(DEADLINE)
    for call in calls:
        try:
            call.result()
        except Unavailable:
            pass
    with pytest.raises(Unavailable):
        sessions.get('p')
    assert not sessions.wait(0)
    assert all(each.closed for each in server.connections)


@pytest.mark.usefixtures('task')
def test_abandon(sessions: SessionStore, server: Store) -> None:
    """After a fork the parent keeps its connection."""
    sessions.abandon()
    sock = server.connections[0]._sock
    assert sock is not None and sock.ended_by == 'close'
