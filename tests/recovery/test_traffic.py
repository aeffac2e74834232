"""Emits, calls and commands keep their meaning with recovery on: arguments,
acknowledgements, order and skipped clients."""
import re
from typing import Any, List

import pytest

from ..support.client import Client
from ..support.json_values import Callback
from ..support.wait import wait_for_value
from .helpers import catch_up, check_recovered, check_received, ConnectJs, \
    numbers, offset_of, Pair, Start, TRANSPORTS, Unique

#: An offset, which clients receive as an additional argument.
OFFSET = re.compile(r'\d+-\d+')


def without_offset(args: Any) -> List[Any]:
    """The arguments as they were emitted."""
    assert OFFSET.fullmatch(args[-1])
    return list(args[:-1])


@pytest.mark.parametrize('of', ['the same node', 'the other node'])
@pytest.mark.parametrize('data', [
    None, 'text', ('two', {'values': 2}), ['a', 'list'], b'\x00\xff',
    {'inside': [b'\x01']}, '123-4'], ids=str)
def test_offset_follows_the_arguments(
        pair: Pair, connect_js: ConnectJs, unique: Unique, of: str,
        data: Any) -> None:
    client, event = connect_js(pair.a), unique('event')
    node = pair.a if of == 'the same node' else pair.b
    node.emit(event, data, to=client.sid)
    args, = client.wait_for(event)
    expected = list(data) if isinstance(data, tuple) else [data]
    assert without_offset(args) == ([] if data is None else expected)


@pytest.mark.parametrize('of', ['the same node', 'the other node'])
def test_acknowledgements(pair: Pair, connect_js: ConnectJs, unique: Unique,
                          of: str) -> None:
    """Events that ask for an acknowledgement have no offset and are
    acknowledged. If they end with a string, the client can still be
    recovered."""
    client, event = connect_js(pair.a), unique('event')
    sids, sid = dict(client.sids), client.sid
    node = pair.a if of == 'the same node' else pair.b
    question, tag = unique('question'), unique('tag')
    node.emit_range(event, range(5), to=sid)
    client.answer(question, 'yes', 1)
    node.emit(question, ('said', 'a string'), to=sid, callback=Callback(tag))
    wait_for_value(lambda: node.recorded(tag), [('yes', 1)],
                   what='the acknowledgement')
    if of == 'the same node':
        assert node.call(question, 'a string', to=sid) == ('yes', 1)
    assert node.emit_with_ack(question, 'a string', to=sid)
    node.emit_range(event, range(5, 10), to=sid)
    client.wait_for(event, 10)
    assert client.received(question) == [
        ('said', 'a string'), *[('a string',)] * (client.count(question) - 1)]
    client.answer(question, 'again')
    node.emit(question, 'a string', to=sid, callback=Callback(tag))
    wait_for_value(lambda: len(node.recorded(tag)), 2,
                   what='the acknowledgement')
    asked = client.count(question)
    # The last event that it has received is one of these.
    client.drop()
    node.emit_range(event, range(10, 15), to=sid)
    check_recovered(client, client.move(pair.b.url), sids)
    catch_up([client], pair, unique)
    assert numbers(client, event) == list(range(15))
    assert client.count(question) == asked


def test_events_with_callbacks_are_not_replayed(
        pair: Pair, connect_js: ConnectJs, unique: Unique) -> None:
    """A client that is away never receives them, and the callback is not
    called."""
    client, question, event = (
        connect_js(pair.a), unique('question'), unique('event'))
    sids, sid, tag = dict(client.sids), client.sid, unique('tag')
    client.drop()
    for node in pair:
        node.emit(question, to=sid, callback=Callback(tag))
        node.emit_range(event, [0], to=sid)
    check_recovered(client, client.move(pair.b.url), sids)
    catch_up([client], pair, unique)
    assert client.count(event) == 2
    assert client.count(question) == 0
    assert pair.a.recorded(tag) == pair.b.recorded(tag) == []


def test_local_events_keep_the_order(pair: Pair, connect_js: ConnectJs,
                                     unique: Unique) -> None:
    """Events of a node to a local client arrive in the order in which they
    were emitted, whether they go through the stream or not."""
    client, event, tag = connect_js(pair.a), unique('event'), unique('tag')
    steps: List[Any] = []
    for number in range(0, 60, 3):
        steps += [
            ('server', 'emit', [event, number], {'to': client.sid}),
            ('server', 'emit', [event, number + 1],
             {'to': client.sid, 'ignore_queue': True}),
            ('server', 'emit', [event, number + 2],
             {'to': client.sid, 'callback': Callback(tag)})]
    pair.a.script(*steps)
    client.wait_for(event, 60)
    assert numbers(client, event) == list(range(60))
    wait_for_value(lambda: len(pair.a.recorded(tag)), 20,
                   what='the acknowledgements')


