"""One task sends the answers to all inboxes."""
import logging
import time
from typing import Any, Callable, Dict, Iterator, List

import pytest
import redis

from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.stream import inbox_writer as module
from redis_streams_adapter.stream.inbox_writer import InboxWriter

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..scripted import Break, ScriptedServers


class Server(ScriptedServers):
    """A server with inboxes."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        #: The values and numbers that were stored, by key.
        self.stored: Dict[bytes, List[Any]] = {}
        #: Replies to the next XADDs, instead of the normal ones; executed
        #: before, if ``True``.
        self.replies: List[Any] = []
        self.lost: List[Any] = []

    def answer(self, place: Any, command: Any) -> Any:
        if command[0] == b'PEXPIRE':
            return 1
        assert command[0] == b'XADD'
        if self.replies:
            return self.replies.pop(0)
        key, fields = command[1], dict(zip(command[3::2], command[4::2]))
        self.stored.setdefault(key, []).append(
            (fields[b'name'], int(fields[b'seq'])))
        if self.lost:
            raise self.lost.pop()
        return b'1-1'


@pytest.fixture
def server() -> Server:
    return Server()


class Sending:
    """A writer, its task, and what went elsewhere."""

    def __init__(self, server: Server,
                 logger: Callable[[], logging.Logger]) -> None:
        self.elsewhere: List[bytes] = []
        self.writer = InboxWriter(server.driver(), ThreadEngine(), logger)
        self.task = Task(
            'inbox writer', self.writer.work, ThreadEngine(), None, logger)

    def put(self, name: bytes, key: str = 'k') -> None:
        self.writer.put(key, (b'name', name),
                        lambda: self.elsewhere.append(name))

    def flush(self) -> None:
        assert self.writer.flush(time.monotonic() + DEADLINE)


@pytest.fixture
def sending(server: Server, logger: Callable[[], logging.Logger]
            ) -> Iterator[Sending]:
    sending = Sending(server, logger)
    yield sending
    sending.task.stop()
    sending.writer.interrupt()
    assert not sending.task.begun or sending.task.join(DEADLINE)


def names(server: Server, key: bytes = b'k') -> List[bytes]:
    return [name for name, _ in server.stored.get(key, [])]


def test_answers_are_numbered_and_expire(server: Server,
                                         sending: Sending) -> None:
    assert sending.writer.idle
    for number in range(3):
        sending.put(b'%d' % number)
    sending.put(b'other', 'o')
    assert not sending.writer.idle
    sending.task.start()
    sending.flush()
    assert server.stored == {
        b'k': [(b'0', 1), (b'1', 2), (b'2', 3)], b'o': [(b'other', 4)]}
    assert [each for each in server.commands() if each[0] == b'PEXPIRE'] == [
        (b'PEXPIRE', key, b'120000') for key in (b'k', b'o')]
    assert sending.writer.dropped == 0


def test_many_answers_go_in_several_pipelines(server: Server,
                                              sending: Sending) -> None:
    sent = [b'%d' % number for number in range(2 * module.BATCH + 1)]
    for name in sent:
        sending.put(name)
    sending.task.start()
    sending.flush()
    assert names(server) == sent


def test_broken_connection(server: Server, sending: Sending) -> None:
    """All is sent again, in order and with the same numbers."""
    for name in b'a', b'b', b'c':
        sending.put(name)
    server.lost = [Break()]
    sending.task.start()
    sending.flush()
    found = server.stored[b'k']
    assert found[-3:] == [(b'a', 1), (b'b', 2), (b'c', 3)]
    assert set(found[:-3]) <= {(b'a', 1), (b'b', 2), (b'c', 3)}
    assert sending.elsewhere == [] and sending.writer.dropped == 0


def test_answer_that_breaks_each_connection(
        server: Server, sending: Sending) -> None:
    """Redis closes the connection over what is too large. The others are sent
    at once, in their order."""
    normal = server.answer

    def answer(place: Any, command: Any) -> Any:
        return Break() if b'large' in command else normal(place, command)

    server.reply = answer
    for name in (b'a', b'large', b'b', b'c'):
        sending.put(name)
    sending.task.start()
    sending.flush()
    # The reader drops what it has had.
    assert list(dict.fromkeys(names(server))) == [b'a', b'b', b'c']
    assert sending.writer.dropped == 1 and not sending.elsewhere


def test_refused_answer_goes_elsewhere(server: Server,
                                       sending: Sending) -> None:
    server.replies = [redis.ResponseError('OOM command not allowed')]
    sending.put(b'a')
    sending.put(b'b')
    sending.task.start()
    sending.flush()
    assert sending.elsewhere == [b'a']
    assert names(server) == [b'b']
    assert sending.writer.accepts


def test_answer_that_may_be_stored_does_not_go_elsewhere(
        server: Server, sending: Sending) -> None:
    server.replies = [Break(), redis.ResponseError('OOM')]
    sending.put(b'a')
    sending.task.start()
    sending.flush()
    assert sending.elsewhere == []
    assert sending.writer.dropped == 1


def test_without_the_right(server: Server, sending: Sending,
                           caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    error = redis.exceptions.NoPermissionError(
        "User a has no permissions to run the 'xadd' command")
    server.replies = [error, error]
    sending.put(b'a')
    sending.put(b'b')
    sending.task.start()
    sending.flush()
    assert sending.elsewhere == [b'a', b'b']
    assert not sending.writer.accepts
    assert len([each for each in caplog.records
                if 'may not write' in each.getMessage()]) == 1
    # What is sent all the same shows when it has the right.
    sending.put(b'c')
    sending.flush()
    assert sending.writer.accepts
    assert caplog.records[-1].event == 'answers_allowed'  # type: ignore


def test_old_answers_are_dropped(server: Server, sending: Sending,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'PATIENCE', -1.0)
    sending.put(b'old')
    monkeypatch.undo()
    sending.put(b'new')
    sending.task.start()
    sending.flush()
    assert names(server) == [b'new']
    assert sending.writer.dropped == 1


def test_answer_that_becomes_old_on_the_way(
        server: Server, sending: Sending,
        monkeypatch: pytest.MonkeyPatch) -> None:
    server.away = [None]
    sending.put(b'a')
    sending.task.start()
    wait_until(lambda: sending.task.restarts)
    monkeypatch.setattr(module, 'PATIENCE', -1.0)
    server.away = []
    sending.flush()
    assert names(server) == [b'a']


def test_too_many_bytes(sending: Sending,
                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'FULL', 3 * module.OVERHEAD)
    monkeypatch.setattr(module, 'CROWDED', module.OVERHEAD)
    sending.put(b'a')
    assert sending.writer.crowded
    sending.put(b'b')
    sending.put(b'c')
    assert sending.writer.dropped == 1
    sending.task.start()
    sending.flush()
    wait_for_value(lambda: sending.writer.crowded, False)


def test_flush_in_vain(sending: Sending) -> None:
    sending.put(b'a')
    assert not sending.writer.flush(time.monotonic() + 0.01)
    assert not sending.writer.flush(time.monotonic() - 1)
