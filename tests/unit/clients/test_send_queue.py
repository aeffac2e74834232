"""The queue of packets for a client, with threads."""
import queue
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from engineio.socket import Socket

from redis_streams_adapter.clients.send_queue import SendQueue, install
from redis_streams_adapter.clients.delivery import Load

from ..fake_server import make_server
from ..nodes import Call, Node
from ..striking import strike, Striker


def connection(server: Any) -> Any:
    """A connection of Engine.IO whose client does not read."""
    sock = Socket(server.eio, 'connection')
    sock.connected = True
    server.eio.sockets['connection'] = sock
    return sock


def test_struck_send_loses_no_other_event(
        make_node: Callable[..., Node]) -> None:
    """The client gets each other event once, and the emitting task does not
    wait."""
    node = make_node()
    delivery = node.manager._parts.local
    assert delivery is not None

    def emit(striker: Striker) -> None:
        sock = connection(node.server)

        def hand_over(number: int) -> None:
            delivery.hand_over([Load(
                [('sid', 'connection')],
                delivery.encode('/', ('event', number)))])

        striker.run(lambda: hand_over(1))
        Call(hand_over, 2).result()
        got = [each.data for each in Call(sock.poll).result()]
        assert got[-1] == '2["event",2]', striker.where
        assert got[:-1] in ([], ['2["event",1]']), striker.where

    strike(emit, step=1)


def test_queue_works_like_that_of_engineio() -> None:
    waiting = SendQueue()
    with pytest.raises(queue.Empty):
        waiting.get(timeout=0.01)
    for each in 'a', 'b', None:
        waiting.put(each)
    joining = Call(waiting.join)
    assert [waiting.get(block=False), waiting.get(timeout=1)] == ['a', 'b']
    waiting.task_done()
    assert joining.waits and not waiting.empty()
    assert waiting.get() is None
    joining.result()
    with pytest.raises(queue.Empty):
        waiting.get(block=False)


def test_other_queues_are_unchanged() -> None:
    server, other = make_server(), make_server()
    install(server)
    install(server)
    assert isinstance(server.eio.create_queue(), SendQueue)
    assert not isinstance(other.eio.create_queue(), SendQueue)
    green = SimpleNamespace(eio=SimpleNamespace(_async={'queue': list}))
    install(green)
    assert green.eio._async == {'queue': list}
