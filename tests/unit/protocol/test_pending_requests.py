"""The requests in progress, and the end of each."""
from typing import Any

import pytest

from redis_streams_adapter.protocol.events import Acknowledged, Completed
from redis_streams_adapter.protocol.messages import BroadcastAck, \
    BroadcastClientCount, FetchSocketsResponse, ServerSideEmitResponse
from redis_streams_adapter.protocol.pending_requests import \
    CALLBACK_LIFETIME, CALLBACK_LIFETIME_ALONE, PendingRequests
from redis_streams_adapter.protocol.requests import ClientsRequest, \
    NodesRequest

from ..conftest import Log
from .asking import ask_clients, ask_nodes, is_open, WAITER


# -- the end -----------------------------------------------------------------

@pytest.mark.parametrize('nodes, lifetime', [
    (['a'], CALLBACK_LIFETIME), ([], CALLBACK_LIFETIME_ALONE)])
def test_callback_expires(requests: PendingRequests, log: Log, nodes: Any,
                          lifetime: float) -> None:
    requests.open('r', ClientsRequest('/', callback=log), nodes, 5.0)
    assert requests.expire(5.0 + lifetime) == []
    assert requests.expire(5.5 + lifetime) == ['r']
    assert not is_open(requests)
    assert requests.acknowledged('r', 'a', ()) == (None, None)


def test_waiting_caller_ends_its_request(requests: PendingRequests) -> None:
    ask_clients(requests, 'a')
    assert requests.expire(1e9) == []
    assert is_open(requests)


def test_lifetimes_exceed_that_of_a_call() -> None:
    """python-socketio's call() waits for 60 seconds."""
    assert min(CALLBACK_LIFETIME, CALLBACK_LIFETIME_ALONE) > 60


def test_withdrawn_requests(requests: PendingRequests) -> None:
    request = ask_clients(requests, 'a')
    requests.withdraw('r')
    assert not is_open(requests)
    # All of these arrive late, and have no effect.
    requests.withdraw('r')
    assert requests.counted('r', 'a', 5) is None
    assert requests.answered('r', 'a', 5) is None
    assert requests.node_left('/', 'a') == []
    assert requests.acknowledged('r', 'a', (1,)) == (None, None)
    assert request.responses == []


def test_answer_of_the_wrong_kind(requests: PendingRequests) -> None:
    request = ask_clients(requests, 'a')
    assert requests.answered('r', 'a', 5) is None
    assert request.missing == ['a']
    requests.withdraw('r')
    nodes = ask_nodes(requests, 'a')
    assert requests.counted('r', 'a', 0) is None
    assert requests.acknowledged('r', 'a', (1,)) == (None, None)
    assert nodes.missing == ['a']


def test_requests_are_separate(requests: PendingRequests) -> None:
    first, second = NodesRequest('/', 1), NodesRequest('/', 2)
    requests.open('1', first, ['a'], 0.0)
    requests.open('2', second, ['a'], 0.0)
    assert requests.answered('2', 'a', 'x') == 2
    assert first.answers == {}
    assert requests.answered('1', 'a', 'y') == 1
    assert len(requests) == 0


# -- messages ----------------------------------------------------------------

def test_local_clients_answer(requests: PendingRequests, log: Log) -> None:
    requests.open('r', ClientsRequest('/', callback=log), ['a'], 0.0)
    assert requests.respond('me', BroadcastAck('r', (1,))) == [
        Acknowledged(log, (1,))]
    assert log.calls == []


@pytest.mark.parametrize('answer, response', [
    (FetchSocketsResponse('r', ()), ()),
    (ServerSideEmitResponse('r', 'x'), 'x')])
def test_responses_of_nodes(requests: PendingRequests, answer: Any,
                            response: Any) -> None:
    request = ask_nodes(requests, 'a', 'b')
    assert requests.respond('a', answer) == []
    assert requests.respond('b', answer) == [Completed(WAITER)]
    assert request.answers == {'a': response, 'b': response}


def test_responses_of_clients(requests: PendingRequests) -> None:
    request = ask_clients(requests, 'a')
    assert requests.respond('a', BroadcastClientCount('r', 1)) == []
    assert requests.respond('a', BroadcastAck('r', ('x',))) == [
        Completed(WAITER)]
    assert request.responses == ['x']


def test_responses_to_unknown_requests(requests: PendingRequests) -> None:
    for answer in BroadcastClientCount('r', 0), BroadcastAck('r', ()), \
            FetchSocketsResponse('r', ()), ServerSideEmitResponse('r', 1):
        assert requests.respond('a', answer) == []
