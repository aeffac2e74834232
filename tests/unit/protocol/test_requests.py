"""The nodes and clients that still have to answer."""
from typing import Optional

import pytest

from redis_streams_adapter.protocol.pending_requests import PendingRequests
from redis_streams_adapter.protocol.requests import ClientsRequest, \
    NodesRequest

from ..conftest import Log
from .asking import ask_clients, ask_nodes, is_open, WAITER


# -- nodes answer ------------------------------------------------------------

def test_every_node_answers(requests: PendingRequests) -> None:
    request = ask_nodes(requests, 'a', 'b')
    assert request.progress == (0, 2)
    assert requests.answered('r', 'a', 1) is None
    assert request.missing == ['b']
    assert request.progress == (1, 2)
    assert requests.answered('r', 'b', None) is WAITER
    assert request.answers == {'a': 1, 'b': None}
    assert request.complete
    assert not is_open(requests)


def test_answer_counts_once(requests: PendingRequests) -> None:
    request = ask_nodes(requests, 'a', 'b')
    requests.answered('r', 'a', 1)
    requests.answered('r', 'a', 2)
    requests.answered('r', 'stranger', 3)
    assert request.answers == {'a': 1}
    assert is_open(requests)


def test_last_node_leaves(requests: PendingRequests) -> None:
    request = ask_nodes(requests, 'a', 'b')
    requests.answered('r', 'a', 1)
    assert requests.node_left('/chat', 'b') == []
    assert requests.node_left('/', 'c') == []
    assert requests.node_left('/', 'b') == [WAITER]
    assert request.answers == {'a': 1}
    assert request.complete
    assert not is_open(requests)


def test_only_the_number_of_nodes_is_known(requests: PendingRequests) -> None:
    request = NodesRequest('/', WAITER)
    requests.open('r', request, ['a'], 0.0, others=3)
    assert requests.answered('r', 'x', 1) is None
    assert requests.answered('r', 'x', 2) is None
    assert request.missing == ['a']
    assert request.progress == (1, 3)
    assert requests.node_left('/', 'a') == []
    assert requests.answered('r', 'y', 3) is WAITER
    assert request.answers == {'x': 1, 'y': 3}


def test_departure_of_a_node_that_was_not_asked(
        requests: PendingRequests) -> None:
    """No other answer is mistaken for its answer."""
    request = NodesRequest('/', WAITER)
    requests.open('r', request, ['a'], 0.0, others=1)
    assert requests.node_left('/', 'killed long ago') == []
    assert request.missing == ['a']
    assert requests.node_left('/', 'a') == [WAITER]


def test_more_answers_than_counted_nodes(requests: PendingRequests) -> None:
    """A node subscribed a moment later, and its answer arrived first."""
    request = NodesRequest('/', WAITER)
    requests.open('r', request, ['a'], 0.0, others=2)
    assert requests.answered('r', 'late', 1) is None
    assert requests.answered('r', 'late', 2) is None
    assert requests.answered('r', 'a', 3) is WAITER
    assert requests.answered('r', 'b', 4) is None
    assert request.answers == {'late': 1, 'a': 3}


# -- clients answer ----------------------------------------------------------

def test_every_node_counts_every_client_answers(
        requests: PendingRequests) -> None:
    request = ask_clients(requests, 'a', 'b')
    assert requests.counted('r', 'a', 2) is None
    assert requests.acknowledged('r', 'a', (1,)) == (None, None)
    assert requests.counted('r', 'b', 1) is None
    assert requests.acknowledged('r', 'b', (2, 3)) == (None, None)
    assert request.missing == ['a']
    assert request.progress == (2, 3)
    assert requests.acknowledged('r', 'a', ()) == (None, WAITER)
    assert request.responses == [1, (2, 3), None]
    # A client that answers now was not counted.
    assert requests.acknowledged('r', 'a', (4,)) == (None, None)
    assert len(request.responses) == 3


def test_callback(requests: PendingRequests, log: Log) -> None:
    request = ClientsRequest('/', callback=log)
    requests.open('r', request, ['a'], 0.0)
    requests.counted('r', 'a', 2)
    assert requests.acknowledged('r', 'a', (1,)) == (log, None)
    assert is_open(requests)
    assert requests.acknowledged('r', 'a', (1,)) == (log, None)
    assert not is_open(requests)
    # It only names the function to call, and keeps nothing.
    assert log.calls == request.responses == []


