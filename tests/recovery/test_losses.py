"""A client loses its connection or its server, and is recovered: with its
sid, rooms and data, and with all events that it has missed."""
import signal
from typing import Any, Callable, List, Sequence, Tuple

import pytest

from ..support.account import account, EXACT
from ..support.js_client import JsClient
from ..support.node_process import NodeProcess
from ..support.proxy import Proxy
from ..support.ports import free_port
from ..support.wait import wait_for_value, wait_until
from ..support.wire_format import read_session, write_session
from .helpers import catch_up, check_recovered, check_offsets, check_reason, \
    check_received, ConnectJs, messages_for, found_by_handler, LOSSES, Pair, \
    received_by, Start, stored_session, TRANSPORTS, Unique

#: How many of a load's messages each node emits in a second.
RATE = 200

NAMESPACES = ('/', '/chat')


@pytest.fixture(params=TRANSPORTS)
def transport(request: Any) -> List[str]:
    """The transports that the client may use."""
    return TRANSPORTS[request.param]


ConnectByProxy = Callable[..., Tuple[JsClient, Proxy]]


@pytest.fixture
def connect_by_proxy(make_proxy: Callable[[int], Proxy],
                     connect_js: ConnectJs) -> ConnectByProxy:
    """Connects a client through a new proxy, and returns both:
    ``connect_by_proxy(node, transport)``."""
    def connect(node: NodeProcess,
                transport: Sequence[str] = TRANSPORTS['websocket'],
                ) -> Tuple[JsClient, Proxy]:
        line = make_proxy(node.port)
        line.open()
        client = connect_js(url_of(line), transport=transport)
        wait_for_value(client.transport, transport[-1], what='the transport')
        return client, line

    return connect


def url_of(line: Proxy) -> str:
    """The URL of a server behind a proxy."""
    return f'http://127.0.0.1:{line.port}'


@pytest.mark.parametrize('where', ['same node', 'other node'])
@pytest.mark.parametrize('how', ['drop', 'cut'])
def test_short_loss(pair: Pair, connect_js: ConnectJs, unique: Unique,
                    transport: List[str], how: str, where: str) -> None:
    """The client is recovered in two namespaces, while both nodes emit."""
    home, back = pair if where == 'other node' else (pair.a, pair.a)
    client = connect_js(home, *NAMESPACES, transport=transport)
    wait_for_value(client.transport, transport[-1], what='the transport')
    sids, room, event = dict(client.sids), unique('room'), unique('event')
    for name, sid in sids.items():
        home.enter_room(sid, room, namespace=name)
        home.save_session(sid, {'name': 'Zoë', 'in': name}, namespace=name)
    # Another test has a client that never received anything.
    home.emit('first', 0, to=client.sid)
    client.wait_for('first')
    pulses = {f'{event}-{number}': node for number, node in enumerate(pair)}
    for name, node in pulses.items():
        node.start_pulse(name, 1 / RATE, to=room)
    for name in pulses:
        client.wait_for(name, 20)
    getattr(client, how)()
    client.wait_disconnected()
    # While it is away: events for it, and events that skip it.
    others = unique('others')
    for number, node in enumerate(pair):
        node.emit_range(f'{event}-own-{number}', range(20), to=client.sid)
        node.emit(others, to=unique('room'))
        node.emit(others, skip_sid=client.sid)
        node.emit(others, to=room, skip_sid=[client.sid])
        node.emit_range(f'{event}-all-{number}', range(20))
        node.emit_range(f'{event}-chat-{number}', range(20), to=room,
                        namespace='/chat')
    connects = client.move(back.url)
    check_recovered(client, connects, sids)
    goals = {name: client.count(name) + 20 for name in pulses}
    for name, goal in goals.items():
        client.wait_for(name, goal)
    emitted = {name: node.stop_pulse(name) for name, node in pulses.items()}
    for number in range(2):
        emitted.update({f'{event}-own-{number}': 20,
                        f'{event}-all-{number}': 20,
                        f'{event}-chat-{number}': 20})
    check_received([client], pair, unique, **emitted)
    assert client.count(others) == 0
    for name, sid in sids.items():
        assert back.rooms(sid, namespace=name) == [room]
        found = found_by_handler(back, sid, name)
        assert found['session'] == {'name': 'Zoë', 'in': name}
        assert found['rooms'] == sorted([sid, room])
        check_reason(back, sid, None, namespace=name)


