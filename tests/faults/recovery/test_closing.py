"""The clients of a server that closes."""
from typing import Any

import pytest

from ...support.wait import wait_until
from .harness import check_rejected, emit, lose_session, MakeNode, \
    pause_close


def test_client_of_closed_server_is_recovered(make_node: MakeNode) -> None:
    """The clients of a server that shuts down gracefully are recovered."""
    one, two = make_node(), make_node()
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


def test_closing_server_takes_over_no_client(make_node: MakeNode) -> None:
    """After its ADAPTER_CLOSE a server delivers no more events of others, so
    it takes over no client; the next server does."""
    one, two = make_node(), make_node()
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
    check_rejected(two.client(), client)
    # The same once it has closed.
    check_rejected(two.client(), client)
    emit(one, 'b')
    again = one.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b')


def test_client_lost_during_close_misses_nothing(make_node: MakeNode) -> None:
    """Entries after the server's ADAPTER_CLOSE were delivered to no client
    of it; the next server replays them."""
    one, two = make_node(), make_node()
    client = one.client().connect()
    two.manager.start()
    emit(one, 'a')
    client.await_names('a')
    finish = pause_close(one)
    emit(two, 'b')
    delivery = two.manager._live().delivery('/')
    wait_until(lambda: not delivery.is_waiting)
    assert one.manager._live().delivery('/').reach(delivery.position, 5)
    lose_session(one, client)
    finish()
    assert client.names() == ['a']
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b')


@pytest.mark.parametrize('takes_part', [False, True])
@pytest.mark.parametrize('when', ['while', 'after'])
def test_closing_server_rejects_new_client(make_node: MakeNode, when: str,
                                           takes_part: bool) -> None:
    """A closing server could deliver no events of others and store no
    session: it closes the connection, so that the client retries."""
    one = make_node(recovery={'accepts': lambda *_: takes_part})
    one.client().connect()
    finish = pause_close(one)
    if when == 'after':
        finish()
    client = one.client().connect()
    finish()
    assert (client.socket.closed, client.sid) == (True, None)
    assert client.refused is None
