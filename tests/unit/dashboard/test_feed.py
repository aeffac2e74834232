"""What viewers get."""
import json
from typing import Any, Dict, Tuple

import pytest

from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.dashboard.feed import Feed, POINTS


@pytest.fixture
def feed() -> Feed:
    return Feed(ThreadEngine(), {'interval': 2})


def read(message: bytes) -> Tuple[str, Dict[str, Any]]:
    event, data, end, rest = message.decode().split('\n')
    assert end == rest == ''
    return event.removeprefix('event: '), json.loads(
        data.removeprefix('data: '))


def test_first_message_has_the_history(feed: Feed) -> None:
    feed.publish({'time': 1}, {'servers': 1})
    feed.publish({'time': 2}, {'servers': 2})
    viewer = feed.join()
    assert read(feed.take(viewer)) == ('hello', {
        'interval': 2, 'points': [{'time': 1}, {'time': 2}],
        'state': {'servers': 2}})
    assert feed.take(viewer) == b''


def test_before_anything_was_found(feed: Feed) -> None:
    viewer = feed.join()
    assert read(feed.take(viewer)) == ('hello', {
        'interval': 2, 'points': [], 'state': None})


def test_later_messages_are_the_same_for_all(feed: Feed) -> None:
    viewers = feed.join(), feed.join()
    for each in viewers:
        feed.take(each)
    feed.publish({'time': 3}, {'servers': 3})
    assert all(each.event.is_set() for each in viewers)
    first, second = map(feed.take, viewers)
    assert first is second
    assert read(first) == ('sample', {
        'point': {'time': 3}, 'state': {'servers': 3}})


def test_slow_viewer_gets_the_latest(feed: Feed) -> None:
    viewer = feed.join()
    feed.take(viewer)
    for number in range(1000):
        feed.publish({'time': number}, {})
    assert read(feed.take(viewer))[1]['point'] == {'time': 999}
    assert feed.take(viewer) == b''
    assert len(read(feed.take(feed.join()))[1]['points']) == POINTS


def test_viewers_are_counted(feed: Feed) -> None:
    viewer, other = feed.join(), feed.join()
    assert feed.viewers == 2
    feed.leave(viewer)
    feed.leave(viewer)
    assert feed.viewers == 1
    feed.close()
    assert feed.closed and other.event.is_set()


def test_what_is_not_json_is_refused(feed: Feed) -> None:
    with pytest.raises(ValueError):
        feed.publish({'time': float('nan')}, {})


def test_line_breaks_do_not_end_a_message(feed: Feed) -> None:
    feed.publish({}, {'rooms': 'a\n\ndata: b\r\u2028'})
    assert read(feed.take(feed.join()))[1]['state'] == {
        'rooms': 'a\n\ndata: b\r\u2028'}