@pytest.mark.parametrize('where', ['same node', 'other node'])
def test_nothing_received_yet(pair: Pair, connect_js: ConnectJs,
                              unique: Unique, transport: List[str],
                              where: str) -> None:
    """A client without an offset is recovered too."""
    home, back = pair if where == 'other node' else (pair.a, pair.a)
    client = connect_js(home, transport=transport)
    sids, event = dict(client.sids), unique('event')
    assert client.state()[1] is None
    client.drop()
    home.emit_range(event, range(100), to=client.sid)
    connects = client.move(back.url)
    check_recovered(client, connects, sids)
    # It had no offset for its first return. Now it has one.
    check_received([client], pair, unique, **{event: 100})
    client.drop()
    back.emit_range(event, range(100, 200), to=client.sid)
    check_recovered(client, client.move(home.url), sids)
    check_received([client], pair, unique, **{event: 200})


def test_nothing_received_twice(pair: Pair, connect_js: ConnectJs,
                                unique: Unique) -> None:
    """A client without an offset is recovered a second time."""
    client = connect_js(pair.a)
    sids, event = dict(client.sids), unique('event')
    client.drop()
    check_recovered(client, client.move(pair.b.url), sids)
    client.drop()
    pair.a.emit_range(event, range(10))
    check_recovered(client, client.move(pair.a.url), sids)
    check_received([client], pair, unique, **{event: 10})


def test_nothing_received_while_half_open(
        start: Start, connect_by_proxy: ConnectByProxy, redis_server: Any,
        unique: Unique) -> None:
    """A client receives the events that its node has sent over a half-open
    connection, though its session was written after that."""
    prefix, event = unique('half-open'), unique('event')
    first, second = start(2, session_key_prefix=prefix)
    client, line = connect_by_proxy(first)
    sids, sid = dict(client.sids), client.sid
    line.go_silent()
    first.emit_range(event, range(10), to=sid)
    assert first.flush()
    with redis_server.client() as redis:
        for room in ('a', 'b'):
            first.enter_room(sid, room)
            wait_until(
                lambda: room in stored_session(redis, prefix, client)['rooms'],
                what='the stored session')
    client.drop()
    check_recovered(client, client.move(second.url), sids)
    check_received([client], [first], unique, **{event: 10})


#: How many clients a node has that ends.
CLIENTS = 50


@pytest.mark.parametrize('end', ['SIGKILL', 'SIGTERM'])
def test_node_ends(start: Start, connect_js: ConnectJs, unique: Unique,
                   end: str) -> None:
    """Its clients reconnect to another node under load, and are recovered."""
    leaving, staying = start(2)
    kinds = list(TRANSPORTS.values())
    room, event = unique('room'), unique('event')
    clients = [connect_js(leaving, transport=kinds[number % len(kinds)],
                          reconnection=True) for number in range(CLIENTS)]
    sids = [dict(client.sids) for client in clients]
    for number, client in enumerate(clients):
        leaving.enter_room(client.sid, f'{room}-{number}')
        leaving.save_session(client.sid, {'number': number})
    staying.start_pulse(event, 1 / RATE)
    # Half of the clients have received something before.
    for client in clients[::2]:
        client.wait_for(event, 20)
    for client in clients:
        client.set_server(staying.url)
    leaving.process.signal(getattr(signal, end))
    leaving.process.wait()
    for number in range(CLIENTS):
        staying.emit(f'{event}-own', 0, to=f'{room}-{number}')
    for client, own in zip(clients, sids):
        check_recovered(client, client.wait_connects(2, 30.0)[1:], own)
    goals = [client.count(event) + 20 for client in clients]
    for client, goal in zip(clients, goals):
        client.wait_for(event, goal, 30.0)
    check_received(clients, [staying], unique, **{
        event: staying.stop_pulse(event), f'{event}-own': 1})
    for number, client in enumerate(clients):
        assert staying.rooms(client.sid) == [f'{room}-{number}']
        assert found_by_handler(staying, client.sid)['session'] == {
            'number': number}
        check_reason(staying, client.sid, None)


