"""What a client gets that returns, and what it does not."""
import enum
import json
import threading
from datetime import date
from typing import Any, List

import pytest

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Unavailable

from ...support.wait import wait_until
from .harness import emit, Make


def test_client_without_offset_gets_first_event(node: Make) -> None:
    """The first event of all was on its way when the connection broke."""
    one = node()
    client = one.client().connect()
    emit(one, 'a')
    wait_until(lambda: one.manager.stats()['delivered'] == 1)
    # The network has swallowed it.
    client.lose()
    shown = {'pid': client.pid}
    again = one.client().connect(shown)
    assert again.sid == client.sid
    again.await_names('a')


def test_event_before_first_client_is_replayed_once(node: Make) -> None:
    """What a server has emitted before it had a client, and a client that
    returns missed, it gets once."""
    one = node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    two = node()
    emit(two, 'b')
    two.manager.flush(5)
    again = two.client().connect(client.back())
    emit(two, 'c')
    wait_until(lambda: 'c' in again.names())
    assert again.names() == ['b', 'c']


def test_session_stays_when_replay_fails(node: Make) -> None:
    """Redis cannot be asked for what was missed: the session stays."""
    one, two = node(), node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    emit(one, 'b')
    wait_until(lambda: one.keeper.local.of_pid(client.pid) is None)
    two.manager.start()
    page = two.keeper.sessions.page

    def fail(*args: Any) -> Any:
        two.keeper.sessions.page = page
        raise Unavailable('no reply from Redis in time')

    two.keeper.sessions.page = fail
    new = two.client().connect(client.back())
    assert new.sid != client.sid
    again = two.client().connect(client.back())
    assert again.sid == client.sid


@pytest.mark.parametrize('missed', [(), ('b',), ('b', 'c')])
@pytest.mark.parametrize('sent', [False, True])
def test_offset_of_former_session_is_ignored(
        node: Make, sent: bool, missed: Any) -> None:
    """The JavaScript client still shows the offset of its former session,
    also when it was sent something over a connection that was half open."""
    one = node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    timeline = one.manager._live().delivery('/')
    emit(one, 'meanwhile')
    wait_until(lambda: not timeline.is_waiting)
    new = one.client().connect({'pid': 'unknown', 'offset': client.offset})
    assert new.sid != client.sid
    if sent:
        emit(one, 'half open')
        wait_until(lambda: not timeline.is_waiting)
    new.lose()
    emit(one, *missed)
    expected = ['half open', *missed] if sent else list(missed)
    for _ in range(2):
        again = one.client().connect(
            {'pid': new.pid, 'offset': client.offset})
        assert again.sid == new.sid
        again.await_names(*expected)
        again.lose()


def test_unencodable_event_is_skipped(node: Make) -> None:
    """A missed event that cannot be encoded for clients is left out."""
    one, two = node(), node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    emit(one, 'b', 'bad', 'c')
    two.manager.start()
    delivery = two.manager._delivery
    encode = delivery.encode

    def picky(namespace: str, args: Any, *more: Any) -> Any:
        if args[0] == 'bad':
            raise OverflowError('msgpack cannot have it')
        return encode(namespace, args, *more)

    delivery.encode = picky
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b', 'c')
    emit(one, 'd')
    again.await_names('b', 'c', 'd')


def test_event_keeps_data_from_time_of_emit(node: Make) -> None:
    """What is emitted is what it was when it was emitted, bytes too."""
    one = node()
    client = one.client().connect()
    data = bytearray(b'before')
    one.server.emit('a', data)
    data[:] = b'behind'
    parts: List[Any] = []

    def arrived() -> bool:
        while not client.socket.queue.empty():
            packet = client.socket.queue.get()
            if packet is not None and packet.binary:
                parts.append(packet.data)
        return bool(parts)

    wait_until(arrived)
    assert parts == [b'before']


class Name(str, enum.Enum):
    """How applications name rooms."""

    ROOM = 'room'


def test_room_named_by_enum_is_restored(node: Make) -> None:
    """A room whose name is text of another class is one that others can
    name."""
    one, two = node(), node()
    client = one.client().connect()
    one.server.enter_room(client.sid, Name.ROOM)
    client.lose()
    wait_until(lambda: one.keeper.local.of_pid(client.pid) is None)
    again = two.client().connect(client.back())
    assert set(two.server.rooms(again.sid)) == {client.sid, 'room'}


def test_text_from_json_module_is_no_offset(node: Make) -> None:
    """What a JSON module makes text of does not become the offset of a
    client."""
    class Json:
        """Knows dates."""

        loads = staticmethod(json.loads)

        @staticmethod
        def dumps(value: Any, **options: Any) -> str:
            return json.dumps(value, default=str, **options)

    one = node()
    one.server.packet_class = type(
        'Packet', (one.server.packet_class,), {'json': Json})
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    one.server.emit('b', date(2026, 1, 1), ignore_queue=True)
    client.await_names('a', 'b')
    assert client.offset and '-' in client.offset
    assert not client.offset.startswith('2026-01')


def test_duplicate_entry_is_replayed_once(node: Make,
                                          redis_server: Any) -> None:
    """A copy of an own entry, which a lost command has left, is not missed
    twice."""
    one = node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    emit(one, 'b')
    one.manager.flush(5)
    key = one.manager._live()._channels[0].key
    with redis_server.client() as admin:
        fields = [fields for _, fields in admin.xrange(key)
                  if b'"b"' in fields.get(b'data', b'')][0]
        copy = admin.xadd(key, fields)
    assert one.manager._live().delivery('/').reach(
        Position.parse(copy), 5)
    again = one.client().connect(client.back())
    emit(one, 'c')
    again.await_names('b', 'c')


def test_client_returns_while_namespace_is_removed(node: Make) -> None:
    """A namespace without handlers is served as long as there are clients:
    while a server puts together which ones there are, one comes."""
    one = node()
    one.server.namespaces = '*'
    client = one.client()
    client.connect(namespace='/own')
    client.lose()
    runtime = one.manager._live()
    namespaces = runtime._membership.namespaces
    task = threading.current_thread()
    looked, go_on = threading.Event(), threading.Event()

    def slow() -> Any:
        found = list(namespaces())
        if threading.current_thread() is task:
            looked.set()
            go_on.wait(10)
        return found

    runtime._membership.namespaces = slow
    task = threading.Thread(target=runtime.serve_namespaces)
    task.start()
    assert looked.wait(10)
    again = one.client()
    comes = threading.Thread(
        target=again.connect, args=(client.back(), '/own'))
    comes.start()
    # It waits for the other one, or need not.
    comes.join(0.5)
    go_on.set()
    task.join()
    comes.join()
    assert again.sid == client.sid
    assert runtime.node.serves('/own')
