"""The events that a returning client gets, and those that it does not."""
import enum
import json
import threading
from datetime import date
from typing import Any, List

import pytest

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Unavailable

from ...support.wait import wait_until
from .harness import client_with_offset, emit, lose_session, MakeNode


def test_client_without_offset_gets_first_event(make_node: MakeNode) -> None:
    """The connection breaks while the very first event is on its way."""
    one = make_node()
    client = one.client().connect()
    emit(one, 'a')
    wait_until(lambda: one.manager.stats()['delivered'] == 1)
    # The client has not received it.
    client.lose()
    shown = {'pid': client.pid}
    again = one.client().connect(shown)
    assert again.sid == client.sid
    again.await_names('a')


def test_event_before_first_client_is_replayed_once(
        make_node: MakeNode) -> None:
    """A client returns to a server that never had one: it gets once the
    missed events that this server emitted."""
    one = make_node()
    client = client_with_offset(one)
    client.lose()
    two = make_node()
    emit(two, 'b')
    two.manager.flush(5)
    again = two.client().connect(client.back())
    emit(two, 'c')
    wait_until(lambda: 'c' in again.names())
    assert again.names() == ['b', 'c']


def test_session_stays_when_replay_fails(make_node: MakeNode) -> None:
    """The session is kept if the missed events cannot be read."""
    one, two = make_node(), make_node()
    client = client_with_offset(one)
    client.lose()
    emit(one, 'b')
    wait_until(lambda: one.writer.local.of_pid(client.pid) is None)
    two.manager.start()
    page = two.writer.sessions.page

    def fail(*args: Any) -> Any:
        two.writer.sessions.page = page
        raise Unavailable('no reply from Redis in time')

    two.writer.sessions.page = fail
    new = two.client().connect(client.back())
    assert new.sid != client.sid
    again = two.client().connect(client.back())
    assert again.sid == client.sid


@pytest.mark.parametrize('missed', [(), ('b',), ('b', 'c')])
@pytest.mark.parametrize('sent', [False, True])
def test_offset_of_former_session_is_ignored(
        make_node: MakeNode, sent: bool, missed: Any) -> None:
    """The JavaScript client keeps sending the offset of its former session,
    even if an event was sent to it over a half-open connection."""
    one = make_node()
    client = client_with_offset(one)
    client.lose()
    delivery = one.manager._live().delivery('/')
    emit(one, 'between')
    wait_until(lambda: not delivery.is_waiting)
    new = one.client().connect({'pid': 'unknown', 'offset': client.offset})
    assert new.sid != client.sid
    if sent:
        emit(one, 'half open')
        wait_until(lambda: not delivery.is_waiting)
    new.lose()
    emit(one, *missed)
    expected = ['half open', *missed] if sent else list(missed)
    for _ in range(2):
        again = one.client().connect(
            {'pid': new.pid, 'offset': client.offset})
        assert again.sid == new.sid
        again.await_names(*expected)
        again.lose()


def test_unencodable_event_is_skipped(make_node: MakeNode) -> None:
    """A missed event that cannot be encoded for clients is skipped."""
    one, two = make_node(), make_node()
    client = client_with_offset(one)
    client.lose()
    emit(one, 'b', 'bad', 'c')
    two.manager.start()
    delivery = two.manager._parts.local
    encode = delivery.encode

    def picky(namespace: str, message: Any, *more: Any) -> Any:
        if message.args[0] == 'bad':
            raise OverflowError('too large for msgpack')
        return encode(namespace, message, *more)

    delivery.encode = picky
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b', 'c')
    emit(one, 'd')
    again.await_names('b', 'c', 'd')


def test_event_keeps_data_from_time_of_emit(make_node: MakeNode) -> None:
    """Data that changes after the emit is sent unchanged, bytes too."""
    one = make_node()
    client = one.client().connect()
    data = bytearray(b'before')
    one.server.emit('a', data)
    data[:] = b'after.'
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
    """An application's rooms."""

    ROOM = 'room'