def test_node_leaves_while_it_emits(
        start: Start, connect_js: ConnectJs, redis_server: Any,
        unique: Unique, transport: List[str]) -> None:
    """Both nodes emit until one of them has ended. Its clients miss nothing
    of what was emitted around that time."""
    stream, event = unique('stream'), unique('event')
    leaving, staying = start(2, stream_name=stream)
    clients = [connect_js(leaving, transport=transport, reconnection=True)
               for _ in range(5)]
    sids = [dict(client.sids) for client in clients]
    for node in (leaving, staying):
        for number in range(2):
            node.start_pulse(f'{event}-{node.name}-{number}', 0.002)
    for client in clients:
        client.wait_for(f'{event}-{leaving.name}-1', 100)
        client.set_server(staying.url)
    leaving.process.stop()
    for client, own in zip(clients, sids):
        check_recovered(client, client.wait_connects(2, 30.0)[1:], own)
    for number in range(2):
        staying.stop_pulse(f'{event}-{staying.name}-{number}')
    catch_up(clients, [staying], unique)
    with redis_server.client() as redis:
        expected = messages_for(redis, stream, event)
    for client in clients:
        assert received_by(client, event) == expected


def test_return_to_a_node_that_leaves(
        start: Start, connect_js: ConnectJs, unique: Unique,
        transport: List[str]) -> None:
    """The node closes the connection, so that the client retries. It is
    recovered once it reaches another node."""
    first, second = start(2)
    client = connect_js(first, transport=transport, reconnection=True)
    sids, event = dict(client.sids), unique('event')
    # The first client starts the manager, which is closed afterwards.
    connect_js(second)
    # The process goes on, as during a graceful shutdown.
    second.invoke('manager', 'close')
    client.set_server(second.url)
    client.give_up()
    first.emit_range(event, range(10), to=client.sid)
    wait_until(lambda: len(turned_away(second)) >= 3,
               what='three attempts to be turned away')
    client.set_server(first.url)
    check_recovered(client, client.wait_connects(2)[1:], sids)
    check_received([client], [first], unique, **{event: 10})


def turned_away(node: NodeProcess) -> List[str]:
    """The lines that a node has logged about clients that have to retry."""
    return [line for line in node.logs() if 'leaving the cluster' in line]


@pytest.mark.parametrize('state', ['frozen node', 'half-open', 'both'])
def test_old_connection_looks_alive(start: Start,
                                    connect_by_proxy: ConnectByProxy,
                                    unique: Unique, state: str,
                                    transport: List[str]) -> None:
    """The client returns to another node, while its first node still believes
    that it is connected. Later it returns to the first node."""
    first, second = start(2)
    client, line = connect_by_proxy(first, transport)
    sids, room, event = dict(client.sids), unique('room'), unique('event')
    first.enter_room(client.sid, room)
    second.start_pulse(event, 1 / RATE, to=room)
    client.wait_for(event, 20)
    if state != 'frozen node':
        line.go_silent()
    if state != 'half-open':
        first.freeze()
    client.drop()
    check_recovered(client, client.move(second.url), sids)
    client.wait_for(event, client.count(event) + 20)
    first.thaw()
    # The other node has made it disconnect the old connection, once.
    wait_for_value(lambda: first.disconnects_of(client.sid),
                   [('/', 'transport close')],
                   what='the disconnect handler of the first node')
    client.wait_for(event, client.count(event) + 20)
    assert second.disconnects_of(client.sid) == []
    client.drop()
    check_recovered(client, client.move(first.url), sids)
    client.wait_for(event, client.count(event) + 20)
    check_received([client], [second], unique,
                   **{event: second.stop_pulse(event)})
    assert first.rooms(client.sid) == [room]
    assert len(first.disconnects_of(client.sid)) == 1
    found = [each['sid'] for each in second.fetch_sockets()]
    assert found == [client.sid]


