"""Clients are dropped and moved, nodes are killed and frozen, and connections
left half-open, at random and under load. Every client receives every message
that is in the stream for it, once and in the stream's order.

``RECOVERY_SEED=5 python -m pytest tests/recovery/test_random.py`` repeats the
faults of a run in the same order.
"""
import contextlib
import os
import random
import time
from typing import Any, Callable, Iterator, List, Tuple

import pytest

from ..conftest import running
from ..integration.conftest import start_managers
from ..support.js_client import JsClient
from ..support.node_process import NodeProcess
from ..support.proxy import Proxy
from ..support.ports import free_port
from ..support.wait import wait_for_value, wait_until
from .helpers import ConnectJs, Message, messages_for, received_by, \
    RECOVERING, TRANSPORTS, Unique

#: Seconds for which faults are made.
DURATION = 25.0

#: The most seconds between two faults.
REST = 0.5

NODES = 3
CLIENTS = 9

#: Seconds between two messages of one emitter. A node has two emitters, one
#: for all clients and one for those in a room.
INTERVAL = 0.02

#: Seconds after which either side notices that a silent connection is lost:
#: python-engineio's ping interval and timeout, and some more.
PING_TIMES_OUT = 25.0 + 20.0 + 5.0

#: Seconds in which all clients are back after the last fault. A client whose
#: server is killed in the middle of an upgrade waits for a ping.
BACK_WITHIN = PING_TIMES_OUT + 10.0

#: The prefix of the events that are compared with the stream.
LOAD = 'load'

#: How many differences a failure shows.
EXAMPLES = 5


class Place:
    """An address with a node, which is replaced when it ends.

    :param line: the proxy through which clients reach the node.
    """

    def __init__(self, line: Proxy) -> None:
        self.line = line
        self.node: Any = None
        self.clients: List[JsClient] = []

    @property
    def url(self) -> str:
        """The URL of whichever node is there."""
        return f'http://127.0.0.1:{self.line.port}'