def test_ignore_queue(pair: Pair, connect_js: ConnectJs,
                      unique: Unique) -> None:
    """The event reaches only local clients and is not replayed, and its
    string at the end does not prevent recovery."""
    clients = [connect_js(node) for node in pair]
    mine, other = clients
    event, alone = unique('event'), unique('alone')
    pair.a.script(
        ('server', 'emit', [event, 0], {}),
        ('server', 'emit', [alone, 'a string'], {'ignore_queue': True}),
        ('server', 'emit', [event, 1], {}),
        ('server', 'emit', [alone, 'a string'], {'ignore_queue': True}))
    catch_up(clients, pair, unique)
    assert [args[0] for args in mine.received(alone)] == ['a string'] * 2
    assert other.count(alone) == 0
    assert OFFSET.fullmatch(mine.state()[1])
    for client, node in zip(clients, reversed(pair)):
        sids = dict(client.sids)
        client.drop()
        pair.b.emit(event, 2, to=client.sid)
        check_recovered(client, client.move(node.url), sids)
    catch_up(clients, pair, unique)
    for client in clients:
        assert numbers(client, event) == [0, 1, 2]
    assert mine.count(alone) == 2


def test_emit_in_handlers(pair: Pair, connect_js: ConnectJs,
                          unique: Unique) -> None:
    """A handler's events arrive in order, and its result is the
    acknowledgement."""
    client, event = connect_js(pair.a), unique('event')
    for number in range(20):
        assert client.call('invoke', 'server', 'emit', [event, number],
                           {'to': client.sid}) is None
    assert client.call('echo', 'a string') == 'a string'
    check_received([client], [pair.a], unique, **{event: 20})


@pytest.mark.parametrize('method, arguments', [
    ('leave_room', ['SID', 'ROOM']), ('close_room', ['ROOM']),
    ('disconnect', ['SID'])])
def test_program_order(start: Start, connect_js: ConnectJs, unique: Unique,
                       method: str, arguments: List[str]) -> None:
    """A client receives what was emitted before it left a room or was
    disconnected, and nothing that was emitted afterwards."""
    first, second = start(2)
    client, event, room = (
        connect_js(first), unique('event'), unique('room'))
    sid = client.sid
    first.enter_room(sid, room)
    named = {'SID': sid, 'ROOM': room}
    first.script(
        *(('server', 'emit', [event, number], {'to': room})
          for number in range(20)),
        ('server', method, [named[each] for each in arguments], {}),
        ('server', 'emit', [f'{event}-late', 0], {'to': room}))
    client.wait_for(event, 20)
    if method == 'disconnect':
        assert client.wait_disconnected() == 'io server disconnect'
    else:
        catch_up([client], [first], unique)
        assert first.rooms(sid) == []
    assert numbers(client, event) == list(range(20))
    assert client.count(f'{event}-late') == 0


def test_close_room_then_return(pair: Pair, connect_js: ConnectJs,
                                unique: Unique) -> None:
    """A room that was closed before the loss stays closed for the client."""
    client, event, room = (
        connect_js(pair.a), unique('event'), unique('room'))
    sids = dict(client.sids)
    pair.a.enter_room(client.sid, room)
    pair.a.script(('server', 'emit', [event, 0], {'to': room}),
                  ('server', 'close_room', [room], {}),
                  ('server', 'emit', [event, 1], {'to': room}))
    client.wait_for(event)
    client.drop()
    pair.b.emit(event, 2, to=room)
    pair.b.emit(f'{event}-own', 0, to=client.sid)
    check_recovered(client, client.move(pair.b.url), sids)
    catch_up([client], pair, unique)
    assert numbers(client, event) == [0]
    assert client.count(f'{event}-own') == 1
    assert pair.b.rooms(client.sid) == []