def test_node_died_during_a_takeover(
        start: Start, connect_by_proxy: ConnectByProxy, redis_server: Any,
        unique: Unique) -> None:
    """A node has claimed the session, and died before it made the first node
    disconnect the old connection. The node that recovers the client does
    that."""
    prefix, event = unique('died'), unique('event')
    first, second = start(2, session_key_prefix=prefix)
    client, line = connect_by_proxy(first)
    sids, key = dict(client.sids), f'{prefix}{client.state()[0]}'
    line.go_silent()
    client.drop()
    with redis_server.client() as redis:
        session = read_session(redis, key)
        assert session is not None
        # The claim is all that the dead node has left.
        session['claim'] = 'of-a-node-that-died'
        write_session(redis, key, session, keepttl=True)
    second.emit_range(event, range(10))
    check_recovered(client, client.move(second.url), sids)
    wait_for_value(lambda: first.disconnects_of(client.sid),
                   [('/', 'transport close')],
                   what='the disconnect handler of the first node')
    check_received([client], [second], unique, **{event: 10})
    assert [each['sid'] for each in second.fetch_sockets()] == [client.sid]


def test_half_open_on_the_same_node(start: Start,
                                    connect_by_proxy: ConnectByProxy,
                                    unique: Unique,
                                    transport: List[str]) -> None:
    """The client returns to the node that still has its old connection."""
    first, second = start(2)
    client, line = connect_by_proxy(first, transport)
    sids, event = dict(client.sids), unique('event')
    second.start_pulse(event, 1 / RATE)
    client.wait_for(event, 20)
    for turn in range(1, 4):
        line.go_silent()
        client.drop()
        check_recovered(client, client.move(url_of(line)), sids)
        client.wait_for(event, client.count(event) + 20)
        wait_for_value(lambda: first.disconnects_of(client.sid),
                       [('/', 'transport close')] * turn,
                       what='the calls of the disconnect handler')
        # So that the next loss is that of a WebSocket.
        wait_for_value(client.transport, transport[-1],
                       what='the transport')
    check_received([client], [second], unique,
                   **{event: second.stop_pulse(event)})
    assert len(first.connected(client.sid)) == 4
    assert [each['sid'] for each in first.fetch_sockets()] == [client.sid]


#: The load under which many clients move between nodes.
ROUNDS = 16
MOVING_CLIENTS = 10
MESSAGES = 8_000
MESSAGES_PER_SECOND = 800


