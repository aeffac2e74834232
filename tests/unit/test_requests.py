"""Who still has to answer."""
from typing import Any

import pytest

from redis_streams_adapter.requests import ACK_LIFETIME, \
    ACK_LIFETIME_ALONE, AckRequests

from .conftest import Log


@pytest.fixture
def requests() -> AckRequests:
    return AckRequests()


def is_open(requests: AckRequests) -> bool:
    return len(requests) == 1


def test_every_node_counts_every_client_answers(
        requests: AckRequests, log: Log) -> None:
    requests.open('r', '/', log, ['a', 'b'], 0.0)
    requests.counted('r', 'a', 2)
    assert requests.answered('r') is log
    requests.counted('r', 'b', 1)
    assert requests.answered('r') is log
    assert is_open(requests)
    assert requests.answered('r') is log
    assert not is_open(requests)
    # Whoever answers now was not counted.
    assert requests.answered('r') is None
    # It only says whom to call.
    assert log.calls == []


def test_nobody_has_clients(requests: AckRequests, log: Log) -> None:
    requests.open('r', '/', log, ['a', 'b'], 0.0)
    requests.counted('r', 'a', 0)
    assert is_open(requests)
    requests.counted('r', 'b', 0)
    assert not is_open(requests)


def test_a_node_that_was_not_known_counts_too(
        requests: AckRequests, log: Log) -> None:
    requests.open('r', '/', log, ['a'], 0.0)
    requests.counted('r', 'new', 1)
    requests.counted('r', 'a', 0)
    assert is_open(requests)
    assert requests.answered('r') is log
    assert not is_open(requests)


def test_an_answer_may_overtake_the_count(
        requests: AckRequests, log: Log) -> None:
    requests.open('r', '/', log, ['a'], 0.0)
    assert requests.answered('r') is log
    assert is_open(requests)
    requests.counted('r', 'a', 2)
    assert is_open(requests)
    assert requests.answered('r') is log
    assert not is_open(requests)


def test_a_node_that_leaves_is_not_waited_for(
        requests: AckRequests, log: Log) -> None:
    requests.open('r', '/', log, ['a', 'b'], 0.0)
    requests.counted('r', 'a', 0)
    requests.node_left('/chat', 'b')
    requests.node_left('/', 'c')
    assert is_open(requests)
    requests.node_left('/', 'b')
    assert not is_open(requests)


def test_a_node_that_leaves_after_its_count(
        requests: AckRequests, log: Log) -> None:
    requests.open('r', '/', log, ['a', 'b'], 0.0)
    requests.counted('r', 'a', 1)
    requests.node_left('/', 'a')
    requests.counted('r', 'b', 0)
    # Its client may have gone elsewhere; nobody else will say so.
    assert is_open(requests)


@pytest.mark.parametrize('nodes, lifetime', [
    (['a'], ACK_LIFETIME), ([], ACK_LIFETIME_ALONE)])
def test_the_end_of_waiting(requests: AckRequests, log: Log, nodes: Any,
                            lifetime: float) -> None:
    requests.open('r', '/', log, nodes, 5.0)
    assert requests.expire(5.0 + lifetime) == []
    assert requests.expire(5.5 + lifetime) == ['r']
    assert not is_open(requests)
    assert requests.answered('r') is None


def test_lifetimes_are_above_that_of_a_call() -> None:
    """python-socketio's call() waits for 60 seconds."""
    assert min(ACK_LIFETIME, ACK_LIFETIME_ALONE) > 60


def test_what_is_forgotten(requests: AckRequests, log: Log) -> None:
    requests.open('r', '/', log, ['a'], 0.0)
    requests.forget('r')
    assert not is_open(requests)
    # All of these come late, and harm nobody.
    requests.forget('r')
    requests.counted('r', 'a', 5)
    requests.node_left('/', 'a')
    assert requests.answered('r') is None
    assert not is_open(requests)


def test_requests_are_apart(requests: AckRequests) -> None:
    first, second = Log(), Log()
    requests.open('1', '/', first, ['a'], 0.0)
    requests.open('2', '/', second, ['a'], 0.0)
    requests.counted('1', 'a', 1)
    requests.counted('2', 'a', 1)
    assert requests.answered('2') is second
    assert requests.answered('1') is first
    assert len(requests) == 0
