"""Clients are dropped and moved, nodes are killed and frozen, connections
left half-open, at random and under load; every client has every message that
is in the stream for it, once and in the stream's order.

``RECOVERY_SEED=5 python -m pytest tests/recovery/test_random.py`` makes the
faults of a run again, in the same order.
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
from ..support.redis_server import free_port
from ..support.wait import wait_for_value, wait_until
from .helpers import ConnectJs, due_to, Message, received_by, RECOVERING, \
    TRANSPORTS, Unique

#: Seconds in which faults are made.
DURATION = 25.0

#: Seconds between two of them, at most.
REST = 0.5

NODES = 3
CLIENTS = 9

#: Seconds between two messages of one emitter; a node has two of them, one
#: for all clients and one for those of a room.
INTERVAL = 0.02

#: Seconds after which either side knows that a connection is lost of which it
#: hears nothing: what python-engineio has by default, and some more.
PING_TIMES_OUT = 25.0 + 20.0 + 5.0

#: Seconds in which all clients are back after the last fault. One whose server
#: is killed in the middle of an upgrade waits for a ping.
BACK_WITHIN = PING_TIMES_OUT + 10.0

#: The first letters of the events that are accounted for.
LOAD = 'load'

#: How many differences are told.
EXAMPLES = 5


class Place:
    """Where a node is, and another one when that is gone.

    :param line: what clients reach it by.
    """

    def __init__(self, line: Proxy) -> None:
        self.line = line
        self.node: Any = None
        self.clients: List[JsClient] = []

    @property
    def url(self) -> str:
        """Where it serves, whoever it is."""
        return f'http://127.0.0.1:{self.line.port}'


class World:
    """Nodes, clients, and what happens to them.

    :param chance: decides it all.
    """

    def __init__(self, make_node: Callable[[], NodeProcess],
                 connect_js: ConnectJs, chance: random.Random,
                 stack: contextlib.ExitStack) -> None:
        self._make_node = make_node
        self._chance = chance
        self._stack = stack
        self._emitters = 0
        #: One of whose clients nobody hears: it emits, whatever happens.
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
        """Have a new node there."""
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
        """Let all clients of a place come back somewhere else.

        :return: who they are.
        """
        clients = [client for client, _, _ in self.clients
                   if client in place.clients
                   # It was told to go elsewhere, but had begun to come.
                   or client.port() == place.line.port]
        for client in clients:
            self._leave(client)
            self._bring(client, self._others(place, *avoid))
        return clients

    def _bring(self, client: JsClient, to: Place) -> None:
        client.steer(to.url)
        to.clients.append(client)

    # -- faults -------------------------------------------------------------

    def drop(self) -> None:
        """Some clients lose their connection, and come back anywhere."""
        for client, _, _ in self._chance.sample(
                self.clients, self._chance.randint(1, CLIENTS)):
            self._leave(client)
            self._bring(client, self._chance.choice(self.places))
            client.give_up()

    def flap(self) -> None:
        """A client is connected for a moment only, again and again."""
        client, _, _ = self._chance.choice(self.clients)
        for _ in range(self._chance.randint(2, 6)):
            self._leave(client)
            place = self._chance.choice(self.places)
            self._bring(client, place)
            client.flap(place.url, self._chance.uniform(0.0, 0.1))

    def _leave(self, client: JsClient) -> None:
        for place in self.places:
            if client in place.clients:
                place.clients.remove(client)

    def kill(self) -> None:
        """A node is gone; another one takes its place."""
        self._end(lambda node: node.kill())

    def leave(self) -> None:
        """A node takes its leave; another one takes its place."""
        self._end(lambda node: node.process.stop())

    def _end(self, end: Callable[[NodeProcess], Any]) -> None:
        place = self._chance.choice(self.places)
        self._steer(place)
        end(place.node)
        self._settle(place)
        place.node.start_manager()
        self._let_emit(place.node)

    def freeze(self) -> None:
        """A node stands still for a while; its clients give it up."""
        place = self._chance.choice(self.places)
        place.node.freeze()
        try:
            self._give_up(place)
            # Meanwhile the others are not left in peace.
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
        """Stop emitting, and wait until all are back and have what there
        is."""
        for node in (self._steady, *(place.node for place in self.places)):
            for event in list(node.control('pulses')):
                node.stop_pulse(event)
            assert node.flush(BACK_WITHIN)
        self._steady.emit(marker)
        self._steady.flush()
        for client, sid, _ in self.clients:
            wait_until(lambda: client.count(marker), BACK_WITHIN, lambda: (
                f'{marker} at {sid}; it has {len(client.log())} events'
                f'\n{client.story()}\n{self._whereabouts(sid)}'))

    def _whereabouts(self, sid: str) -> str:
        """Which nodes have a client."""
        return '\n'.join(
            f'{place.url} is node {place.node.port}, '
            f'its log: {place.node.process.tail(10)}, '
            + ' '.join(['it has', *(each['sid'] for each in
                       place.node.fetch_sockets(local=True))])
            for place in self.places)


def differences(client: JsClient, due: List[Message],
                came: List[Message]) -> Iterator[str]:
    """What is not as it has to be, in words."""
    if came == due:
        return
    seen, place = set(came), {each: n for n, each in enumerate(due)}
    lost = [each for each in due if each not in seen]
    strange = sorted(seen - set(due))
    late = [behind for before, behind in zip(came, came[1:])
            if place.get(before, 0) > place.get(behind, 0)]
    yield (f'{client.sid}: {len(due)} due, {len(came)} came; '
           f'{len(lost)} lost: {lost[:EXAMPLES]}; '
           f'{len(came) - len(seen)} twice; {len(late)} too late: '
           f'{late[:EXAMPLES]}; {len(strange)} strange: '
           f'{strange[:EXAMPLES]}')
    for wrong in [*lost[:EXAMPLES], *late[:EXAMPLES]]:
        # Since when it was connected then.
        before = sum(place.get(each, 0) < place[wrong] for each in came)
        yield f'  {wrong} at {before}, connected at ' + str([
            each.position for each in client.connects()
            if abs(each.position - before) < 500])
    for wrong in late[:EXAMPLES]:
        at = came.index(wrong)
        yield f'  around {wrong}: ' + ', '.join(
            f'{place.get(each)}: {each.offset}'
            for each in came[max(0, at - 5):at + 5])
    yield client.story(60)


@pytest.fixture
def seed() -> int:
    """Of what is left to chance."""
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
            # All of them once before any of them twice.
            faults = faults or chance.sample(every, len(every))
            fault = faults.pop()
            print(f'{time.time() % 1000:7.3f} {fault.__name__}')
            fault()
            time.sleep(chance.uniform(0.0, REST))
        world.settle(unique('marker'))
        check(world, redis_server, stream)


def check(world: World, redis_server: Any, stream: str) -> None:
    """Every client has come back every time, and has all that it should."""
    found: List[str] = []
    with redis_server.client() as redis:
        for client, sid, room in world.clients:
            new = [each for each in client.connects()[1:]
                   if not each.recovered or each.sid != sid]
            if new:
                found.append(f'{sid} was new: {new[0]}')
            due = due_to(redis, stream, LOAD, sid, room)
            assert len(due) > DURATION / INTERVAL
            found.extend(differences(client, due, received_by(client, LOAD)))
    if found:
        pytest.fail('\n'.join(found))
    # Of each node itself: those that were killed cannot be asked. Polling
    # clients that were lost on their way are there until they do not answer
    # a ping.
    expected = sorted(sid for _, sid, _ in world.clients)
    wait_for_value(lambda: sorted(
        each['sid'] for place in world.places
        for each in place.node.fetch_sockets(local=True)), expected,
        PING_TIMES_OUT, 'the clients of all nodes')
