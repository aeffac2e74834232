"""The queue of packets for a client, and the hub that empties it, with gevent.

``tests/unit/clients/test_gevent_queue.py`` runs these tests in a process of
their own.
"""
import queue
from typing import Any, Callable, List

import gevent
import pytest
import socketio
from engineio.packet import CLOSE, MESSAGE, NOOP, Packet, PING

from redis_streams_adapter.clients import gevent_queue
from redis_streams_adapter.clients.frames import share, SharedPacket
from redis_streams_adapter.clients.gevent_queue import GeventQueue
from redis_streams_adapter.clients.send_queue import install

from ..unit.clients.test_frames import framed
from ..unit.striking import strike, Striker
from .gevent_clients import Client, LARGE

#: They define the fixtures.
pytest_plugins = ['tests.support.gevent_clients']

Emit = Callable[..., None]
Make = Callable[..., Client]


# -- writing at once ---------------------------------------------------------

def test_all_that_a_task_emits_is_one_write_for_each_client(
        make_client: Make, emit: Emit) -> None:
    a, b, other = make_client(), make_client(), make_client()
    for number in range(3):
        emit(f'{number}', a, b)
    emit('other', other)
    assert a.sent == []
    assert a.messages() == b.messages() == ['40', '41', '42']
    assert other.messages() == ['4other']
    assert a.sent == b.sent == other.sent == ['now']
    emit('3', a, b)
    assert a.messages() == b.messages() == ['43']
    assert not a.queue.items and not a.queue.hub.marked