def test_skipped_clients(pair: Pair, connect_js: ConnectJs,
                         unique: Unique) -> None:
    """Events that skip a client, by its sid or by a room, are not replayed to
    it either."""
    client, event, room = (
        connect_js(pair.a), unique('event'), unique('room'))
    sids, sid = dict(client.sids), client.sid
    pair.a.enter_room(sid, room)
    client.drop()
    for node in pair:
        node.emit(f'{event}-skipped', skip_sid=sid)
        node.emit(f'{event}-skipped', skip_sid=['nobody', room])
        node.emit(f'{event}-skipped', to=room, skip_sid=[sid])
        node.emit_range(f'{event}-{node.name}', [0], skip_sid='nobody')
    check_recovered(client, client.move(pair.b.url), sids)
    check_received([client], pair, unique, **{
        f'{event}-{node.name}': 1 for node in pair})
    assert client.count(f'{event}-skipped') == 0


@pytest.mark.parametrize('emitter', ['node', 'write-only'])
def test_all_clients_have_one_order(pair: Pair, connect_js: ConnectJs,
                                    unique: Unique, emitter: str) -> None:
    """The clients of all nodes receive the events of all emitters in the same
    order."""
    clients = [connect_js(node, transport=transport) for node in pair
               for transport in TRANSPORTS.values()]
    event = unique('event')
    target = 'server'
    if emitter == 'write-only':
        target = 'emitter'
        for node in pair:
            node.make_emitter(stream_name='recovery')
    for number, node in enumerate(pair):
        node.start_pulse(f'{event}-{number}', 0.002, target)
    for client in clients:
        for number in range(2):
            client.wait_for(f'{event}-{number}', 100)
    emitted = {f'{event}-{number}': node.stop_pulse(f'{event}-{number}')
               for number, node in enumerate(pair)}
    for node in pair:
        if emitter == 'write-only':
            node.invoke('emitter', 'flush')
    check_received(clients, pair, unique, **emitted)
    order = clients[0].names(*emitted)
    for client in clients[1:]:
        assert client.names(*emitted) == order


def test_python_client_that_is_not_accepted(
        start: Start, connect_js: ConnectJs, unique: Unique) -> None:
    """It receives events without offsets, while a JavaScript client of the
    same node is recovered."""
    first, second = start(2, connection_state_recovery={'accepts': 'plain'})
    js_client, event = connect_js(first, auth={'token': 'js'}), unique('event')
    python_client = Client(first.url, auth={'plain': True})
    try:
        python_client.call('echo')
        sids = dict(js_client.sids)
        for node in (first, second):
            node.emit(event, 'a string')
            node.emit(event, ('two', 2))
            node.emit(event)
        catch_up([js_client], [first, second], unique)
        python_client.wait_for(event, 6)
        assert sorted(python_client.received(event), key=str) == sorted(
            [('a string',), ('two', 2), ()] * 2, key=str)
        assert sorted(map(without_offset, js_client.received(event)), key=str
                      ) == sorted([['a string'], ['two', 2], []] * 2, key=str)
        offsets = [offset_of(args) for args in js_client.received(event)]
        assert offsets == sorted(offsets)
        js_client.drop()
        first.emit(event, 'missed')
        check_recovered(js_client, js_client.move(second.url), sids)
        js_client.wait_for(event, 7)
        python_client.wait_for(event, 7)
        assert python_client.received(event)[-1] == ('missed',)
        assert without_offset(js_client.received(event)[-1]) == ['missed']
        found, = first.connected(python_client.sid)
        assert found['environ'] == [False, None]
        assert found['auth'] == {'plain': True}
    finally:
        python_client.close()
    # It was called for each connection, and got auth without pid and offset.
    asked = [tuple(each) for node in (first, second)
             for each in node.recorded('accepts')]
    assert [auth for _, _, auth in asked] == [
        {'token': 'js'}, {'plain': True}, {'token': 'js'}]
    assert all(with_environ for _, with_environ, _ in asked)


def test_javascript_client_that_is_not_accepted(
        start: Start, connect_js: ConnectJs, redis_server: Any,
        unique: Unique) -> None:
    """It gets neither pid nor offsets, and has no session."""
    prefix, event = unique('accepts'), unique('event')
    node, = start(1, connection_state_recovery={'accepts': 'plain'},
                  session_key_prefix=prefix)
    client = connect_js(node, auth={'plain': True})
    assert client.state() == (None, None)
    node.emit(event, 'a string')
    assert client.wait_for(event) == [('a string',)]
    with redis_server.client() as redis:
        assert list(redis.scan_iter(f'{prefix}*', count=1000)) == []
    sid = client.sid
    client.drop()
    node.emit(event, 'missed')
    connect, = client.move(node.url)
    assert (connect.recovered, connect.sid != sid) == (False, True)
    node.emit(event, 'then')
    assert client.wait_for(event, 2) == [('a string',), ('then',)]
