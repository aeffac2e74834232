"""Clients of servers that close."""
from typing import Any

import pytest

from ...support.wait import wait_until
from .harness import check_turned_away, emit, Make, stop_while_it_closes


def test_client_of_closed_server_is_recovered(node: Make) -> None:
    """A server ends in good order, and its clients are recovered."""
    one, two = node(), node()
    client = one.client().connect()
    two.manager.start()
    emit(one, 'a')
    client.await_names('a')
    one.server.enter_room(client.sid, 'room')
    emit(one, 'b', to='room')
    one.close()
    emit(two, 'c', to='room')
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b', 'c')


def test_closing_server_takes_over_no_client(node: Make) -> None:
    """From its goodbye on a server does not take in what others emit, so it
    takes nobody over; the next one does."""
    one, two = node(), node()
    client = one.client().connect()
    two.manager.start()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    reach = two.manager._live().delivery('/').reach

    def close(*args: Any) -> bool:
        done = reach(*args)
        two.manager._live().delivery('/').reach = reach
        two.manager.close()
        return bool(done)

    two.manager._live().delivery('/').reach = close
    check_turned_away(two.client(), client)
    # Also when it has closed.
    check_turned_away(two.client(), client)
    emit(one, 'b')
    again = one.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b')


def test_client_lost_during_close_misses_nothing(node: Make) -> None:
    """What is read behind the goodbye was handed to nobody."""
    one, two = node(), node()
    client = one.client().connect()
    two.manager.start()
    emit(one, 'a')
    client.await_names('a')
    finish = stop_while_it_closes(one)
    emit(two, 'b')
    timeline = two.manager._live().delivery('/')
    wait_until(lambda: not timeline.is_waiting)
    assert one.manager._live().delivery('/').reach(timeline.position, 5)
    client.lose()
    wait_until(lambda: one.keeper.local.of_pid(client.pid) is None)
    finish()
    assert client.names() == ['a']
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b')


@pytest.mark.parametrize('takes_part', [False, True])
@pytest.mark.parametrize('when', ['while', 'after'])
def test_closing_server_rejects_new_client(node: Make, when: str,
                                           takes_part: bool) -> None:
    """It would get nothing of what others emit, and have no session: it is
    turned away, and comes to another server."""
    one = node(recovery={'accepts': lambda *_: takes_part})
    one.client().connect()
    finish = stop_while_it_closes(one)
    if when == 'after':
        finish()
    coming = one.client().connect()
    finish()
    assert (coming.socket.closed, coming.sid) == (True, None)
    assert coming.refused is None
