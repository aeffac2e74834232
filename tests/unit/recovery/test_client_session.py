"""A new client's session gets its first position in the stream."""
import threading
from typing import Optional

import pytest

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery.session import Gap
from redis_streams_adapter.recovery.client_session import ClientSession


def make(former: Optional[Position] = None) -> ClientSession:
    return ClientSession(
        ('s', 'e'), '/', 'pid', 'claim', Position(0), threading.Event(),
        placed=False, former=former)


def test_session_begins_at_position() -> None:
    session = make()
    session.begin_at(Position(5))
    assert session.is_placed
    assert (session.upto, session.since, session.obeyed) == (Position(5),) * 3
    assert (session.sent, session.gap) == (None, None)


def test_former_offset_is_kept_until_first_event() -> None:
    """The client sends that offset until it receives an event here."""
    session = make(Position(4, 9))
    session.begin_at(Position(5))
    assert (session.sent, session.gap) == (
        Position(4, 9), Gap(Position(4, 9), Position(5)))


@pytest.mark.parametrize('former', [Position(5), Position(5, 1), Position(10)])
def test_offset_that_may_be_received_here_is_not_kept(former: bytes) -> None:
    """A later claim could not identify the session."""
    session = make(former)
    session.begin_at(Position(5))
    assert (session.sent, session.gap) == (None, None)


def test_event_before_position_keeps_gap() -> None:
    """The event did not pass through the stream, and came before the session
    had a position."""
    session = make(Position(4, 9))
    session.sent = Position(0)
    session.begin_at(Position(5))
    assert (session.sent, session.gap) == (
        Position(0), Gap(Position(4, 9), Position(5)))
