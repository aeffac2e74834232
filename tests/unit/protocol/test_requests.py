"""Who still has to answer."""
from typing import Any

import pytest

from redis_streams_adapter.protocol.requests import CALLBACK_LIFETIME, \
    CALLBACK_LIFETIME_ALONE, ClientsRequest, NodesRequest, Requests

from ..conftest import Log

#: Stands for what the caller waits on.
WAITER = object()


@pytest.fixture
def requests() -> Requests:
    return Requests()


def is_open(requests: Requests) -> bool:
    return len(requests) == 1


def ask_clients(requests: Requests, *nodes: str) -> ClientsRequest:
    request = ClientsRequest('/', WAITER)
    requests.open('r', request, nodes, 0.0)
    return request


def ask_nodes(requests: Requests, *nodes: str) -> NodesRequest:
    request = NodesRequest('/', WAITER)
    requests.open('r', request, nodes, 0.0)
    return request


# -- nodes answer ------------------------------------------------------------

def test_every_node_answers(requests: Requests) -> None:
    request = ask_nodes(requests, 'a', 'b')
    assert request.progress == (0, 2)
    assert requests.answered('r', 'a', 1) is None
    assert request.missing == ['b']
    assert request.progress == (1, 2)
    assert requests.answered('r', 'b', None) is WAITER
    assert request.answers == {'a': 1, 'b': None}
    assert request.complete
    assert not is_open(requests)


def test_an_answer_counts_once(requests: Requests) -> None:
    request = ask_nodes(requests, 'a', 'b')
    requests.answered('r', 'a', 1)
    requests.answered('r', 'a', 2)
    requests.answered('r', 'stranger', 3)
    assert request.answers == {'a': 1}
    assert is_open(requests)


def test_the_last_node_leaves(requests: Requests) -> None:
    request = ask_nodes(requests, 'a', 'b')
    requests.answered('r', 'a', 1)
    assert requests.node_left('/chat', 'b') == []
    assert requests.node_left('/', 'c') == []
    assert requests.node_left('/', 'b') == [WAITER]
    assert request.answers == {'a': 1}
    assert request.complete
    assert not is_open(requests)


def test_only_the_number_of_nodes_is_known(requests: Requests) -> None:
    request = NodesRequest('/', WAITER)
    requests.open('r', request, ['a'], 0.0, others=3)
    assert requests.answered('r', 'x', 1) is None
    assert requests.answered('r', 'x', 2) is None
    assert request.missing == ['a']
    assert request.progress == (1, 3)
    assert requests.node_left('/', 'a') == []
    assert requests.answered('r', 'y', 3) is WAITER
    assert request.answers == {'x': 1, 'y': 3}


def test_a_node_that_was_not_asked_leaves(requests: Requests) -> None:
    """Nobody's answer is taken for its."""
    request = NodesRequest('/', WAITER)
    requests.open('r', request, ['a'], 0.0, others=1)
    assert requests.node_left('/', 'killed long ago') == []
    assert request.missing == ['a']
    assert requests.node_left('/', 'a') == [WAITER]


def test_more_answer_than_were_counted(requests: Requests) -> None:
    """One has subscribed a moment later, and its answer is here first."""
    request = NodesRequest('/', WAITER)
    requests.open('r', request, ['a'], 0.0, others=2)
    assert requests.answered('r', 'late', 1) is None
    assert requests.answered('r', 'late', 2) is None
    assert requests.answered('r', 'a', 3) is WAITER
    assert requests.answered('r', 'b', 4) is None
    assert request.answers == {'late': 1, 'a': 3}


# -- clients answer ----------------------------------------------------------

def test_every_node_counts_every_client_answers(requests: Requests) -> None:
    request = ask_clients(requests, 'a', 'b')
    assert requests.counted('r', 'a', 2) is None
    assert requests.acknowledged('r', 'a', (1,)) == (None, None)
    assert requests.counted('r', 'b', 1) is None
    assert requests.acknowledged('r', 'b', (2, 3)) == (None, None)
    assert request.missing == ['a']
    assert request.progress == (2, 3)
    assert requests.acknowledged('r', 'a', ()) == (None, WAITER)
    assert request.responses == [1, (2, 3), None]
    # Whoever answers now was not counted.
    assert requests.acknowledged('r', 'a', (4,)) == (None, None)
    assert len(request.responses) == 3


def test_a_callback(requests: Requests, log: Log) -> None:
    request = ClientsRequest('/', callback=log)
    requests.open('r', request, ['a'], 0.0)
    requests.counted('r', 'a', 2)
    assert requests.acknowledged('r', 'a', (1,)) == (log, None)
    assert is_open(requests)
    assert requests.acknowledged('r', 'a', (1,)) == (log, None)
    assert not is_open(requests)
    # It only says whom to call, and keeps nothing.
    assert log.calls == request.responses == []


def test_nobody_has_clients(requests: Requests) -> None:
    ask_clients(requests, 'a', 'b')
    assert requests.counted('r', 'a', 0) is None
    assert requests.counted('r', 'b', 0) is WAITER
    assert not is_open(requests)


