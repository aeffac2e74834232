"""The queue of packets for a client, with threads."""
import queue
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from engineio.packet import MESSAGE, Packet, PING
from engineio.socket import Socket

from redis_streams_adapter.clients.delivery import Load
from redis_streams_adapter.clients.frames import AT_ONCE, share
from redis_streams_adapter.clients.send_queue import SendQueue, install
from redis_streams_adapter.protocol.messages import Broadcast

from ..fake_server import make_server
from ..nodes import Call, Node
from ..striking import strike, Striker
from .test_frames import framed, read


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
                delivery.encode('/', Broadcast(('event', number))))])

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


def test_join_ends_once_queue_was_empty() -> None:
    """python-engineio adds a last packet when the connection ends, which no
    task takes."""
    waiting = SendQueue()
    waiting.put('a')
    joining = Call(waiting.join)
    assert joining.waits
    assert waiting.get() == 'a'
    waiting.put(None)
    joining.result()
    # The next one waits, too.
    joining = Call(waiting.join)
    assert joining.waits
    assert waiting.get() is None
    joining.result()


class Writer:
    """Writes frames, unless they are longer than 100 bytes."""

    is_used = True
    longest = 100


def put(waiting: SendQueue, *texts: str) -> None:
    for text in texts:
        waiting.put(share(text))


def test_websocket_gets_all_that_waits_at_once() -> None:
    waiting = SendQueue()
    waiting.writer = Writer()  # type: ignore[assignment]
    put(waiting, 'a', 'b')
    waiting.put(Packet(PING))
    assert read(waiting.get(timeout=1).data) == ['4a', '4b', '2']
    with pytest.raises(queue.Empty):
        waiting.get(timeout=0.01)


def test_rest_waits_for_its_turn() -> None:
    """What cannot be joined follows, in order; and each write is limited."""
    waiting = SendQueue()
    waiting.writer = Writer()  # type: ignore[assignment]
    put(waiting, 'a', 'x' * 200, 'b')
    waiting.put(None)
    assert waiting.get().data == framed('a')
    assert not waiting.empty()
    # The task sends before it asks again.
    with pytest.raises(queue.Empty):
        waiting.get(block=False)
    assert waiting.get().data == 'x' * 200
    assert waiting.get().data == framed('b')
    assert waiting.get() is None and waiting.empty()
    put(waiting, *map(str, range(AT_ONCE + 1)))
    assert len(read(waiting.get().data)) == AT_ONCE
    assert waiting.get().data == framed(f'{AT_ONCE}')


def test_packet_that_cannot_be_encoded_follows_the_others() -> None:
    """It fails only when it is sent. Then Engine.IO ends the connection."""
    waiting = SendQueue()
    waiting.writer = Writer()  # type: ignore[assignment]
    put(waiting, 'a')
    failing = Packet(MESSAGE, {'a': object()})
    waiting.put(failing)
    assert waiting.get().data == framed('a')
    assert waiting.get() is failing


def test_packets_are_not_joined_without_websocket() -> None:
    waiting, writer = SendQueue(), Writer()
    writer.is_used = False
    waiting.writer = writer  # type: ignore[assignment]
    put(waiting, 'a', 'b')
    assert [waiting.get().data, waiting.get(block=False).data] == ['a', 'b']


def test_other_queues_are_unchanged() -> None:
    server, other = make_server(), make_server()
    install(server)
    install(server)
    assert isinstance(server.eio.create_queue(), SendQueue)
    assert not isinstance(other.eio.create_queue(), SendQueue)
    green = SimpleNamespace(eio=SimpleNamespace(_async={'queue': list}))
    install(green)
    assert green.eio._async == {'queue': list}