def test_room_named_by_enum_is_restored(make_node: MakeNode) -> None:
    """A room named by an instance of a subclass of str is the room of that
    text."""
    one, two = make_node(), make_node()
    client = one.client().connect()
    one.server.enter_room(client.sid, Name.ROOM)
    lose_session(one, client)
    again = two.client().connect(client.back())
    assert set(two.server.rooms(again.sid)) == {client.sid, 'room'}


def test_text_from_json_module_is_no_offset(make_node: MakeNode) -> None:
    """A value that the JSON module turns into text does not become the
    client's offset."""
    class Json:
        """Encodes dates."""

        loads = staticmethod(json.loads)

        @staticmethod
        def dumps(value: Any, **options: Any) -> str:
            return json.dumps(value, default=str, **options)

    one = make_node()
    one.server.packet_class = type(
        'Packet', (one.server.packet_class,), {'json': Json})
    client = client_with_offset(one)
    one.server.emit('b', date(2026, 1, 1), ignore_queue=True)
    client.await_names('a', 'b')
    assert client.offset and '-' in client.offset
    assert not client.offset.startswith('2026-01')


def test_duplicate_entry_is_replayed_once(make_node: MakeNode,
                                          redis_server: Any) -> None:
    """A local event that stands in the stream twice, after a lost reply, is
    replayed once."""
    one = make_node()
    client = client_with_offset(one)
    client.lose()
    emit(one, 'b')
    one.manager.flush(5)
    key = one.manager._live().channels[0].key
    with redis_server.client() as admin:
        fields = [fields for _, fields in admin.xrange(key)
                  if b'"b"' in fields.get(b'data', b'')][0]
        copy = admin.xadd(key, fields)
    assert one.manager._live().delivery('/').reach(
        Position.parse(copy), 5)
    again = one.client().connect(client.back())
    emit(one, 'c')
    again.await_names('b', 'c')


def test_client_returns_while_namespace_is_removed(
        make_node: MakeNode) -> None:
    """A namespace without handlers is served as long as it has clients. A
    client returns while the server lists its namespaces."""
    one = make_node()
    one.server.namespaces = '*'
    client = one.client()
    client.connect(namespace='/own')
    client.lose()
    runtime = one.manager._live()
    namespaces = runtime.membership.namespaces
    task = threading.current_thread()
    listed, go_on = threading.Event(), threading.Event()

    def slow() -> Any:
        found = list(namespaces())
        if threading.current_thread() is task:
            listed.set()
            go_on.wait(10)
        return found

    runtime.membership.namespaces = slow
    task = threading.Thread(target=runtime.membership.serve)
    task.start()
    assert listed.wait(10)
    again = one.client()
    connecting = threading.Thread(
        target=again.connect, args=(client.back(), '/own'))
    connecting.start()
    # It may or may not wait for the other task.
    connecting.join(0.5)
    go_on.set()
    task.join()
    connecting.join()
    assert again.sid == client.sid
    assert runtime.node.serves('/own')


@pytest.mark.parametrize('size, count', [
    (100_000, 300), (1_000_000, 20), (5_000_000, 3)])
def test_events_that_are_large_for_the_server(
        make_node: MakeNode, redis_server: Any, size: int,
        count: int) -> None:
    """Redis closes a connection that it would have to send more than 4 MB.
    Another server replays all, once and in order."""
    one = make_node()
    client = client_with_offset(one)
    lose_session(one, client)
    emit(one, 'b')
    for number in range(count):
        one.server.emit(f'large {number}', 'x' * size)
    emit(one, 'c')
    assert one.manager.flush(30)
    with redis_server.client() as admin:
        admin.config_set('client-output-buffer-limit',
                         f'normal {4 << 20} 0 0')
        try:
            two = make_node()
            returned: List[Any] = []

            def returns() -> bool:
                # An attempt over which the connection breaks has no result.
                returned.append(two.client().connect(client.back()))
                return bool(returned[-1].sid == client.sid)

            wait_until(returns, what='the client to be recovered')
            again = returned[-1]
            again.await_names(
                'b', *(f'large {number}' for number in range(count)), 'c')
        finally:
            admin.config_set('client-output-buffer-limit', 'normal 0 0 0')
