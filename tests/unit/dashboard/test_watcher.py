"""The task that watches while somebody looks."""
import os
import threading
from typing import Any, Dict, List, Tuple

import pytest

from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.dashboard.feed import Feed
from redis_streams_adapter.dashboard.watcher import Watcher

from ...support.wait import wait_until


class FakeSource:
    """Counts the questions."""

    def __init__(self) -> None:
        self.looks = 0
        self.closed = 0
        self.error: Any = None
        self.threads: List[Any] = []

    def look(self) -> Tuple[Dict[str, Any], Dict[str, Any]]:
        self.looks += 1
        self.threads.append(threading.get_ident())
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return {'time': self.looks}, {}

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
def feed() -> Feed:
    return Feed(ThreadEngine(), {})


def watcher_of(source: FakeSource, feed: Feed, interval: float = 0.01,
               linger: float = 0.0) -> Watcher:
    return Watcher(source, feed, ThreadEngine(), interval, linger)


def test_one_task_for_all(source: FakeSource, feed: Feed) -> None:
    watcher = watcher_of(source, feed)
    for _ in range(3):
        feed.join()
        watcher.ensure()
    wait_until(lambda: source.looks > 3)
    feed.close()
    watcher.close()
    assert len(set(source.threads)) == 1
    assert source.closed == 1


def test_no_question_while_nobody_looks(source: FakeSource,
                                        feed: Feed) -> None:
    watcher = watcher_of(source, feed)
    watcher.ensure()
    wait_until(lambda: source.closed == 1)
    assert source.looks == 0
    viewer = feed.join()
    watcher.ensure()
    wait_until(lambda: source.looks > 0)
    feed.leave(viewer)
    wait_until(lambda: source.closed == 2)
    asked = source.looks
    watcher.close()
    assert source.looks == asked


def test_connections_are_kept_for_a_while(source: FakeSource,
                                          feed: Feed) -> None:
    watcher = watcher_of(source, feed, linger=60.0)
    watcher.ensure()
    feed.join()
    watcher.wake()
    wait_until(lambda: source.looks > 0)
    feed.close()
    watcher.close()
    assert source.closed == 1


def test_viewers_that_join_ask_no_more(source: FakeSource,
                                       feed: Feed) -> None:
    watcher = watcher_of(source, feed, interval=60.0)
    feed.join()
    watcher.ensure()
    wait_until(lambda: source.looks == 1)
    for _ in range(20):
        feed.join()
        watcher.ensure()
        watcher.wake()
    feed.close()
    watcher.close()
    assert source.looks == 1


@pytest.mark.filterwarnings(
    'ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_dead_task_is_replaced(source: FakeSource, feed: Feed) -> None:
    watcher = watcher_of(source, feed)
    source.error = RuntimeError('a bug')
    feed.join()
    watcher.ensure()
    wait_until(lambda: source.closed == 1)

    def goes_on() -> bool:
        watcher.ensure()
        return source.looks > 3

    wait_until(goes_on)
    feed.close()
    watcher.close()
    assert source.closed == 2


def test_task_that_cannot_be_started(source: FakeSource, feed: Feed,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = watcher_of(source, feed)
    with monkeypatch.context() as patch:
        def fail(*_: Any) -> None:
            raise RuntimeError('no more threads')

        patch.setattr(ThreadEngine, 'spawn', fail)
        with pytest.raises(RuntimeError, match='no more threads'):
            watcher.ensure()
    feed.join()
    watcher.ensure()
    wait_until(lambda: source.looks > 0)
    feed.close()
    watcher.close()


def test_child_begins_anew(source: FakeSource, feed: Feed,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = watcher_of(source, feed, interval=60.0)
    feed.join()
    watcher.ensure()
    wait_until(lambda: source.looks == 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, 'getpid', lambda: -1)
        watcher.ensure()
        wait_until(lambda: source.looks == 2)
    feed.close()
    wait_until(lambda: source.closed == 2 or watcher.wake())


def test_closed_feed(source: FakeSource, feed: Feed) -> None:
    watcher = watcher_of(source, feed)
    feed.close()
    watcher.ensure()
    watcher.close()
    assert source.closed == 0
