"""A client never receives what belongs to another one, whatever it sends."""
import threading
from typing import Any, Callable, Dict, List

import pytest

from ..support.js_client import JsClient
from ..support.node_process import NodeProcess
from ..support.raw_client import RawClient
from ..support.wait import wait_for_value, wait_until
from ..support.wire_format import parse_offset
from .helpers import check_recovered, check_reason, check_received, \
    ConnectJs, Pair, Start, Unique

#: The fewest characters of a pid: 128 random bits in base64.
PID_LENGTH = 22

#: How often two clients return at once with one pid.
RACES = 15


def test_pids_cannot_be_guessed(pair: Pair, connect_js: ConnectJs) -> None:
    """They are long and unique, and do not contain the sid."""
    clients = [connect_js(pair.a, '/', '/chat') for _ in range(10)]
    pids = [client.state(name)[0] for client in clients
            for name in client.sids]
    assert len(set(pids)) == len(pids)
    assert min(map(len, pids)) >= PID_LENGTH
    for client in clients:
        for name, sid in client.sids.items():
            assert sid not in client.state(name)[0]


@pytest.mark.parametrize('where', ['one node', 'two nodes'])
def test_two_clients_return_at_once_with_one_pid(
        pair: Pair, connect_js: ConnectJs, unique: Unique,
        where: str) -> None:
    """One of them is recovered in the end, with all missed events. The other
    one receives none of them."""
    urls = [pair.a.url, (pair.b if where == 'two nodes' else pair.a).url]
    for _ in range(RACES):
        victim, event = connect_js(pair.a), unique('event')
        sid = victim.sid
        pair.a.emit(event, 0, to=sid)
        victim.wait_for(event)
        pid, offset = victim.state()
        victim.drop()
        pair.b.emit_range(event, range(1, 21), to=sid)
        rivals = [RawClient(url) for url in urls]
        try:
            replies = at_once([
                lambda rival=rival: rival.try_to_connect(
                    {'pid': pid, 'offset': offset}) for rival in rivals])
            check_one_winner(pair, rivals, replies, sid, event)
        finally:
            for rival in rivals:
                rival.drop()


def at_once(calls: List[Callable[[], Any]]) -> List[Any]:
    """Make calls in parallel.

    :return: their results.
    """
    results: Dict[int, Any] = {}
    barrier = threading.Barrier(len(calls))

    def work(index: int) -> None:
        barrier.wait()
        results[index] = calls[index]()

    threads = [threading.Thread(target=work, args=(index,))
               for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[index] for index in range(len(calls))]


def check_one_winner(pair: Pair, rivals: List[RawClient],
                     replies: List[Dict[str, Any]], sid: str,
                     event: str) -> None:
    """Check that one of those that sent the pid of this sid has it, and no
    other.

    :param event: the event of which 1 to 20 were missed.
    """
    assert sid in [reply.get('sid') for reply in replies]
    # The second has made the server drop the first, as a half-open
    # connection, maybe before the first had a reply.
    wait_until(lambda: sum(
        reply.get('sid') == sid and rival.is_connected()
        for rival, reply in zip(rivals, replies)) == 1,
        what=lambda: f'one winner: {replies}, '
                     f'{[rival.is_connected() for rival in rivals]}')
    wait_for_value(
        lambda: [each['sid'] for each in pair.a.fetch_sockets()].count(sid),
        1, what='the sockets with that sid')
    for node in pair:
        node.emit(event, 21, to=sid)
        node.flush()
    pair.a.emit(f'{event}-end')
    for rival, reply in zip(rivals, replies):
        if not rival.is_connected():
            continue
        rival.wait_event(f'{event}-end')
        received = [each[1] for each in rival.events() if each[0] == event]
        if reply['sid'] == sid:
            assert received == [*range(1, 21), 21, 21]
        else:
            assert received == []
            assert reply['pid'] not in (None, '')


def test_pid_is_unknown_in_another_namespace(
        pair: Pair, connect_js: ConnectJs, unique: Unique) -> None:
    """Its session can still be recovered in its own namespace."""
    client, event = connect_js(pair.a), unique('event')
    sids = dict(client.sids)
    pair.a.emit(event, 0, to=client.sid)
    client.wait_for(event)
    pid, offset = client.state()
    client.drop()
    pair.a.emit_range(event, range(1, 5), to=client.sid)
    pair.a.emit_range(event, range(1, 5), to=client.sid, namespace='/chat')
    with RawClient(pair.b.url) as thief:
        reply = thief.connect({'pid': pid, 'offset': offset}, '/chat')
        assert reply['sid'] != client.sid
        assert reply['pid'] != pid
        check_reason(pair.b, reply['sid'], 'unknown-session',
                     namespace='/chat')
        check_receives_nothing(pair, thief, event, unique, '/chat')
    check_recovered(client, client.move(pair.b.url), sids)
    check_received([client], pair, unique, **{event: 5})


