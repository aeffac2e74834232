"""What the published adapters write, entry by entry: the facts that the
package relies on, read without its help.

The test is the other server: it sends heartbeats and requests, and receives
requests.
"""
import json
import uuid
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import msgpack
import pytest
import redis

from ..support.js_server import Generation, JsServer
from ..support.node_process import RemoteError
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from ..support.wire_format import load_data
from .helpers import NEW, NEW_IOREDIS, OLD, Unique

#: The uid of the test as a server.
PEER = '0123456789abcdef'


class Wire(NamedTuple):
    """A server in Node.js, and its connection with the test.

    :param stream: also the prefix of the channels.
    """

    js: JsServer
    redis: redis.Redis
    stream: str
    pubsub: Any

    @property
    def uid(self) -> str:
        """The server's uid in the namespace ``/``."""
        return self.js.uid()

    def entries(self) -> List[Dict[str, str]]:
        """The fields of the entries that the server has written in the
        namespace ``/``."""
        uid = self.uid
        found = [{name.decode(): value.decode()
                  for name, value in fields.items()}
                 for _, fields in self.redis.xrange(self.stream)]
        return [fields for fields in found if fields['uid'] == uid]

    def wait_entries(self, kind: int, count: int = 1) -> List[Any]:
        """Wait for entries of a type.

        :return: their data, decoded.
        """
        def found() -> List[Any]:
            return [load_data(fields.get('data')) for fields in self.entries()
                    if fields['type'] == str(kind)]

        wait_until(lambda: len(found()) >= count, what=f'type {kind}')
        return found()

    def wait_published(self, kind: int) -> Tuple[str, Dict[str, Any]]:
        """Wait for a message of a type on the channels.

        :return: its channel without the prefix, and the message.
        """
        def found() -> Any:
            got = self.pubsub.get_message(timeout=0.05)
            if not got or got['type'] not in ('message', 'pmessage'):
                return None
            message = msgpack.unpackb(got['data'])
            channel = got['channel'].decode()
            assert channel.startswith(self.stream)
            return (channel[len(self.stream):], message) \
                if message['type'] == kind else None

        result: Tuple[str, Dict[str, Any]] = wait_until(
            found, what=f'type {kind} on a channel')
        return result

    def write(self, kind: int, data: Any = None) -> None:
        """Write an entry as the other server."""
        fields = {'uid': PEER, 'nsp': '/', 'type': str(kind)}
        if data is not None:
            fields['data'] = json.dumps(data)
        self.redis.xadd(self.stream, fields)  # type: ignore[arg-type]

    def publish(self, kind: int, data: Any) -> None:
        """Publish a request as the other server."""
        self.redis.publish(f'{self.stream}#/#', msgpack.packb(
            {'uid': PEER, 'nsp': '/', 'type': kind, 'data': data}))


@pytest.fixture(params=[OLD, NEW, NEW_IOREDIS],
                ids=lambda generation: generation.name)
def generation(request: Any) -> Generation:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope='module')
def wires(redis_server: RedisServer, npm_packages: None,
          ) -> Iterator[Callable[[Generation], Wire]]:
    """The server of each generation, started when a test first needs it."""
    made: Dict[Generation, Wire] = {}

    def make(generation: Generation) -> Wire:
        if generation not in made:
            stream = f'wire-{uuid.uuid4().hex[:8]}'
            js = JsServer(generation, redis_server.url, {
                'streamName': stream, 'channelPrefix': stream,
                # Long, so that its heartbeats do not disturb the tests.
                'heartbeatInterval': 60_000, 'heartbeatTimeout': 90_000})
            client = redis_server.client()
            pubsub = client.pubsub()
            pubsub.psubscribe(f'{stream}#*')
            made[generation] = Wire(js, client, stream, pubsub)
            js.start()
        return made[generation]

    try:
        yield make
    finally:
        for wire in made.values():
            wire.js.stop()
            wire.pubsub.close()
            wire.redis.close()


@pytest.fixture
def wire(wires: Callable[[Generation], Wire],
         generation: Generation) -> Wire:
    return wires(generation)


@pytest.fixture
def heartbeats(wires: Callable[[Generation], Wire]) -> Wire:
    """The older generation, which counts the test as a server."""
    wire = wires(OLD)

    def counts() -> bool:
        # The server misses what is written before it begins to read.
        wire.write(2)
        return wire.js.server_count() == 2

    wait_until(counts, what='the test to be counted as a server')
    return wire


@pytest.fixture(params=[NEW, NEW_IOREDIS],
                ids=lambda generation: generation.name)
def channels(wires: Callable[[Generation], Wire], request: Any) -> Wire:
    """A newer generation, once it has subscribed to its channels."""
    wire = wires(request.param)
    with wire.redis.pubsub() as listener:
        listener.subscribe(f'{wire.stream}#/#')
        wait_until(lambda: wire.js.server_count() == 2,
                   what='the subscriptions')
    return wire


OPTS = {'rooms': ['a'], 'except': ['b'], 'flags': {}}


