"""Infinity and NaN, which are not JSON, although Python's ``json`` reads and
writes them."""
import json
import math
from typing import Any, Callable, List

import msgpack
import pytest

from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.protocol.codec import Encoder, unpack
from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.messages import Broadcast, EVERYONE, \
    FetchSocketsResponse, ServerSideEmit, ServerSideEmitResponse

from ..nodes import Node
from .test_codec import encoder, fields_of, REQUEST, SOCKET, UID, understand

OURS = Application('socket.io', 0)

NOT_JSON = [math.inf, -math.inf, math.nan]


@pytest.mark.parametrize('number', NOT_JSON)
@pytest.mark.parametrize('where', [
    lambda number: number, lambda number: [1, [number]],
    lambda number: {'a': {'b': (number,)}}, lambda number: [b'x', number]])
def test_events_for_clients_are_valid_json(number: float, where: Any) -> None:
    """A browser that receives it closes its connection with a parse error."""
    for request_id in None, REQUEST:
        message = Broadcast(('event', where(number)), EVERYONE, request_id)
        with pytest.raises(ValueError, match=f'{number}.* not JSON'):
            encoder.encode('/', message)
        with pytest.raises(ValueError, match=f'{number}.* not JSON'):
            encoder.pack('/', message, OURS)


@pytest.mark.parametrize('number', NOT_JSON)
def test_servers_exchange_infinity_and_nan(number: float) -> None:
    for message in (ServerSideEmit(('event', [number])),
                    ServerSideEmitResponse(REQUEST, [number]),
                    FetchSocketsResponse(REQUEST, (
                        {**SOCKET, 'data': {'a': number}},))):
        fields = encoder.encode('/', message)
        assert not fields[-1].startswith(b'{')
        assert repr(understand(fields)) == repr(message)


@pytest.mark.parametrize('word', [
    b'NaN', b'Infinity', b'-Infinity', b'1e999', b'-1E+999', b'1e309',
    b'9' * 400 + b'.5', b'0.1e400'])
def test_json_with_invalid_words(word: bytes) -> None:
    for number, data in [
            (3, b'{"opts":{"rooms":[],"except":[],"flags":{}},"packet":'
                b'{"type":2,"data":["event",[%s]]}}'),
            (9, b'{"packet":["event",{"a":%s}]}'),
            (10, b'{"requestId":"r","packet":%s}')]:
        with pytest.raises(DecodeError):
            understand(fields_of(number, data % word))
        assert understand(fields_of(number, data % b'1e308'))
        # Within a string it is valid.
        assert understand(fields_of(number, data % (b'"%s"' % word)))


class WritesNaN:
    """A JSON module that writes NaN for its own types."""

    @staticmethod
    def dumps(value: Any, **kwargs: Any) -> str:
        return json.dumps(value, default=lambda each: each.number, **kwargs)


class Reading:
    """A number that only the application's JSON module can serialise."""

    def __init__(self, number: float) -> None:
        self.number = number


@pytest.mark.parametrize('number', NOT_JSON)
def test_json_module_that_writes_invalid_json(number: float) -> None:
    own = Encoder(UID, WritesNaN())
    for message in (Broadcast(('event', Reading(number))),
                    ServerSideEmit(('event', Reading(number)))):
        with pytest.raises(ValueError, match='JSON module'):
            own.encode('/', message)
    words = ('NaN', '1e999', '-Infinity', Reading(1.5))
    assert understand(own.encode('/', Broadcast(('event', *words)))).args \
        == ('event', 'NaN', '1e999', '-Infinity', 1.5)


def test_over_pubsub() -> None:
    """What Node.js has packed becomes what its JSON would write."""
    raw = msgpack.packb({'uid': 'a', 'nsp': '/', 'type': 3, 'data': {
        'opts': {'rooms': [], 'except': [], 'flags': {}},
        'requestId': REQUEST, 'packet': {
            'type': 2, 'data': ['event', {'a': [math.nan, 1.5]}, math.inf]}}})
    unpacked = unpack(raw, OURS)
    assert unpacked is not None and unpacked.message == Broadcast(
        ('event', {'a': [None, 1.5]}, None), EVERYONE, REQUEST)


@pytest.mark.parametrize('recovery', [None, True])
@pytest.mark.parametrize('number', NOT_JSON)
def test_every_way_to_emit(
        make_cluster: Callable[..., List[Node]], number: float,
        recovery: Any) -> None:
    """It raises in the caller, and no client of any server receives
    anything."""
    a, b = make_cluster(2, connection_state_recovery=recovery)
    clients = [a.connect(), b.connect()]
    data = {'reading': [number]}
    for emit in (
            lambda: a.server.emit('event', data),
            lambda: a.server.emit('event', data, to=clients[0].sid),
            lambda: a.server.emit('event', data, ignore_queue=True),
            lambda: a.server.emit('event', data, to=clients[0].sid,
                                  callback=print),
            lambda: a.server.emit('event', data, callback=print),
            lambda: a.server.call('event', data, to=clients[0].sid),
            lambda: a.manager.emit_with_ack('event', data)):
        with pytest.raises(ValueError, match='not JSON'):
            emit()
    a.server.emit('last')
    for client in clients:
        client.wait_for('last')
        assert client.received('event') == []
    assert not any(a.manager.callbacks.values())
