"""Whether all members are known."""
from typing import Optional

import pytest

from redis_streams_adapter.protocol.discovery import ANSWER_PATIENCE, \
    ASK_INTERVAL, Knowledge, LONGEST_PATIENCE, RECONNECT_PATIENCE, Span, TRIPS

TIMEOUT = 10.0

#: The first position.
START = (5, 0)


@pytest.fixture
def knowledge() -> Knowledge:
    return Knowledge(TIMEOUT)


def begun(seconds: float, whole: bool, now: float = 100.0) -> Knowledge:
    knowledge = Knowledge(TIMEOUT)
    knowledge.begin(START, Span(seconds, whole), now)
    return knowledge


def known_at(knowledge: Knowledge, now: float,
             namespace: str = '/') -> bool:
    return knowledge.remaining(namespace, now) == 0


def ask(knowledge: Knowledge, at: float, back: float,
        namespace: str = '/') -> None:
    knowledge.asked(namespace, at)
    knowledge.asked_back(namespace, back)


def test_before_anything_was_read(knowledge: Knowledge) -> None:
    assert knowledge.remaining('/', 1000.0) is None
    assert not knowledge.is_to_ask('/', 1000.0)
    # What arrives in this state proves nothing, and is not an error.
    ask(knowledge, 0.0, 0.1)
    assert not knowledge.tell('/', (9, 0))
    knowledge.suspend(5.0)
    assert not knowledge.lose(START, True, 0.0)
    assert knowledge.remaining('/', 1000.0) is None


@pytest.mark.parametrize('whole', [False, True])
def test_the_whole_timeout_was_read(whole: bool) -> None:
    knowledge = begun(TIMEOUT, whole)
    assert knowledge.settled
    assert known_at(knowledge, 100.0) and known_at(knowledge, 100.0, '/x')
    assert not knowledge.is_to_ask('/', 100.0)


def test_less_was_read() -> None:
    """Then time has to pass, or a member has to list all members."""
    knowledge = begun(4.0, False)
    assert knowledge.remaining('/', 100.0) == 6.0
    # Silence proves nothing.
    ask(knowledge, 100.0, 100.1)
    ask(knowledge, 104.0, 104.1)
    assert not known_at(knowledge, 105.9)
    assert known_at(knowledge, 106.0)
    assert knowledge.settled


def test_time_without_hearing_does_not_count() -> None:
    knowledge = begun(4.0, False)
    knowledge.suspend(5.0)
    assert not known_at(knowledge, 106.0)
    assert known_at(knowledge, 111.0)
    knowledge.suspend(60.0)
    assert known_at(knowledge, 111.0)


def test_list_of_members() -> None:
    knowledge = begun(0.0, False)
    # It was true before this node began, and a node may have joined since.
    assert not knowledge.tell('/', (4, 7))
    assert not known_at(knowledge, 100.0)
    assert knowledge.tell('/', START)
    assert known_at(knowledge, 100.0)
    # One is enough; and it applies to one namespace.
    assert not knowledge.tell('/', (6, 0))
    assert not known_at(knowledge, 100.0, '/x')
    assert not knowledge.settled


def test_goodbyes_before_a_list() -> None:
    knowledge = begun(0.0, False)
    knowledge.left('/', 'a')
    assert knowledge.has_left('/', 'a')
    assert not knowledge.has_left('/x', 'a')
    # Nothing is kept of them once all members are known.
    assert known_at(knowledge, 110.0)
    assert not knowledge.has_left('/', 'a')
    knowledge.left('/', 'a')
    assert not knowledge.has_left('/', 'a')


def test_young_stream() -> None:
    """Silence means that there are no members, if they could have been
    heard."""
    knowledge = begun(0.0, True)
    assert knowledge.is_to_ask('/', 100.0)
    knowledge.asked('/', 100.0)
    assert not knowledge.is_to_ask('/', 100.0)
    knowledge.asked_back('/', 100.01)
    end = 100.01 + ANSWER_PATIENCE
    left = knowledge.remaining('/', 100.01)
    assert left is not None and abs(left - ANSWER_PATIENCE) < 1e-6
    assert not known_at(knowledge, end + 0.01)
    # Elapsed time is not enough: the reader may have been stuck.
    assert knowledge.is_to_ask('/', end + 0.01)
    knowledge.asked('/', end + 0.01)
    assert not knowledge.is_to_ask('/', end + 0.02)
    assert not known_at(knowledge, end + 0.02)
    knowledge.asked_back('/', end + 0.03)
    assert known_at(knowledge, end + 0.03)
    assert not known_at(knowledge, end + 0.03, '/x')