def check_receives_nothing(pair: Pair, thief: RawClient, event: str,
                           unique: Unique, namespace: str = '/') -> None:
    """Check that it receives none of the events that its victim has missed.
    """
    end = unique('end')
    for node in pair:
        node.flush()
    pair.a.emit(end, namespace=namespace)
    thief.wait_event(end, namespace)
    assert event not in [each[0] for each in thief.events(namespace)]


#: Values that are no offsets.
MALFORMED = {
    'empty': '', 'text': 'nonsense', 'one number': '5', 'a sign': '-',
    'the end': '+', 'the newest': '$', 'new ones': '>', 'excluding': '(1-1',
    'three numbers': '1-2-3', 'negative': '-1-1', 'blanks': ' 1-1 ',
    'spaces': '1 - 1', 'newline': '1-1\n', 'huge': '9' * 40 + '-0',
    'long': '1' * 100_000, 'zero byte': '1-1\0', 'digits': '١-٢',
    'number': 5, 'list': ['1-1'], 'mapping': {'a': 1}, 'true': True,
    'injected': '1-1\r\nFLUSHALL\r\n',
}


@pytest.mark.parametrize('kind', MALFORMED)
def test_malformed_offset(pair: Pair, connect_js: ConnectJs, unique: Unique,
                          kind: str) -> None:
    check_forged(pair, connect_js, unique,
                 lambda offset: MALFORMED[kind], 'invalid-offset')


def shifted(offset: str, milliseconds: int = 0, number: int = 0) -> str:
    """An offset that is so much later than another one."""
    first, second = parse_offset(offset)
    return f'{first + milliseconds}-{second + number}'


#: Offsets that the client has not received.
FORGED: Dict[str, Callable[[str], Any]] = {
    'the beginning': lambda offset: '0-0',
    'the beginning, nearly': lambda offset: '0-1',
    'long ago': lambda offset: shifted(offset, -3_600_000),
    'never there': lambda offset: shifted(offset, number=900),
    'in a minute': lambda offset: shifted(offset, 60_000),
    'the end of time': lambda offset: f'{2**64 - 1}-{2**64 - 1}',
}


@pytest.mark.parametrize('kind', FORGED)
def test_forged_offset(pair: Pair, connect_js: ConnectJs, unique: Unique,
                       kind: str) -> None:
    check_forged(pair, connect_js, unique, FORGED[kind], 'invalid-offset',
                 'offset-not-found')


def test_offset_of_another_client(pair: Pair, connect_js: ConnectJs,
                                  redis_server: Any, unique: Unique) -> None:
    """An offset from before the client was connected is refused."""
    early, event = connect_js(pair.b), unique('event')
    pair.a.emit(event, 0)
    early.wait_for(event)
    _, offset = early.state()
    pair.a.emit(event, 1)
    early.wait_for(event, 2)
    check_forged(pair, connect_js, unique, lambda _: offset,
                 'invalid-offset', 'offset-not-found', event=event)


def check_forged(pair: Pair, connect_js: ConnectJs, unique: Unique,
                 forge: Callable[[str], Any], *reasons: str,
                 event: str = '') -> None:
    """Check that a client with a forged offset is new and receives nothing,
    and that the client with this pid can still be recovered."""
    client, event = connect_js(pair.a), event or unique('event')
    mine = unique('mine')
    sids, sid = dict(client.sids), client.sid
    pair.a.emit(mine, 0, to=sid)
    client.wait_for(mine)
    pid, offset = client.state()
    client.drop()
    pair.a.emit_range(mine, range(1, 5), to=sid)
    with RawClient(pair.b.url) as thief:
        reply = thief.connect({'pid': pid, 'offset': forge(offset)})
        assert reply['sid'] != sid
        assert reply['pid'] != pid
        check_reason(pair.b, reply['sid'], *reasons)
        check_receives_nothing(pair, thief, mine, unique)
        assert event not in [each[0] for each in thief.events()]
    check_recovered(client, client.move(pair.b.url), sids)
    check_received([client], pair, unique, **{mine: 5})


#: Pids that no client has.
PIDS: Dict[str, Any] = {
    'empty': '', 'unknown': 'x' * 32, 'number': 5, 'list': ['a'],
    'mapping': {'a': 'b'}, 'true': True, 'null': None, 'long': 'x' * 100_000,
    'pattern': '*', 'newline': 'a\r\nFLUSHALL\r\n', 'zero byte': 'a\0b',
    'not ASCII': 'ü🎉', 'surrogate': '\ud800',
}