def test_commands_and_events(wire: Wire, unique: Unique) -> None:
    """Both generations write them to the stream."""
    js, event = wire.js, unique('event')
    js.emit(event, 'text', to='a', skip_sid='b')
    js.emit(event, b'\x00')
    js.sockets_join(['r', 's'], to='a', skip_sid='b')
    js.sockets_leave(['r'], to='a', skip_sid='b')
    js.disconnect_sockets(to='a', skip_sid='b', close=True)
    assert wire.wait_entries(6) == [{'opts': OPTS, 'close': True}]
    assert wire.wait_entries(5) == [{'opts': OPTS, 'rooms': ['r']}]
    assert wire.wait_entries(4) == [{'opts': OPTS, 'rooms': ['r', 's']}]
    # The namespace is in the entry, not in the packet.
    assert wire.wait_entries(3, 2) == [
        {'opts': OPTS, 'packet': {'type': 2, 'data': [event, 'text']}},
        {'opts': {'rooms': [], 'except': [], 'flags': {}},
         'packet': {'type': 2, 'data': [event, b'\x00']}}]
    for fields in wire.entries():
        assert set(fields) - {'data'} == {'uid', 'nsp', 'type'}
        assert ('data' in fields) == (fields['type'] not in ('1', '2', '13'))
    assert len(wire.uid) == 16
    int(wire.uid, 16)


def test_heartbeats_over_the_stream(heartbeats: Wire) -> None:
    # Twice: the adapter's constructor and the namespace both call init().
    assert heartbeats.wait_entries(1, 2) == [None, None]
    before = len(heartbeats.wait_entries(2, 0))
    heartbeats.write(1)
    assert heartbeats.wait_entries(2, before + 1)
    heartbeats.write(13)
    heartbeats.js.wait_server_count(1)


def test_no_heartbeats_with_channels(channels: Wire, unique: Unique) -> None:
    """The newer generation writes no heartbeats, and ignores those of others.
    """
    channels.write(1)
    channels.write(2)
    channels.write(13)
    event = unique('event')
    channels.js.emit(event)
    channels.wait_entries(3)
    assert {fields['type'] for fields in channels.entries()}.isdisjoint(
        {'1', '2', '13'})


def send_all_requests(js: JsServer, event: str) -> None:
    """Let a server send one request of each kind. The test does not answer.
    """
    for ask in (lambda: js.fetch_sockets(to='a', timeout=0.2),
                lambda: js.emit_with_ack(event, 1, to='a', timeout=0.2),
                lambda: js.server_side_call(event, 1)):
        with pytest.raises(RemoteError):
            ask()


def check_requests(event: str, fetch: Any, broadcast: Any,
                   emit: Any) -> None:
    """Check the data of the requests that :func:`send_all_requests` made."""
    for data in (fetch, broadcast, emit):
        assert len(data.pop('requestId')) == 16
    assert fetch == {'opts': {'rooms': ['a'], 'except': [],
                              'flags': {'timeout': 200}}}
    assert broadcast == {
        'opts': {'rooms': ['a'], 'except': [], 'flags': {'timeout': 200}},
        'packet': {'type': 2, 'data': [event, 1]}}
    assert emit == {'packet': [event, 1]}


def test_requests_over_the_stream(heartbeats: Wire, unique: Unique) -> None:
    event = unique('event')
    seen = len(heartbeats.wait_entries(3, 0))
    send_all_requests(heartbeats.js, event)
    check_requests(event, heartbeats.wait_entries(7)[-1],
                   heartbeats.wait_entries(3, seen + 1)[-1],
                   heartbeats.wait_entries(9)[-1])


def test_requests_over_channels(channels: Wire, unique: Unique) -> None:
    event = unique('event')
    with channels.redis.pubsub() as listener:
        # Otherwise the server would know of no other server.
        listener.subscribe(f'{channels.stream}#/#')
        wait_until(lambda: channels.js.server_count() == 2,
                   what='the subscription')
        send_all_requests(channels.js, event)
    found = {}
    for kind in (7, 3, 9):
        channel, message = channels.wait_published(kind)
        found[kind] = message.pop('data')
        assert channel == '#/#'
        assert message == {'uid': channels.uid, 'nsp': '/', 'type': kind}
    check_requests(event, found[7], found[3], found[9])


REQUESTS: List[Tuple[int, Dict[str, Any]]] = [
    (7, {'opts': {**OPTS, 'except': []}, 'requestId': 'r7'}),
    (3, {'opts': {**OPTS, 'except': []}, 'requestId': 'r3',
         'packet': {'type': 2, 'data': ['e']}})]


def test_answers_over_the_stream(heartbeats: Wire, unique: Unique) -> None:
    event = unique('event')
    heartbeats.js.handle_server_side(event, 'answer')
    for kind, data in REQUESTS:
        heartbeats.write(kind, data)
    heartbeats.write(9, {'packet': [event], 'requestId': 'r9'})
    assert heartbeats.wait_entries(10) == [
        {'requestId': 'r9', 'packet': 'answer'}]
    assert heartbeats.wait_entries(8) == [{'requestId': 'r7', 'sockets': []}]
    # Also if there is no client.
    assert heartbeats.wait_entries(11) == [
        {'requestId': 'r3', 'clientCount': 0}]


@pytest.mark.parametrize('way', ['publish', 'write'])
def test_answers_over_channels(channels: Wire, unique: Unique,
                               way: str) -> None:
    """They are published, whichever way the request came."""
    event = unique('event')
    channels.js.handle_server_side(event, 'answer')
    ask = getattr(channels, way)
    for kind, data, answer_kind, answer in (
            (*REQUESTS[0], 8, {'requestId': 'r7', 'sockets': []}),
            (*REQUESTS[1], 11, {'requestId': 'r3', 'clientCount': 0}),
            (9, {'packet': [event], 'requestId': 'r9'}, 10,
             {'requestId': 'r9', 'packet': 'answer'})):
        ask(kind, data)
        assert channels.wait_published(answer_kind) == (f'#/#{PEER}#', {
            'uid': channels.uid, 'nsp': '/', 'type': answer_kind,
            'data': answer})
