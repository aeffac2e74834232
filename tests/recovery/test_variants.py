"""Recovery works with all options of the nodes, all kinds of emitters and all
kinds of data."""
from typing import Any, Dict, List

import pytest

from .helpers import catch_up, check_recovered, check_new, check_reason, \
    check_received, ConnectJs, Pair, Start, Unique

VARIANTS: Dict[str, Dict[str, Any]] = {
    'several streams': {'stream_count': 3},
    'PUB/SUB': {'request_transport': 'pubsub'},
    'sync': {'publish': 'sync'},
    'small reads': {'read_count': 1},
    'server.always_connect': {'server': {'always_connect': True}},
    'server.async_handlers off': {'server': {'async_handlers': False}},
    'any namespace': {'server': {'namespaces': '*'}},
}


@pytest.mark.parametrize('variant', VARIANTS)
def test_options(start: Start, connect_js: ConnectJs, unique: Unique,
                 variant: str) -> None:
    """A client in two namespaces is recovered on the other node, back on the
    first one, and there again."""
    nodes = first, second = start(2, **VARIANTS[variant])
    client, event = connect_js(first, '/', '/chat'), unique('event')
    sids = dict(client.sids)
    names = {name: f'{event}{name}' for name in sids}
    for turn, node in enumerate([second, first, first]):
        client.drop()
        for name in sids:
            for emitter in nodes:
                emitter.emit_range(
                    f'{names[name]}-{emitter.name}',
                    range(turn * 20, turn * 20 + 20), to=sids[name],
                    namespace=name)
        check_recovered(client, client.move(node.url), sids)
    check_received([client], nodes, unique, **{
        f'{names[name]}-{emitter.name}': 60
        for name in sids for emitter in nodes})


@pytest.mark.parametrize('data', [
    None, 'text', '123-4', ('two', {'values': 2}), ['a', 'list'],
    b'\x00\xff', {'inside': [b'\x01']}, ['Zoë 🎉', None, 1.5], True], ids=str)
def test_data(pair: Pair, connect_js: ConnectJs, unique: Unique,
              data: Any) -> None:
    """Missed events have the same arguments as others."""
    clients = [connect_js(pair.a), connect_js(pair.b)]
    away, connected = clients
    sids, event = dict(away.sids), unique('event')
    away.drop()
    for node in pair:
        node.emit(event, data)
    connected.wait_for(event, 2)
    check_recovered(away, away.move(pair.b.url), sids)
    catch_up(clients, pair, unique)
    assert away.received(event) == connected.received(event)
    arguments: List[Any] = [] if data is None else \
        list(data) if isinstance(data, tuple) else [data]
    assert [list(args[:-1]) for args in away.received(event)
            ] == [arguments] * 2


@pytest.mark.parametrize('publish', ['background', 'sync'])
def test_write_only_emitters(pair: Pair, connect_js: ConnectJs,
                             unique: Unique, publish: str) -> None:
    client, event = connect_js(pair.a), unique('event')
    sids = dict(client.sids)
    pair.b.make_emitter(stream_name='recovery', publish=publish)
    client.drop()
    for number in range(20):
        pair.b.invoke('emitter', 'emit', event, number)
    pair.b.invoke('emitter', 'flush')
    check_recovered(client, client.move(pair.a.url), sids)
    check_received([client], pair, unique, **{event: 20})


@pytest.mark.parametrize('received', [0, 1])
def test_trimmed(start: Start, connect_js: ConnectJs, redis_server: Any,
                 unique: Unique, received: int) -> None:
    """If the stream does not reach back to the client's last event, the
    client is new, and receives no part of what it missed."""
    stream, event = unique('stream'), unique('event')
    first, = start(1, stream_name=stream)
    client = connect_js(first)
    sid = client.sid
    first.emit_range(event, range(received))
    client.wait_for(event, received)
    client.drop()
    first.emit_range(event, range(received, 21))
    assert first.flush()
    first.kill()
    with redis_server.client() as redis:
        redis.xtrim(stream, maxlen=10, approximate=False)
    # A node that has not read all of it itself.
    second, = start(1, stream_name=stream)
    connect, = client.move(second.url)
    check_new(connect, sid)
    check_reason(second, client.sid, 'offset-not-found')
    catch_up([client], [second], unique)
    assert client.count(event) == received


def test_history_is_flushed(start: Start, connect_js: ConnectJs,
                            make_redis: Any, unique: Unique) -> None:
    """A client whose session and history are gone is new."""
    redis = make_redis().start()
    first, second = start(2, redis.url)
    client, event = connect_js(first), unique('event')
    sid = client.sid
    first.emit(event, 0)
    client.wait_for(event)
    client.drop()
    with redis.client() as admin:
        admin.flushall()
    connect, = client.move(second.url)
    check_new(connect, sid)
    check_reason(second, client.sid, 'unknown-session')
    assert client.call('echo', 1) == 1