def test_frames_are_shared(make_client: Make, emit: Emit,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are made and joined once for all clients of the events."""
    joined: List[int] = []

    def join(*args: Any) -> Any:
        joined.append(1)
        return gevent_join(*args)

    gevent_join = gevent_queue.join
    monkeypatch.setattr(gevent_queue, 'join', join)
    clients = [make_client() for _ in range(5)]
    emit('a', *clients)
    emit('b', *clients)
    assert [each.messages() for each in clients] == [['4a', '4b']] * 5
    assert joined == [1]


def test_event_acknowledgement_and_ping_keep_their_order(
        make_client: Make, emit: Emit) -> None:
    client = make_client()
    emit('event', client)
    client.sock.send(Packet(MESSAGE, '31["ack"]'))
    client.sock.send(Packet(PING))
    client.sock.send(Packet(MESSAGE, b'bytes'))
    emit('more', client)
    assert client.messages() == [
        '4event', '431["ack"]', '2', b'bytes', '4more']
    assert client.sent == ['now'] and not client.left


def test_slow_client_holds_up_no_other(make_client: Make,
                                       emit: Emit) -> None:
    slow, quick = make_client(), make_client()
    big = 'x' * LARGE
    emit(big, slow)
    for number in range(100):
        emit(f'{number}', slow, quick)
        if number % 10 == 0:
            assert quick.messages()[-1] == f'4{number}'
    expected = framed(f'{big}') + b''.join(
        framed(f'{number}') for number in range(100))
    assert slow.read(len(expected)) == expected
    assert slow.sent[0] == 'now' and 'task' in slow.sent
    # It is as quick as the others again.
    del slow.sent[:]
    emit('end', slow, quick)
    assert slow.messages() == ['4end'] and slow.sent == ['now']


def test_nothing_is_written_between_frames_of_another_task(
        make_client: Make, emit: Emit) -> None:
    """The reading task writes a PONG, and waits for the client."""
    client = make_client()
    pong = b'p' * LARGE
    reading = gevent.spawn(client.frames.send, pong)
    gevent.sleep(0)
    emit('a', client)
    gevent.sleep(0)
    assert 'now' not in client.sent
    assert client.read(LARGE + len(framed('a'))) == pong + framed('a')
    reading.get(timeout=60)


def test_encrypted_connections_are_left_to_their_tasks(
        make_client: Make, emit: Emit) -> None:
    client = make_client(start=False)
    client.frames.at_once = None
    client.start()
    emit('a', client)
    emit('b', client)
    assert client.messages() == ['4a', '4b'] and client.sent == ['task']


def test_full_buffer_loses_nothing(make_client: Make, emit: Emit) -> None:
    client = make_client()
    texts = [f'{number}-' + 'x' * 30000 for number in range(200)]
    for text in texts:
        emit(text, client)
        gevent.sleep(0)
    sent = b''.join(map(framed, texts))
    assert client.read(len(sent)) == sent


def test_messages_to_compress_are_left_to_package(
        make_client: Make, emit: Emit) -> None:
    client = make_client(longest=1024)
    for text in ('a', 'x' * 1000, 'y' * 2000, 'b'):
        emit(text, client)
    assert client.messages() == [
        '4a', '4' + 'x' * 1000, '4' + 'y' * 2000, '4b']
    assert client.left == ['4' + 'y' * 2000]


def test_invalid_text_ends_connection_as_before(
        make_client: Make, emit: Emit) -> None:
    client = make_client()
    client.sock.send(Packet(MESSAGE, '\ud800'))
    client.task.join(60)
    assert client.left == ['4\ud800'] and not client.queue.items


def test_packet_that_cannot_be_encoded_ends_connection_as_before(
        make_client: Make, emit: Emit) -> None:
    """What precedes it arrives. The application's JSON module does not run
    in the hub."""
    client = make_client()
    emit('event', client)
    client.sock.send(Packet(MESSAGE, {'a': object()}))
    assert client.messages() == ['4event']
    client.task.join(60)
    assert client.task.value == 'lost' and not client.frames._torn


def test_busy_task_is_waited_for(make_client: Make, emit: Emit) -> None:
    """What it has taken comes first."""
    client = make_client(start=False)
    emit('first', client)
    packets = client.sock.poll()
    emit('second', client)
    assert client.messages() == [] and client.sent == []
    for packet in packets:
        client.ws.send(packet.encode())
    client.start()
    assert client.messages() == ['4first', '4second']


# -- the end of a connection -------------------------------------------------

def test_close_follows_what_was_emitted(make_client: Make,
                                        emit: Emit) -> None:
    client = make_client()
    emit('event', client)
    client.sock.close(wait=True)
    assert client.messages() == ['4event', str(CLOSE)]
    client.task.join(60)
    assert client.task.value == 'end'
    # python-engineio adds a last packet, which nothing takes.
    client.queue.put(None)


def test_closed_websocket_ends_task(make_client: Make, emit: Emit) -> None:
    client = make_client()
    client.is_open = False
    emit('event', client)
    client.task.join(60)
    assert client.task.value == 'lost' and client.sent == []


def test_lost_connection_ends_task(make_client: Make, emit: Emit) -> None:
    client = make_client()
    client.far.close()
    emit('first', client)
    emit('second', client)
    client.task.join(60)
    assert client.task.value == 'lost'


def test_client_that_gets_nothing_is_given_up(
        server: Any, make_client: Make, emit: Emit) -> None:
    """After the time of a PING and its answer, counted from the last packet,
    whether the hub or the task has written it."""
    server.eio.ping_interval, server.eio.ping_timeout = 0.8, 0.2
    client = make_client()
    for _ in range(4):
        gevent.sleep(0.3)
        emit('event', client)
    assert not client.task.ready()
    client.task.join(60)
    assert client.task.value == 'QueueEmpty'


@pytest.mark.parametrize('size', [10, LARGE])
def test_struck_write_repeats_and_tears_nothing(
        server: Any, emit: Emit, size: int) -> None:
    """The client gets all events once, or its connection ends."""
    text = 'x' * size
    whole = framed(f'{text}') + framed('b')

    def run(striker: Striker) -> None:
        client, other = Client(server, 'client'), Client(server, 'other')
        client.start()
        other.start()
        try:
            emit(text, client, other)
            emit('b', client, other)
            striker.run(client.queue.hub._run)
            client.frames.settimeout(0.1)
            emit('c', client, other)
            everything = whole + framed('c')
            for each in client, other:
                came = each.read_until_end(len(everything))
                # On a busy machine the timeout may end it, too.
                assert came == everything or each.frames._torn \
                    and everything.startswith(came), striker.where
            assert size == LARGE or not (
                client.frames._torn and other.frames._torn)
        finally:
            for each in client, other:
                each.task.kill()
                each.near.close()
                each.far.close()

    strike(run, step=1)


# -- before, and without, a WebSocket ----------------------------------------

def test_polling_client_gets_packets(make_client: Make, emit: Emit) -> None:
    client = make_client(start=False, upgraded=False)
    emit('a', client)
    client.sock.send(Packet(NOOP))
    assert [each.encode() for each in client.sock.poll()] == ['4a', '6']
    polling = gevent.spawn(client.sock.poll)
    gevent.sleep(0)
    emit('b', client)
    emit('c', client)
    assert [each.encode() for each in polling.get(timeout=60)] == ['4b', '4c']
    assert client.sent == []


def test_nothing_is_written_before_upgrade(make_client: Make,
                                           emit: Emit) -> None:
    """The NOOP that ends the last request for polling does not go to the
    WebSocket, nor does what that request takes."""
    client = make_client(start=False, upgraded=False)
    polling = gevent.spawn(client.sock.poll)
    gevent.sleep(0)
    client.sock.upgrading = True
    client.queue.put(Packet(NOOP))
    emit('a', client)
    assert [each.encode() for each in polling.get(timeout=60)] == ['6', '4a']
    emit('b', client)
    gevent.sleep(0)
    assert client.sent == []
    client.sock.upgraded = True
    client.start()
    emit('c', client)
    assert client.messages() == ['4b', '4c']


def test_replaced_send_gets_each_message(make_client: Make,
                                         emit: Emit) -> None:
    """python-socketio's admin UI counts what is sent."""
    client = make_client(start=False)
    counted: List[Any] = []
    client.ws.send = counted.append
    client.start()
    emit('a', client)
    emit('b', client)
    client.messages()
    assert counted == ['4a', '4b'] and client.sent == []


def test_queue_works_like_that_of_engineio(server: Any) -> None:
    waiting = server.eio.create_queue()
    with pytest.raises(queue.Empty):
        waiting.get(timeout=0.01)
    with pytest.raises(server.eio.get_queue_empty_exception()):
        waiting.get(block=False)
    waiting.join()
    for each in 'a', 'b', None:
        waiting.put(each)
    joining = gevent.spawn(waiting.join)
    assert [waiting.get(block=False), waiting.get(timeout=1)] == ['a', 'b']
    waiting.task_done()
    gevent.sleep(0)
    assert not joining.ready() and waiting.qsize() == 1
    assert waiting.get() is None and waiting.empty()
    # It was empty, if only for a moment.
    waiting.put(None)
    joining.get(timeout=60)


def test_two_tasks_get_a_packet_each(server: Any) -> None:
    waiting = server.eio.create_queue()
    tasks = [gevent.spawn(waiting.get) for _ in range(2)]
    gevent.sleep(0)
    waiting.put('a')
    gevent.sleep(0)
    gevent.sleep(0)
    assert sum(each.ready() for each in tasks) == 1
    waiting.put('b')
    assert {each.get(timeout=60) for each in tasks} == {'a', 'b'}


# -- the hub -----------------------------------------------------------------

def test_other_tasks_run_between_many_clients(
        make_client: Make, emit: Emit,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gevent_queue, 'AT_A_TIME', 2)
    clients = [make_client() for _ in range(5)]
    emit('a', *clients)
    seen: List[int] = []
    for _ in range(4):
        gevent.sleep(0)
        seen.append(sum(map(bool, (each.sent for each in clients))))
    assert seen == [2, 4, 5, 5]
    assert [each.messages() for each in clients] == [['4a']] * 5


def test_queues_are_those_of_one_server(server: Any) -> None:
    one, other = server.eio.create_queue(), server.eio.create_queue()
    assert isinstance(one, GeventQueue) and one.hub is other.hub
    table = server.eio._async
    install(server)
    assert server.eio._async == table
    second = socketio.Server(async_mode='gevent')
    assert not isinstance(second.eio.create_queue(), GeventQueue)


def test_sharing_needs_equal_limits(make_client: Make, emit: Emit) -> None:
    """A client that agreed to compress, after one that did not."""
    plain, compressing = make_client(), make_client(longest=1024)
    emit('x' * 2000, plain, compressing)
    assert plain.messages() == compressing.messages() == ['4' + 'x' * 2000]
    assert not plain.left and len(compressing.left) == 1


def test_binary_event(make_client: Make, server: Any) -> None:
    client = make_client()
    client.queue.items.extend([share('451-["x"]'),
                               share(b'bytes')])
    client.queue.put(share('2["y"]'))
    assert client.messages() == ['4451-["x"]', b'bytes', '42["y"]']


def test_failed_write_ends_that_connection_alone(
        make_client: Make, emit: Emit) -> None:
    """Whatever fails; the hub goes on."""
    class Failing(SharedPacket):
        def __getattribute__(self, name: str) -> Any:
            if name == 'frame':
                raise RuntimeError('failed')
            return super().__getattribute__(name)

    failing, other = make_client(), make_client()
    failing.queue.put(Failing('a'))
    emit('b', failing, other)
    hub = failing.queue.hub
    with pytest.raises(RuntimeError):
        hub._run()
    assert failing.frames._torn
    assert other.messages() == ['4b']
    assert not hub.marked
