"""Requests over the stream, whose addressees are unknown until their own entry
has been read back."""
from typing import Any

from redis_streams_adapter.protocol.events import Acknowledged, Completed
from redis_streams_adapter.protocol.messages import BroadcastAck, \
    BroadcastClientCount, FetchSocketsResponse, Page
from redis_streams_adapter.protocol.pending_requests import \
    CALLBACK_LIFETIME, CALLBACK_LIFETIME_ALONE, PendingRequests
from redis_streams_adapter.protocol.requests import ClientsRequest, LOST, \
    NodesRequest, NOT_READ_BACK, UNKNOWN_MEMBERS

from ..conftest import Log
from .asking import WAITER

WRITER = b'w'


def ask(requests: PendingRequests, *nodes: str) -> NodesRequest:
    request = NodesRequest('/', WAITER)
    requests.open('r', request, nodes, 0.0, writer=WRITER)
    return request


def test_no_other_members(requests: PendingRequests) -> None:
    request = ask(requests)
    assert not request.complete
    assert request.obstacle == NOT_READ_BACK
    assert request.progress == (0, 0)
    assert requests.written('r', WRITER, 3) is None
    assert requests.returned(WRITER, 2) == []
    assert requests.returned(WRITER, 3) == [WAITER]
    assert request.complete and request.obstacle is None
    assert len(requests) == 0


def test_request_read_back_before_it_was_noted(
        requests: PendingRequests) -> None:
    ask(requests)
    assert requests.returned(WRITER, 3) == []
    assert requests.written('r', WRITER, 3) is WAITER


def test_request_is_settled_by_a_later_one(requests: PendingRequests) -> None:
    """As if Redis had refused it."""
    ask(requests)
    requests.written('r', WRITER, 3)
    assert requests.returned(WRITER, 7) == [WAITER]


def test_entries_of_another_stream(requests: PendingRequests) -> None:
    ask(requests)
    requests.written('r', WRITER, 3)
    assert requests.returned(b'other', 9) == []
    assert requests.returned(WRITER, 3) == [WAITER]


def test_node_that_joins_before_the_request(requests: PendingRequests) -> None:
    request = ask(requests, 'a')
    requests.joined('/', 'early', WRITER)
    requests.written('r', WRITER, 3)
    requests.joined('/', 'b', WRITER)
    requests.joined('/chat', 'elsewhere', WRITER)
    assert requests.returned(WRITER, 3) == []
    requests.joined('/', 'late', WRITER)
    assert request.missing == ['a', 'b', 'early']
    for uid in ('a', 'b'):
        assert requests.answered('r', uid, uid) is None
    assert requests.answered('r', 'early', 'e') is WAITER
    assert request.answers == {'a': 'a', 'b': 'b', 'early': 'e'}


def test_node_that_joins_between_read_back_and_note(
        requests: PendingRequests) -> None:
    request = ask(requests, 'a')
    requests.joined('/', 'early', WRITER)
    requests.returned(WRITER, 3)
    requests.joined('/', 'late', WRITER)
    assert requests.written('r', WRITER, 3) is None
    assert request.missing == ['a', 'early']


def test_node_that_leaves_and_returns(requests: PendingRequests) -> None:
    request = ask(requests, 'a', 'b')
    assert requests.node_left('/', 'a') == []
    assert requests.node_left('/', 'b') == []
    assert not request.complete
    requests.joined('/', 'b', WRITER)
    requests.written('r', WRITER, 1)
    assert requests.returned(WRITER, 1) == []
    assert request.missing == ['b']
    assert requests.node_left('/', 'b') == [WAITER]


def test_node_that_leaves_and_returns_too_late(
        requests: PendingRequests) -> None:
    request = ask(requests, 'a')
    requests.node_left('/', 'a')
    requests.returned(WRITER, 1)
    requests.joined('/', 'a', WRITER)
    assert requests.written('r', WRITER, 1) is WAITER
    assert request.missing == []


def test_lost_history(requests: PendingRequests) -> None:
    """New members are unknown then: it ends at its timeout."""
    request = ask(requests, 'a')
    requests.lost(b'other')
    assert request.obstacle == NOT_READ_BACK
    requests.lost(WRITER)
    requests.written('r', WRITER, 3)
    assert requests.returned(WRITER, 3) == []
    assert requests.answered('r', 'a', 1) is None
    assert not request.complete and request.obstacle == LOST
    assert request.answers == {'a': 1}
    requests.withdraw('r')
    assert len(requests) == 0


def test_history_that_is_lost_later(requests: PendingRequests) -> None:
    request = ask(requests, 'a')
    requests.written('r', WRITER, 3)
    requests.returned(WRITER, 3)
    requests.lost(WRITER)
    assert requests.answered('r', 'a', 1) is WAITER
    assert request.complete


def test_callback_while_members_are_unknown(requests: PendingRequests,
                                            log: Log) -> None:
    """It is unknown which other nodes have clients that answer."""
    request = ClientsRequest('/', callback=log)
    request.doubt = UNKNOWN_MEMBERS
    requests.open('r', request, [], 0.0, writer=WRITER)
    requests.written('r', WRITER, 1)
    assert requests.returned(WRITER, 1) == []
    requests.counted('r', 'a', 1)
    assert requests.acknowledged('r', 'a', (1,)) == (log, None)
    requests.counted('r', 'b', 1)
    assert requests.acknowledged('r', 'b', (1,)) == (log, None)
    assert requests.expire(CALLBACK_LIFETIME - 1) == []
    assert requests.expire(CALLBACK_LIFETIME + 1) == ['r']
    assert requests.acknowledged('r', 'b', (1,)) == (None, None)