def test_a_node_that_was_not_known_counts_too(requests: Requests) -> None:
    ask_clients(requests, 'a')
    requests.counted('r', 'new', 1)
    assert requests.counted('r', 'a', 0) is None
    assert requests.acknowledged('r', 'new', (1,)) == (None, WAITER)


def test_an_answer_may_overtake_the_count(requests: Requests) -> None:
    ask_clients(requests, 'a')
    assert requests.acknowledged('r', 'a', (1,)) == (None, None)
    assert requests.counted('r', 'a', 2) is None
    assert requests.acknowledged('r', 'a', (1,)) == (None, WAITER)


def test_own_clients_count_before_anybody_is_asked(
        requests: Requests) -> None:
    request = ClientsRequest('/', WAITER)
    request.count_own('own', 1)
    requests.open('r', request, ['a'], 0.0)
    assert requests.counted('r', 'a', 0) is None
    assert request.missing == ['own']
    assert requests.acknowledged('r', 'own', (1,)) == (None, WAITER)


def test_own_clients_do_not_answer_for_another_node(
        requests: Requests) -> None:
    """Where only the number of nodes is known, too."""
    request = ClientsRequest('/', WAITER)
    request.count_own('own', 0)
    requests.open('r', request, [], 0.0, others=1)
    assert not request.complete
    assert request.progress == (0, 1)
    assert requests.counted('r', 'a', 1) is None
    assert requests.acknowledged('r', 'a', (1,)) == (None, WAITER)


def test_a_node_that_leaves_is_not_waited_for(requests: Requests) -> None:
    ask_clients(requests, 'a', 'b')
    requests.counted('r', 'a', 0)
    assert requests.node_left('/chat', 'b') == []
    assert requests.node_left('/', 'c') == []
    assert requests.node_left('/', 'b') == [WAITER]


def test_the_clients_of_a_node_that_leaves(requests: Requests) -> None:
    """They answer nobody any more; what they have answered is kept."""
    request = ask_clients(requests, 'a', 'b')
    requests.counted('r', 'a', 2)
    requests.acknowledged('r', 'a', (1,))
    requests.counted('r', 'b', 0)
    assert requests.node_left('/', 'a') == [WAITER]
    assert request.responses == [1]
    assert request.complete


# -- the end -----------------------------------------------------------------

@pytest.mark.parametrize('nodes, lifetime', [
    (['a'], CALLBACK_LIFETIME), ([], CALLBACK_LIFETIME_ALONE)])
def test_a_callback_lapses(requests: Requests, log: Log, nodes: Any,
                           lifetime: float) -> None:
    requests.open('r', ClientsRequest('/', callback=log), nodes, 5.0)
    assert requests.expire(5.0 + lifetime) == []
    assert requests.expire(5.5 + lifetime) == ['r']
    assert not is_open(requests)
    assert requests.acknowledged('r', 'a', ()) == (None, None)


def test_who_waits_ends_the_wait_himself(requests: Requests) -> None:
    ask_clients(requests, 'a')
    assert requests.expire(1e9) == []
    assert is_open(requests)


def test_lifetimes_are_above_that_of_a_call() -> None:
    """python-socketio's call() waits for 60 seconds."""
    assert min(CALLBACK_LIFETIME, CALLBACK_LIFETIME_ALONE) > 60


def test_what_is_withdrawn(requests: Requests) -> None:
    request = ask_clients(requests, 'a')
    requests.withdraw('r')
    assert not is_open(requests)
    # All of these come late, and harm nobody.
    requests.withdraw('r')
    assert requests.counted('r', 'a', 5) is None
    assert requests.answered('r', 'a', 5) is None
    assert requests.node_left('/', 'a') == []
    assert requests.acknowledged('r', 'a', (1,)) == (None, None)
    assert request.responses == []


def test_an_answer_of_the_wrong_kind(requests: Requests) -> None:
    request = ask_clients(requests, 'a')
    assert requests.answered('r', 'a', 5) is None
    assert request.missing == ['a']
    requests.withdraw('r')
    nodes = ask_nodes(requests, 'a')
    assert requests.counted('r', 'a', 0) is None
    assert requests.acknowledged('r', 'a', (1,)) == (None, None)
    assert nodes.missing == ['a']


def test_requests_are_apart(requests: Requests) -> None:
    first, second = NodesRequest('/', 1), NodesRequest('/', 2)
    requests.open('1', first, ['a'], 0.0)
    requests.open('2', second, ['a'], 0.0)
    assert requests.answered('2', 'a', 'x') == 2
    assert first.answers == {}
    assert requests.answered('1', 'a', 'y') == 1
    assert len(requests) == 0


def test_a_late_answer_of_a_node_that_was_lost(requests: Requests) -> None:
    """It does not stand for one that is still to come."""
    request = ask_clients(requests, 'a', 'b')
    requests.counted('r', 'a', 1)
    requests.counted('r', 'b', 1)
    assert requests.node_left('/', 'a') == []
    # It only slept.
    assert requests.acknowledged('r', 'a', (1,)) == (None, None)
    assert not request.complete
    assert request.missing == ['b']
    assert requests.acknowledged('r', 'b', (2,)) == (None, WAITER)
    assert request.responses == [1, 2]
