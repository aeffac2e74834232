"""A process notices that a fork made it, whoever forked."""
import logging
import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any, Callable, Iterator, List

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.protocol.messages import MessageType
from redis_streams_adapter.runtime import processes
from redis_streams_adapter.testing.stream import FakeStream

from ...support.wait import DEADLINE
from ..nodes import messages

MakeManager = Callable[..., RedisStreamsManager]


#: Forks, and exits with 0 if the mark was cleared in the child, and only
#: there. A process of its own, with a single thread: after a fork in C,
#: Python's handlers do not run, and the child may wait for a thread that it
#: lacks.
FORK = '''
import ctypes, os, sys
from redis_streams_adapter.runtime import processes

mark = processes.make_mark() if sys.argv[1] == 'page' \\
    else processes.ProcessId()
fork = os.fork if sys.argv[2] == 'Python' else ctypes.PyDLL(None).fork
was_set = mark[0]
child = fork()
if child == 0:
    cleared = not mark[0]
    mark[0] = 1
    os._exit(0 if cleared and mark[0] else 1)
status = os.waitpid(child, 0)[1]
sys.exit(status != 0 or not (was_set and mark[0]))
'''


@pytest.mark.parametrize('fork', ['Python', 'C'])
@pytest.mark.parametrize('kind', ['page', 'process id'])
def test_mark_is_cleared_in_a_child(kind: str, fork: str) -> None:
    subprocess.run([sys.executable, '-c', FORK, kind, fork], check=True,
                   timeout=60)


def test_kernel_without_such_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, 'MADV_WIPEONFORK', 9999)
    assert isinstance(processes.make_mark(), processes.ProcessId)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Pretends that this process is a child."""
    def clear() -> None:
        processes.mark[0] = 0

    yield clear
    processes.mark[0] = 1


def test_a_fork_is_noticed_once(pretend: Callable[[], None]) -> None:
    noticed: List[int] = []

    def act() -> None:
        noticed.append(1)
        processes.mark[0] = 1

    processes.notice_fork(act)
    assert noticed == []
    pretend()
    for _ in range(3):
        processes.notice_fork(act)
    assert noticed == [1]


def test_a_struck_notice_is_repeated(pretend: Callable[[], None]) -> None:
    pretend()

    def act() -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            processes.notice_fork(act)


@pytest.mark.parametrize('call', [
    lambda manager: manager.emit('hello', 1),
    lambda manager: manager.start(),
    lambda manager: manager.flush(1),
    lambda manager: manager.server_count(),
    lambda manager: manager.stats()])
@pytest.mark.parametrize('member', [False, True])
def test_each_call_notices_a_fork(
        make_manager: MakeManager, stream: FakeStream,
        pretend: Callable[[], None], call: Any, member: bool) -> None:
    """The copy of the parent's runtime is not used any more."""
    manager = make_manager()
    manager.emit('hello', 0)
    if member:
        manager.start()
    parent = manager._live()
    lock = manager._lifecycle._lock
    pretend()
    call(manager)
    assert processes.mark[0]
    runtime = manager._live()
    assert runtime is not parent and runtime.uid != parent.uid
    assert manager._lifecycle._lock is not lock
    manager.close()


def test_child_does_not_close_its_parents_runtime(
        make_manager: MakeManager, pretend: Callable[[], None]) -> None:
    manager = make_manager()
    manager.start()
    parent = manager._live()
    pretend()
    manager.close()
    assert not parent.closed
    parent.close(0.1)


# -- which emits wait --------------------------------------------------------

def emits_wait(manager: RedisStreamsManager, stream: FakeStream) -> bool:
    """Whether the stream has an event when emit returns; each of some."""
    before = len(messages(stream, MessageType.BROADCAST))
    waited = []
    for number in range(1, 4):
        manager.emit('hello', number)
        waited.append(len(messages(
            stream, MessageType.BROADCAST)) == before + number)
    assert manager.flush(DEADLINE)
    return manager._live().sync and all(waited)


def test_emit_waits_until_the_process_joins(
        make_manager: MakeManager, stream: FakeStream) -> None:
    manager = make_manager()
    assert emits_wait(manager, stream)
    manager.start()
    assert not emits_wait(manager, stream)
    manager.close()
    manager.start()
    assert not emits_wait(manager, stream)


def test_emit_waits_in_a_child_until_it_joins_itself(
        make_manager: MakeManager, stream: FakeStream,
        pretend: Callable[[], None]) -> None:
    """A job is a child of a worker, which may be a member."""
    manager = make_manager()
    manager.start()
    parent = manager._live()
    pretend()
    assert emits_wait(manager, stream)
    assert manager._live().member
    manager.start()
    assert not emits_wait(manager, stream)
    parent.close(0.1)