def test_answer_to_the_first_question_does_not_answer_the_second() -> None:
    knowledge = begun(0.0, True)
    ask(knowledge, 100.0, 100.01)
    knowledge.asked_back('/', 100.02)
    knowledge.asked_back('/', 100.0 + ANSWER_PATIENCE / 2)
    assert not known_at(knowledge, 101.0)


@pytest.mark.parametrize('trip, patience', [
    (0.0, ANSWER_PATIENCE), (0.4, TRIPS * 0.4), (30.0, LONGEST_PATIENCE)])
def test_patience_depends_on_the_network(trip: float, patience: float) -> None:
    knowledge = begun(0.0, True, 0.0)
    ask(knowledge, 0.0, trip)
    left: Optional[float] = knowledge._patience['/'] - trip
    assert left is not None and abs(left - patience) < 1e-6


def test_questions_are_repeated() -> None:
    """A member that did not know all members may know them later."""
    knowledge = begun(0.0, False)
    ask(knowledge, 100.0, 100.01)
    assert not knowledge.is_to_ask('/', 100.9)
    assert knowledge.is_to_ask('/', 100.0 + ASK_INTERVAL)


def test_loss() -> None:
    knowledge = begun(TIMEOUT, False)
    assert knowledge.lose((9, 0), False, 200.0)
    assert knowledge.remaining('/', 200.0) == TIMEOUT
    assert not knowledge.tell('/', (8, 9))
    assert knowledge.tell('/', (9, 0))
    # Again, and no member could have answered yet.
    assert not knowledge.lose((9, 1), False, 200.5)
    assert not known_at(knowledge, 200.5)
    assert knowledge.lose((9, 2), False, 202.0)
    assert known_at(knowledge, 212.0)


def test_second_stream() -> None:
    knowledge = begun(TIMEOUT, False)
    knowledge.lose((9, 0), True, 200.0)
    ask(knowledge, 200.0, 200.0)
    ask(knowledge, 201.0, 201.0)
    assert known_at(knowledge, 201.0)


@pytest.mark.parametrize('span', [
    Span(TIMEOUT, False, True), Span(0.0, True, True)])
def test_outage_at_the_start(span: Span) -> None:
    """Members have time to reconnect before silence means anything."""
    knowledge = Knowledge(TIMEOUT)
    knowledge.begin(START, span, 100.0)
    assert not known_at(knowledge, 100.0)
    ask(knowledge, 100.0, 100.1)
    ask(knowledge, 101.0, 101.1)
    assert not known_at(knowledge, 100.1 + RECONNECT_PATIENCE)
    ask(knowledge, 104.0, 100.2 + RECONNECT_PATIENCE)
    assert known_at(knowledge, 100.2 + RECONNECT_PATIENCE)


def test_outage_with_a_trimmed_stream() -> None:
    """One heartbeat timeout has to pass, unless a member lists all."""
    knowledge = Knowledge(TIMEOUT)
    knowledge.begin(START, Span(TIMEOUT - 1, False, True), 100.0)
    ask(knowledge, 100.0, 100.1)
    ask(knowledge, 108.0, 108.1)
    assert not known_at(knowledge, 100.0 + TIMEOUT - 0.1)
    assert known_at(knowledge, 100.0 + TIMEOUT)


def test_later_loss_is_not_an_outage_at_the_start() -> None:
    knowledge = Knowledge(TIMEOUT)
    knowledge.begin(START, Span(0.0, True, True), 100.0)
    knowledge.lose((9, 0), True, 200.0)
    ask(knowledge, 200.0, 200.0)
    ask(knowledge, 200.0, 200.0 + ANSWER_PATIENCE)
    assert known_at(knowledge, 200.0 + ANSWER_PATIENCE)