@pytest.mark.parametrize('kind', PIDS)
def test_forged_pid(pair: Pair, unique: Unique, kind: str) -> None:
    """A client with a forged pid is new, without a delay."""
    event = unique('event')
    with RawClient(pair.b.url) as witness:
        witness.connect({})
        pair.a.emit(event, 'before')
        # Now its node has delivered the event.
        witness.wait_event(event)
    with RawClient(pair.b.url) as thief:
        reply = thief.connect(
            {'pid': PIDS[kind], 'offset': '1-1', 'token': 'mine'})
        assert reply['pid'] != PIDS[kind]
        assert pair.b.connected(reply['sid'])[-1]['auth'] == {
            'token': 'mine'}
        check_receives_nothing(pair, thief, event, unique)
        if PIDS[kind] not in ('', None):
            check_reason(pair.b, reply['sid'], 'unknown-session')


@pytest.mark.parametrize('auth', [
    [], [1], 'text', 5, True, {'offset': '1-1'}, {'pid': ['a'] * 100}],
    ids=str)
def test_malformed_auth(pair: Pair, auth: Any) -> None:
    """The client is connected, as without recovery."""
    with RawClient(pair.a.url) as client:
        reply = client.connect(auth)
        assert len(reply['pid']) >= PID_LENGTH
        assert pair.a.connected(reply['sid'])[-1]['environ'][0] is False


def test_malformed_sessions(start: Start, connect_js: ConnectJs,
                            redis_server: Any, unique: Unique) -> None:
    """A client whose key in Redis holds no valid session is new, and the node
    keeps working."""
    prefix = unique('strange')
    node, = start(1, session_key_prefix=prefix)
    with redis_server.client() as redis:
        for number, value in enumerate([
                b'', b'nonsense', b'\x80', b'gA==', b'kQE=', b'wA==',
                b'gqNzaWShYaNwaWShYg==', b'/' * 200_000, b'3////w==']):
            pid = f'stranger-{number}'.ljust(32, 'x')
            redis.set(f'{prefix}{pid}', value)
            with RawClient(node.url) as client:
                reply = client.connect({'pid': pid})
                assert reply['pid'] != pid
                check_reason(node, reply['sid'], 'unknown-session')
        pid = 'stranger-list'.ljust(32, 'x')
        redis.lpush(f'{prefix}{pid}', b'no string at all')
        with RawClient(node.url) as client:
            reply = client.connect({'pid': pid})
            assert reply['pid'] != pid
    client = connect_js(node)
    sids = dict(client.sids)
    client.drop()
    check_recovered(client, client.move(node.url), sids)


def test_large_session(start: Start, connect_js: ConnectJs,
                       unique: Unique) -> None:
    """Data above the limit are refused with an error or not kept with a log
    message. The client is still served."""
    first, second = start(2, connection_state_recovery={
        'max_session_bytes': 2_000})
    client, event = connect_js(first), unique('event')
    sid = client.sid
    first.save_session(sid, {'small': 'x' * 100})
    problems = ''
    try:
        first.save_session(sid, {'large': 'x' * 5_000})
    except Exception as exc:
        problems = str(exc)
    first.emit(event, 0, to=sid)
    client.wait_for(event)
    problems += '\n'.join(first.logs(30))
    assert 'max_session_bytes' in problems or '2000' in problems
    client.drop()
    client.move(second.url)
    second.emit(event, 0, to=client.sid)
    client.wait_for(event, 2)


def test_pids_are_never_logged(start: Start, connect_js: ConnectJs,
                               unique: Unique) -> None:
    """The server, Engine.IO and the manager log everything else."""
    first, second = start(2, server={'logger': True, 'engineio_logger': True})
    event = unique('event')
    clients: List[JsClient] = [
        connect_js(first, '/', '/chat', transport=transport)
        for transport in (['websocket'], ['polling'])]
    sids = [dict(client.sids) for client in clients]
    pids = [client.state(name)[0] for client in clients
            for name in client.sids]
    first.emit(event, 'text')
    for client, own in zip(clients, sids):
        client.wait_for(event)
        for node in (second, first, second):
            client.drop()
            check_recovered(client, client.move(node.url), own)
    second.refuse('return')
    clients[0].drop()
    with pytest.raises(Exception):
        clients[0].move(second.url)
    second.refuse(None)
    stranger = unique('stranger').ljust(32, 'x')
    with RawClient(second.url) as forger:
        pids.append(forger.connect({'pid': stranger, 'offset': 'x'})['pid'])
    pids.append(stranger)
    for node in (first, second):
        check_not_logged(node, pids, sids[1]['/'])


def check_not_logged(node: NodeProcess, pids: List[str], sid: str) -> None:
    """Check the output of a node and its log."""
    for text in (node.process.output(), '\n'.join(node.logs())):
        # Everything else is logged.
        assert sid in text
        assert 'Sending packet MESSAGE' in text
        assert 'Received packet MESSAGE' in text
        for pid in pids:
            assert pid not in text
