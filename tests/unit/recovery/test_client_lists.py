"""Waiting events share lists of clients, which are replaced on a change."""
import logging
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery import client_lists as module
from redis_streams_adapter.recovery.client_lists import SharedLists, With, \
    Without
from redis_streams_adapter.recovery.stream_order import MANY

from ..fake_server import FakeClient
from .stream_orders import Process
from .test_waiting_events_returning import returns

ONE, OTHER = ('s', 'e'), ('t', 'f')


def test_unchanged_clients_share_list() -> None:
    lists, first = SharedLists(), [ONE]
    assert lists.share('x', first) is first
    assert lists.share('x', [ONE]) is first
    assert lists.share('y', [ONE]) is not first
    second = [ONE, OTHER]
    assert lists.share('x', second) is second
    assert lists.share('x', [ONE, OTHER]) is second


def test_number_of_shared_lists_is_limited(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'MAX_SHARED', 1)
    lists = SharedLists()
    first, second = [ONE], [OTHER]
    lists.share('x', first)
    lists.share('y', second)
    assert lists.share('y', [OTHER]) is not second
    assert lists.share('x', [ONE]) is first
    assert lists.share('x', second) is second


def test_shared_list_is_replaced_once() -> None:
    clients, others = [ONE, OTHER, ('s', 'g')], [OTHER]
    without, added = Without('s'), With(ONE)
    kept, leaving = without(clients)
    assert (kept, leaving) == ([OTHER], [ONE, ('s', 'g')])
    assert without(clients)[0] is kept
    assert without(others) == (others, [])
    assert without(others)[0] is others
    joined = added(others)
    assert joined == [OTHER, ONE]
    assert added(others) is joined
    assert (len(clients), others) == (3, [OTHER])


@pytest.fixture
def process(logger: Callable[[], logging.Logger]) -> Process:
    return Process(logger)


@pytest.mark.parametrize('count', [10, 3 * MANY])
def test_long_outage_needs_few_lists(process: Process, count: int) -> None:
    """Clients leave and return during an outage."""
    stays, leaves, client = (process.connect('x') for _ in range(3))
    targets: List[Any] = [(), ('x',), (stays.sid,), ('nobody',)]
    own = []
    for number in range(2 * count):
        if number == count:
            process.delivery.flush(leaves.sid)
            leaves.leave()
        own.append(process.emit('event', number, to=targets[number % 4]))
    again = returns(process, client, 'x')
    own.append(process.emit('event', 2 * count))
    for number, pending in enumerate(own):
        process.back(pending, Position(101, number))

    def numbers(client: FakeClient) -> List[int]:
        return [args[0] for args in client.received('event')]

    everything = range(2 * count)
    assert numbers(stays) == [
        number for number in everything if number % 4 < 3] + [2 * count]
    assert numbers(leaves) == [
        number for number in range(count) if number % 4 < 2]
    assert numbers(again) == [
        number for number in everything if number % 4 < 2]
    assert numbers(client) == []


def test_lists_are_forgotten_when_nothing_waits(process: Process) -> None:
    process.connect()
    own = [process.emit('event') for _ in range(MANY + 3)]
    lists: Any = process.delivery._lists
    assert len(lists.by_target) == 1
    shared, = lists.by_target.values()
    assert process.delivery._waiting[-1].loads[0].clients is shared
    for number, pending in enumerate(own):
        process.back(pending, Position(101, number))
    assert not lists.by_target