def test_callback_without_other_nodes(requests: PendingRequests,
                                      log: Log) -> None:
    """A node that was silent for too long may answer after all."""
    request: Any = ClientsRequest('/', callback=log)
    requests.open('r', request, [], 0.0, writer=WRITER)
    requests.written('r', WRITER, 1)
    assert requests.returned(WRITER, 1) == []
    for _ in range(2):
        assert requests.acknowledged('r', 'a', (1,)) == (log, None)
    requests.counted('r', 'b', 0)
    assert requests.expire(CALLBACK_LIFETIME_ALONE + 1) == ['r']


def test_ways_of_answers(requests: PendingRequests) -> None:
    assert not requests.concern('/')
    ask(requests, 'a')
    other = NodesRequest('/', WAITER)
    requests.open('s', other, ['a'], 0.0)
    requests.withdraw('r')
    requests.withdraw('r')
    assert requests.concern('/') and not requests.concern('/chat')
    assert requests.answered('s', 'a', 1) is WAITER
    assert not requests.concern('/')


# -- answers that came beside the stream ------------------------------------

def answer(sid: str) -> FetchSocketsResponse:
    return FetchSocketsResponse('r', ({'id': sid},))


def test_early_answer_waits(requests: PendingRequests) -> None:
    """Its node was not known when it came."""
    request = ask(requests)
    assert requests.overhear('a', answer('s')) == []
    assert request.answers == {}
    requests.joined('/', 'a', WRITER)
    requests.written('r', WRITER, 3)
    assert requests.returned(WRITER, 3) == []
    assert requests.take_early() == [Completed(WAITER)]
    assert request.answers == {'a': ({'id': 's'},)}
    assert requests.take_early() == []


def test_early_answer_of_a_node_that_was_not_asked(
        requests: PendingRequests) -> None:
    request = ask(requests)
    requests.written('r', WRITER, 3)
    requests.overhear('late', answer('s'))
    requests.returned(WRITER, 3)
    assert requests.take_early() == [Completed(WAITER)]
    assert request.answers == {}


def test_answer_after_the_request_was_read_back(
        requests: PendingRequests) -> None:
    ask(requests, 'a')
    requests.written('r', WRITER, 3)
    requests.returned(WRITER, 3)
    assert requests.overhear('a', answer('s')) == [Completed(WAITER)]


def test_early_acknowledgement(requests: PendingRequests) -> None:
    log = Log()
    requests.open('r', ClientsRequest('/', callback=log), ['a'], 0.0,
                  writer=WRITER)
    requests.overhear('a', BroadcastClientCount('r', 1))
    requests.overhear('a', BroadcastAck('r', ('yes',)))
    assert requests.take_early() == []
    requests.returned(WRITER, 3)
    requests.written('r', WRITER, 3)
    assert requests.take_early() == [Acknowledged(log, ('yes',))]
    assert len(requests) == 0


# -- pages -------------------------------------------------------------------

def page(number: int, last: bool, *sids: str) -> FetchSocketsResponse:
    return FetchSocketsResponse(
        'r', tuple({'id': sid} for sid in sids), Page(number, last))


def asked(requests: PendingRequests, *nodes: str) -> NodesRequest:
    request = NodesRequest('/', WAITER)
    requests.open('r', request, nodes, 0.0)
    return request


def test_pages_make_one_answer(requests: PendingRequests) -> None:
    request = asked(requests, 'a')
    assert requests.respond('a', page(0, False, 's', 't')) == []
    assert requests.respond('a', page(1, False)) == []
    assert request.answers == {} and request.missing == ['a']
    assert requests.respond('a', page(2, True, 'u')) == [Completed(WAITER)]
    assert request.answers == {'a': ({'id': 's'}, {'id': 't'}, {'id': 'u'})}


def test_missing_page(requests: PendingRequests) -> None:
    """The answer must not look complete."""
    request = asked(requests, 'a')
    requests.respond('a', page(0, False, 's'))
    assert requests.respond('a', page(2, True, 'u')) == []
    assert request.answers == {} and request.missing == ['a']


def test_page_that_comes_twice(requests: PendingRequests) -> None:
    request = asked(requests, 'a', 'b')
    for _ in range(2):
        requests.respond('a', page(0, False, 's'))
    for _ in range(2):
        assert requests.respond('a', page(1, True, 't')) == []
    assert request.answers == {'a': ({'id': 's'}, {'id': 't'})}
    assert request.missing == ['b']


def test_pages_of_counts(requests: PendingRequests) -> None:
    request = asked(requests, 'a')
    requests.respond('a', FetchSocketsResponse(
        'r', (), Page(0, False), (('x', 1), ('y', 2))))
    requests.respond('a', FetchSocketsResponse(
        'r', (), Page(1, True), ((5, 3),)))
    assert request.answers == {'a': {'x': 1, 'y': 2, 5: 3}}


def test_page_for_nobody(requests: PendingRequests) -> None:
    assert requests.respond('a', page(0, True)) == []
