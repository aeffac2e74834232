"""The same queue, with clients of several threads, and packets of threads of
the system."""
import threading
from typing import Any, Callable, List

import gevent
from engineio.packet import MESSAGE, Packet

from ..unit.clients.test_frames import framed, read
from .gevent_clients import Client

#: They define the fixtures.
pytest_plugins = ['tests.support.gevent_clients']

Emit = Callable[..., None]
Make = Callable[..., Client]


def test_server_moves_to_another_thread(server: Any) -> None:
    """Tests of an application may serve it in one thread after another."""
    def serve() -> None:
        server.eio.create_queue()
        gevent.get_hub().destroy()

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join(60)
    waiting = server.eio.create_queue()
    task = gevent.spawn(waiting.get)
    gevent.sleep(0)
    waiting.put('a')
    assert task.get(timeout=60) == 'a'


def test_clients_of_several_threads(
        server: Any, make_client: Make, emit: Emit) -> None:
    """Each hub writes to the clients of its own thread."""
    ready, found = threading.Event(), []
    clients: List[Client] = []

    def serve() -> None:
        clients.append(Client(server, 'other'))
        clients[0].start()
        ready.set()
        with gevent.Timeout(60):
            found.extend(read(clients[0].far.recv(100)))
        clients[0].task.kill()

    thread = threading.Thread(target=serve)
    here = make_client()
    thread.start()
    assert ready.wait(60)
    more = make_client()
    emit('a', here, clients[0], more)
    assert here.messages() == more.messages() == ['4a']
    thread.join(60)
    assert found == ['4a'] and clients[0].sent == ['now']
    assert here.queue.hub is not clients[0].queue.hub


def test_websocket_of_another_thread_is_left_to_its_task(
        make_client: Make, emit: Emit) -> None:
    """The client polled in this thread. Only one thread may write frames, or
    they would be mixed."""
    client, found = make_client(start=False), []
    ready = threading.Event()

    def serve() -> None:
        client.start()
        ready.set()
        client.task.join(60)
        found.extend(client.sent)

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(60)
    emit('a', client)
    with gevent.Timeout(60):
        assert client.read(len(framed('a'))) == framed('a')
    client.sock.close(wait=False)
    gevent.sleep(0)
    thread.join(60)
    assert found and set(found) == {'task'}


# -- threads of the system ---------------------------------------------------

def test_packets_of_a_thread_of_the_system(make_client: Make) -> None:
    """Its hub may never run; the client's does, at once."""
    client = make_client()
    pool = gevent.get_hub().threadpool
    sizes = []
    for number in range(50):
        pool.apply(client.queue.put, (Packet(MESSAGE, f'{number}'),))
        with gevent.Timeout(5):
            sizes.append(len(client.far.recv(100)))
    assert len(sizes) == 50 and all(sizes)
    # While the hub runs, too.
    count = 2000

    def add() -> None:
        for _ in range(count):
            client.queue.put(Packet(MESSAGE, 'x'))

    working = pool.spawn(add)
    with gevent.Timeout(20):
        client.read(count * len(framed('x')))
    working.get()