def test_many_under_load(start: Start, connect_js: ConnectJs,
                         unique: Unique) -> None:
    """All clients move between two nodes again and again, while both nodes
    emit to all. No client misses an event, and all have the same order."""
    nodes = start(2)
    event = unique('event')
    clients = [connect_js(nodes[number % 2], reconnection=True)
               for number in range(MOVING_CLIENTS)]
    sids = [dict(client.sids) for client in clients]
    names = [f'{event}-{number}' for number in range(2)]
    each = MESSAGES // 2
    for node, name in zip(nodes, names):
        node.start_pulse(name, 2 / MESSAGES_PER_SECOND, limit=each)
    for turn in range(1, ROUNDS + 1):
        for number, client in enumerate(clients):
            client.set_server(nodes[(number + turn) % 2].url)
            client.give_up()
        for client, own in zip(clients, sids):
            connects = client.wait_connects(turn + 1, 30.0)[turn:]
            check_recovered(client, connects, own)
        for name in names:
            clients[0].wait_for(name, each // ROUNDS * turn, 30.0)
    for client in clients:
        for name in names:
            client.wait_for(name, each, 30.0)
    assert [node.stop_pulse(name) for node, name in zip(nodes, names)
            ] == [each, each]
    check_received(clients, nodes, unique, **dict.fromkeys(names, each))
    orders = [client.log() for client in clients]
    assert all(order == orders[0] for order in orders)


def test_many_packets_missed(start: Start, connect_js: ConnectJs,
                             unique: Unique, transport: List[str]) -> None:
    first, second = start(2)
    client = connect_js(first, transport=transport)
    sids, event = dict(client.sids), unique('event')
    client.drop()
    second.emit_range(event, range(5_000), to=client.sid)
    check_recovered(client, client.move(second.url), sids)
    client.wait_for(event, 5_000, 30.0)
    check_received([client], [second], unique, **{event: 5_000})


def test_memory_of_packets_missed(start: Start, start_nodes: Any,
                                  connect_js: ConnectJs, unique: Unique,
                                  redis_server: Any) -> None:
    """Many clients return at once to a node that has to read the missed
    events from Redis. It keeps them in memory once, not once for each client.
    """
    count, size, event = 5_000, 2_000, unique('event')
    first, = start(1)
    clients = [connect_js(first, reconnection=True) for _ in range(20)]
    for client in clients:
        # To no node yet.
        client.set_server(f'http://127.0.0.1:{free_port()}')
        client.drop()
    first.script(*(('server', 'emit', [event, [number, 'x' * size]], {})
                   for number in range(count)))
    assert first.flush(30.0)
    second, = start_nodes(1, redis_server.url, **first.options)
    second.start_manager()
    before = most = second.memory()
    for client in clients:
        client.set_server(second.url)

    def arrived() -> bool:
        nonlocal most
        most = max(most, second.memory())
        return all(client.count(event) >= count for client in clients)

    wait_until(arrived, 60.0, 'all to have what they missed')
    catch_up(clients, [second], unique)
    for client in clients:
        assert [connect.recovered for connect in client.connects()
                ] == [False, True]
        assert account([args[0][0] for args in client.received(event)],
                       count) == EXACT
        check_offsets(client)
    # Twenty copies would take 190 MiB; one copy takes less than 60.
    assert most - before < len(clients) * count * size / 2


def test_too_many_packets_missed(start: Start, connect_js: ConnectJs,
                                 unique: Unique) -> None:
    """A client that has missed one more than the limit is a new one."""
    node, = start(1, connection_state_recovery={'max_missed_packets': 100})
    event = unique('event')
    client = connect_js(node)
    sids = dict(client.sids)
    client.drop()
    # Events for others do not count.
    node.emit_range('others', range(500), to='others')
    node.emit_range(event, range(100))
    check_recovered(client, client.move(node.url), sids)
    check_received([client], [node], unique, **{event: 100})
    client.drop()
    node.emit_range(event, range(100, 201))
    connect, = client.move(node.url)
    assert (connect.recovered, connect.sid == sids['/']) == (False, False)
    check_reason(node, client.sid, 'too-many-missed')
    catch_up([client], [node], unique)
    assert client.count(event) == 100


def test_many_messages_for_others(start: Start, connect_js: ConnectJs,
                                  unique: Unique) -> None:
    """They do not count, though they are three times as many as a server in
    Node.js would keep."""
    first, second = start(2)
    client = connect_js(first)
    sids, event, others = dict(client.sids), unique('event'), unique('others')
    first.emit_range(event, range(10))
    client.wait_for(event, 10)
    client.drop()
    for start_of in range(0, 30, 10):
        first.emit(event, 10 + start_of // 10)
        second.storm(others, 4, 2_500, to='others')
    assert second.flush(30.0)
    check_recovered(client, client.move(second.url), sids)
    check_received([client], [first, second], unique, **{event: 13})
    assert client.count(others) == 0


def test_away_for_too_long(start: Start, connect_js: ConnectJs,
                           redis_server: Any, unique: Unique) -> None:
    """A client that returns after its session has expired is a new one."""
    node, = start(1, connection_state_recovery={
        'max_disconnection_duration': 1.0}, heartbeat_interval=0.3,
        session_key_prefix='short:')
    client = connect_js(node)
    sid = client.sid
    with redis_server.client() as redis:
        def keys() -> List[bytes]:
            return list(redis.scan_iter('short:*', count=1000))

        wait_until(keys, what='the session')
        client.drop()
        wait_until(lambda: node.disconnects_of(sid),
                   what='the disconnect handler')
        assert node.disconnects_of(sid)[0][1] in LOSSES
        wait_until(lambda: not keys(), what='the session to expire')
    node.emit('missed')
    connect, = client.move(node.url)
    assert not connect.recovered
    assert client.sid != sid
    check_reason(node, client.sid, 'unknown-session')
    assert client.count('missed') == 0


def test_session_is_renewed_while_connected(
        start: Start, connect_js: ConnectJs, redis_server: Any,
        unique: Unique) -> None:
    """The session of a connected client does not expire."""
    first, second = start(2, connection_state_recovery={
        'max_disconnection_duration': 4.0}, session_key_prefix='renewed:')
    client = connect_js(first, reconnection=True)
    sids, event = dict(client.sids), unique('event')
    second.start_pulse(event, 0.01)
    # They take eight seconds.
    client.wait_for(event, 800, 30.0)
    client.set_server(second.url)
    first.kill()
    check_recovered(client, client.wait_connects(2)[1:], sids)
    check_received([client], [second], unique,
                   **{event: second.stop_pulse(event)})
    check_offsets(client)