class World:
    """Nodes and clients, and the faults that happen to them.

    :param chance: decides what happens.
    """

    def __init__(self, make_node: Callable[[], NodeProcess],
                 connect_js: ConnectJs, chance: random.Random,
                 stack: contextlib.ExitStack) -> None:
        self._make_node = make_node
        self._chance = chance
        self._stack = stack
        self._emitters = 0
        #: A node without clients, which emits all the time.
        self._steady = self._start_node()
        self.places = []
        for _ in range(NODES):
            line = stack.enter_context(Proxy(free_port(), 0))
            line.open()
            self.places.append(Place(line))
        for place in self.places:
            self._settle(place)
        start_managers([self._steady,
                        *(place.node for place in self.places)])
        self.clients: List[Tuple[JsClient, str, str]] = []
        kinds = list(TRANSPORTS.values())
        for number in range(CLIENTS):
            place, room = self.places[number % NODES], f'room-{number % 2}'
            client = connect_js(place.url, reconnection=True,
                                transport=kinds[number // NODES])
            place.node.enter_room(client.sid, room)
            place.clients.append(client)
            self.clients.append((client, client.sid, room))
        for node in (self._steady, *(place.node for place in self.places)):
            self._let_emit(node)

    def _start_node(self) -> NodeProcess:
        node = self._make_node()
        self._stack.enter_context(running([node]))
        return node

    def _settle(self, place: Place) -> None:
        """Start a new node at a place."""
        place.node = self._start_node()
        place.line.target_port = place.node.port

    def _let_emit(self, node: NodeProcess) -> None:
        for room in (None, f'room-{self._emitters % 2}'):
            node.start_pulse(f'{LOAD}-{self._emitters}-{room}', INTERVAL,
                             to=room)
        self._emitters += 1

    def _others(self, *places: Place) -> Place:
        return self._chance.choice(
            [each for each in self.places if each not in places])

    def _steer(self, place: Place, *avoid: Place) -> List[JsClient]:
        """Let all clients of a place reconnect to another one.

        :return: these clients.
        """
        clients = [client for client, _, _ in self.clients
                   if client in place.clients
                   # It was steered elsewhere, but already connects here.
                   or client.port() == place.line.port]
        for client in clients:
            self._leave(client)
            self._bring(client, self._others(place, *avoid))
        return clients

    def _bring(self, client: JsClient, to: Place) -> None:
        client.set_server(to.url)
        to.clients.append(client)

    # -- faults -------------------------------------------------------------

    def drop(self) -> None:
        """Some clients lose their connection, and return to any place."""
        for client, _, _ in self._chance.sample(
                self.clients, self._chance.randint(1, CLIENTS)):
            self._leave(client)
            self._bring(client, self._chance.choice(self.places))
            client.give_up()

    def flap(self) -> None:
        """A client loses its connection again and again, after a moment."""
        client, _, _ = self._chance.choice(self.clients)
        for _ in range(self._chance.randint(2, 6)):
            self._leave(client)
            place = self._chance.choice(self.places)
            self._bring(client, place)
            client.reconnect_briefly(place.url, self._chance.uniform(0.0, 0.1))

    def _leave(self, client: JsClient) -> None:
        for place in self.places:
            if client in place.clients:
                place.clients.remove(client)

    def kill(self) -> None:
        """A node is killed, and another one takes its place."""
        self._end(lambda node: node.kill())

    def leave(self) -> None:
        """A node shuts down, and another one takes its place."""
        self._end(lambda node: node.process.stop())

    def _end(self, end: Callable[[NodeProcess], Any]) -> None:
        place = self._chance.choice(self.places)
        self._steer(place)
        end(place.node)
        self._settle(place)
        place.node.start_manager()
        self._let_emit(place.node)

    def freeze(self) -> None:
        """A node is frozen for a while, and its clients give it up."""
        place = self._chance.choice(self.places)
        place.node.freeze()
        try:
            self._give_up(place)
            # At the same time, other clients are moved.
            for client, _, _ in self._chance.sample(self.clients, 3):
                self._leave(client)
                self._bring(client, self._others(place))
                client.give_up()
            time.sleep(self._chance.uniform(0.0, 2.0))
        finally:
            place.node.thaw()

    def half_open(self) -> None:
        """All connections of a node go silent."""
        place = self._chance.choice(self.places)
        place.line.go_silent()
        self._give_up(place)

    def _give_up(self, place: Place) -> None:
        for client in self._steer(place):
            client.give_up()

    # -- the end ------------------------------------------------------------

    def settle(self, marker: str) -> None:
        """Stop emitting, and wait until all clients are back and have
        received everything."""
        for node in (self._steady, *(place.node for place in self.places)):
            for event in list(node.control('pulses')):
                node.stop_pulse(event)
            assert node.flush(BACK_WITHIN)
        self._steady.emit(marker)
        self._steady.flush()
        for client, sid, _ in self.clients:
            wait_until(lambda: client.count(marker), BACK_WITHIN, lambda: (
                f'{marker} at {sid}; it has {len(client.log())} events'
                f'\n{client.history()}\n{self._whereabouts(sid)}'))

    def _whereabouts(self, sid: str) -> str:
        """What each node has logged, and which clients it has."""
        return '\n'.join(
            f'{place.url} is node {place.node.port}, '
            f'its log: {place.node.process.tail(10)}, '
            + ' '.join(['its clients:', *(each['sid'] for each in
                       place.node.fetch_sockets(local=True))])
            for place in self.places)


def differences(client: JsClient, expected: List[Message],
                received: List[Message]) -> Iterator[str]:
    """How what a client has received differs from what it should have, in
    words."""
    if received == expected:
        return
    seen, place = set(received), {each: n for n, each in enumerate(expected)}
    lost = [each for each in expected if each not in seen]
    strange = sorted(seen - set(expected))
    late = [after for before, after in zip(received, received[1:])
            if place.get(before, 0) > place.get(after, 0)]
    yield (f'{client.sid}: {len(expected)} expected, '
           f'{len(received)} received; '
           f'{len(lost)} lost: {lost[:EXAMPLES]}; '
           f'{len(received) - len(seen)} twice; {len(late)} out of order: '
           f'{late[:EXAMPLES]}; {len(strange)} never emitted: '
           f'{strange[:EXAMPLES]}')
    for wrong in [*lost[:EXAMPLES], *late[:EXAMPLES]]:
        # The connections around that message.
        before = sum(place.get(each, 0) < place[wrong] for each in received)
        yield f'  {wrong} at {before}, connected at ' + str([
            each.position for each in client.connects()
            if abs(each.position - before) < 500])
    for wrong in late[:EXAMPLES]:
        at = received.index(wrong)
        yield f'  around {wrong}: ' + ', '.join(
            f'{place.get(each)}: {each.offset}'
            for each in received[max(0, at - 5):at + 5])
    yield client.history(60)


@pytest.fixture
def seed() -> int:
    """The seed of the random faults."""
    return int(os.environ.get('RECOVERY_SEED')
               or random.SystemRandom().randrange(10**6))


@pytest.mark.timeout(DURATION + BACK_WITHIN + PING_TIMES_OUT + 60.0)
def test_random_faults(mode: str, redis_server: Any, connect_js: ConnectJs,
                       unique: Unique, seed: int) -> None:
    print(f'RECOVERY_SEED={seed}')
    chance, stream = random.Random(seed), unique('stream')
    with contextlib.ExitStack() as stack:
        world = World(lambda: NodeProcess(mode, redis_server.url, {
            **RECOVERING, 'stream_name': stream}), connect_js, chance, stack)
        every = [world.drop, world.flap, world.kill, world.leave,
                 world.freeze, world.half_open]
        end, faults = time.monotonic() + DURATION, []
        while time.monotonic() < end:
            # All faults once before any of them twice.
            faults = faults or chance.sample(every, len(every))
            fault = faults.pop()
            print(f'{time.time() % 1000:7.3f} {fault.__name__}')
            fault()
            time.sleep(chance.uniform(0.0, REST))
        world.settle(unique('marker'))
        check(world, redis_server, stream)


def check(world: World, redis_server: Any, stream: str) -> None:
    """Check that every client was recovered every time, and has received what
    it should."""
    found: List[str] = []
    with redis_server.client() as redis:
        for client, sid, room in world.clients:
            new = [each for each in client.connects()[1:]
                   if not each.recovered or each.sid != sid]
            if new:
                found.append(f'{sid} was new: {new[0]}')
            expected = messages_for(redis, stream, LOAD, sid, room)
            assert len(expected) > DURATION / INTERVAL
            found.extend(differences(client, expected,
                                     received_by(client, LOAD)))
    if found:
        pytest.fail('\n'.join(found))
    # Each node is asked for its local clients, because killed nodes would not
    # answer. A polling client that was lost during a move stays until a ping
    # times out.
    sids = sorted(sid for _, sid, _ in world.clients)
    wait_for_value(lambda: sorted(
        each['sid'] for place in world.places
        for each in place.node.fetch_sockets(local=True)), sids,
        PING_TIMES_OUT, 'the clients of all nodes')