def test_nodes_without_clients(requests: PendingRequests) -> None:
    ask_clients(requests, 'a', 'b')
    assert requests.counted('r', 'a', 0) is None
    assert requests.counted('r', 'b', 0) is WAITER
    assert not is_open(requests)


def test_unknown_node_counts_too(requests: PendingRequests) -> None:
    ask_clients(requests, 'a')
    requests.counted('r', 'new', 1)
    assert requests.counted('r', 'a', 0) is None
    assert requests.acknowledged('r', 'new', (1,)) == (None, WAITER)


def test_answer_may_overtake_the_count(requests: PendingRequests) -> None:
    ask_clients(requests, 'a')
    assert requests.acknowledged('r', 'a', (1,)) == (None, None)
    assert requests.counted('r', 'a', 2) is None
    assert requests.acknowledged('r', 'a', (1,)) == (None, WAITER)


def test_local_clients_count_before_the_request(
        requests: PendingRequests) -> None:
    request = ClientsRequest('/', WAITER)
    request.count_own('own', 1)
    requests.open('r', request, ['a'], 0.0)
    assert requests.counted('r', 'a', 0) is None
    assert request.missing == ['own']
    assert requests.acknowledged('r', 'own', (1,)) == (None, WAITER)


def test_local_clients_do_not_answer_for_another_node(
        requests: PendingRequests) -> None:
    """Even if only the number of nodes is known."""
    request = ClientsRequest('/', WAITER)
    request.count_own('own', 0)
    requests.open('r', request, [], 0.0, others=1)
    assert not request.complete
    assert request.progress == (0, 1)
    assert requests.counted('r', 'a', 1) is None
    assert requests.acknowledged('r', 'a', (1,)) == (None, WAITER)


def test_node_that_leaves_is_not_waited_for(requests: PendingRequests) -> None:
    ask_clients(requests, 'a', 'b')
    requests.counted('r', 'a', 0)
    assert requests.node_left('/chat', 'b') == []
    assert requests.node_left('/', 'c') == []
    assert requests.node_left('/', 'b') == [WAITER]


def test_clients_of_a_node_that_leaves(requests: PendingRequests) -> None:
    """They cannot answer any more; earlier answers are kept."""
    request = ask_clients(requests, 'a', 'b')
    requests.counted('r', 'a', 2)
    requests.acknowledged('r', 'a', (1,))
    requests.counted('r', 'b', 0)
    assert requests.node_left('/', 'a') == [WAITER]
    assert request.responses == [1]
    assert request.complete


@pytest.mark.parametrize('known, others', [('ab', None), ('', 2)])
def test_goodbye_overtakes_count(requests: PendingRequests, known: str,
                                 others: Optional[int]) -> None:
    """They travel on two ways, if requests use PUB/SUB. The clients that are
    counted cannot answer any more."""
    request = ClientsRequest('/', WAITER)
    requests.open('r', request, known, 0.0, others=others)
    assert requests.node_left('/', 'a') == []
    assert not request.complete
    steps = [requests.counted('r', 'a', 1), requests.counted('r', 'b', 0)]
    assert steps == [None, WAITER]
    assert request.complete


def test_silent_node_counts_its_clients_after_all(
        requests: PendingRequests) -> None:
    request = ask_clients(requests, 'a', 'b')
    requests.node_left('/', 'a', certain=False)
    requests.counted('r', 'a', 1)
    requests.counted('r', 'b', 0)
    assert not request.complete
    assert requests.acknowledged('r', 'a', (1,)) == (None, WAITER)


def test_late_answer_of_a_lost_node(requests: PendingRequests) -> None:
    """It does not replace an answer that is still due."""
    request = ask_clients(requests, 'a', 'b')
    requests.counted('r', 'a', 1)
    requests.counted('r', 'b', 1)
    assert requests.node_left('/', 'a') == []
    # It was only asleep.
    assert requests.acknowledged('r', 'a', (1,)) == (None, None)
    assert not request.complete
    assert request.missing == ['b']
    assert requests.acknowledged('r', 'b', (2,)) == (None, WAITER)
    assert request.responses == [1, 2]