@pytest.mark.parametrize('publish, waits', [
    ('background', False), ('sync', True)])
def test_publish_is_obeyed_in_any_process(
        make_manager: MakeManager, stream: FakeStream, publish: str,
        waits: bool) -> None:
    manager = make_manager(publish=publish)
    assert emits_wait(manager, stream) is waits
    manager.start()
    assert emits_wait(manager, stream) is waits


def test_no_emit_waits_for_a_redis_that_is_away(
        make_manager: MakeManager, stream: FakeStream) -> None:
    stream.go_away()
    manager = make_manager()
    for number in range(20):
        manager.emit('hello', number)
    stream.come_back()
    assert manager.flush(DEADLINE)
    assert len(messages(stream, MessageType.BROADCAST)) == 20


# -- moments that Python does not know of ------------------------------------

@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing is registered in this process yet."""
    monkeypatch.setattr(processes._Registered, 'pid', 0)
    monkeypatch.delitem(sys.modules, 'multiprocessing.util', raising=False)
    return monkeypatch


def note(called: List[str], name: str) -> Callable[..., None]:
    return lambda **_: called.append(name)


@pytest.mark.parametrize('former', [None, 'of the application'])
def test_hook_of_uwsgi(fresh: pytest.MonkeyPatch, former: Any) -> None:
    called: List[str] = []
    uwsgi: Any = ModuleType('uwsgi')
    uwsgi.masterpid = uwsgi.worker_id = int
    if former is not None:
        uwsgi.post_fork_hook = note(called, former)
    fresh.setitem(sys.modules, 'uwsgi', uwsgi)
    for _ in range(2):
        processes.register(note(called, 'noticed'), note(called, 'ending'))
    uwsgi.post_fork_hook()
    assert called == ['noticed'] + [former] * (former is not None)


def test_manager_in_the_master_of_uwsgi(
        fresh: pytest.MonkeyPatch, make_manager: Any, logged: Any) -> None:
    """A worker may hang for ever: that is said where it can be seen."""
    uwsgi: Any = ModuleType('uwsgi')
    uwsgi.masterpid = uwsgi.worker_id = lambda: 1
    fresh.setitem(sys.modules, 'uwsgi', uwsgi)
    make_manager().emit('hello', 1)
    assert not logged(logging.WARNING)
    uwsgi.masterpid = os.getpid
    make_manager().emit('hello', 1)
    line, = logged(logging.WARNING)
    assert 'lazy-apps' in line


def test_module_of_the_application_is_left_alone(
        fresh: pytest.MonkeyPatch) -> None:
    uwsgi = ModuleType('uwsgi')
    fresh.setitem(sys.modules, 'uwsgi', uwsgi)
    processes.register(note([], 'noticed'), note([], 'ending'))
    assert not hasattr(uwsgi, 'post_fork_hook')


def test_signal_of_celery(fresh: pytest.MonkeyPatch) -> None:
    called: List[str] = []
    receivers: List[Callable[..., None]] = []

    def connect(receiver: Any, weak: bool, dispatch_uid: str) -> None:
        assert not weak and dispatch_uid
        receivers.append(receiver)

    fresh.setitem(sys.modules, 'celery.signals', SimpleNamespace(
        worker_process_shutdown=SimpleNamespace(connect=connect)))
    processes.register(note(called, 'noticed'), note(called, 'ending'))
    receivers[0](sender=None, signal=None, pid=1, exitcode=0)
    assert called == ['ending']


@pytest.mark.parametrize('child', [False, True])
def test_end_of_a_process_of_multiprocessing(
        fresh: pytest.MonkeyPatch, child: bool) -> None:
    """In a child only: elsewhere, functions of atexit that the application
    has registered may still emit after those of multiprocessing."""
    called: List[str] = []
    finalizers: List[Callable[..., None]] = []

    def finalize(obj: Any, callback: Any, exitpriority: int) -> None:
        finalizers.append(callback)

    fresh.setitem(sys.modules, 'multiprocessing.util', SimpleNamespace(
        Finalize=finalize))
    fresh.setitem(sys.modules, 'multiprocessing.process', SimpleNamespace(
        parent_process=lambda: object() if child else None))
    processes.register(note(called, 'noticed'), note(called, 'ending'))
    for each in finalizers:
        each()
    assert called == ['ending'] * child
