"""The servers and clients, and the faults that strike them."""
import contextlib
import random
import threading
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from ..conftest import running
from ..faults.load import LOSSES
from ..integration.conftest import start_managers
from ..support.js_client import JsClient, JsClients
from ..support.node_process import NodeProcess
from ..support.proxy import Proxy
from ..support.ports import free_port
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .oracle import Member
from .schedule import Fault

NAMESPACES = ('/', '/chat')

#: The number of places: each has one server at a time.
PLACES = 3

CLIENTS = 30

ROOMS = ('room-0', 'room-1', 'room-2')

#: The targets of messages, as arguments of ``emit``. A client in two rooms
#: gets a message to both of them once.
TARGETS: Tuple[Dict[str, Any], ...] = (
    {}, *({'to': room} for room in ROOMS), {'to': list(ROOMS[:2])},
    {'skip_sid': ROOMS[1]})

#: Messages per second of all servers together.
RATE = 300.0

#: Seconds between two messages of one server to one target of a namespace.
INTERVAL = PLACES * len(NAMESPACES) * len(TARGETS) / RATE

#: The prefix of the names of numbered events.
LOAD = 'load-'

#: The last event.
FINAL = 'final'

#: The options of the servers, besides those of Redis. No client is away for
#: longer than allowed, nothing is trimmed, and a silent client is noticed
#: soon.
OPTIONS: Dict[str, Any] = {
    'stream_name': 'chaos', 'retention': 3600.0,
    'connection_state_recovery': {'max_disconnection_duration': 600.0,
                                  'max_missed_packets': 100_000},
    'server': {'ping_interval': 5, 'ping_timeout': 5}}

#: The transports of clients: most use a WebSocket.
TRANSPORTS = (['websocket'], ['websocket'], ['polling', 'websocket'],
              ['websocket'], ['polling'])

#: Seconds after the last fault in which all clients are connected and have
#: received everything.
BACK_WITHIN = 45.0


class Place:
    """An address with a server, which can be replaced.

    :param line: the proxy between clients and the server.
    :param link: the proxy between the server and Redis.
    """

    def __init__(self, line: Proxy, link: Proxy, node: NodeProcess) -> None:
        self.line = line
        self.link = link
        self.node = node

    @property
    def url(self) -> str:
        """The URL for clients, which stays when the server is replaced."""
        return f'http://127.0.0.1:{self.line.port}'


class ClientMembers(NamedTuple):
    """A client, and what it is in each of its namespaces."""

    client: JsClient
    members: List[Member]


class World:
    """Redis, the servers and the clients.

    Several threads run faults, but only one at a time for each place.

    :param mode: how servers run their tasks.
    """

    def __init__(self, mode: str, stack: contextlib.ExitStack) -> None:
        self._mode = mode
        self._stack = stack
        self.redis = stack.enter_context(RedisServer())
        self.redis.start()
        self._lock = threading.Lock()
        #: How many servers have begun to emit. Changed under the lock.
        self._emitters = 0
        #: The violations, in words. All threads append to it.
        self.violations: List[str] = []
        self.places = [self._make_place() for _ in range(PLACES)]
        start_managers([place.node for place in self.places])
        self._js = stack.enter_context(contextlib.closing(_Js()))
        self.clients = [self._connect(number) for number in range(CLIENTS)]
        self._work: Dict[str, Callable[
            [Place, float, random.Random], None]] = {
            'server killed': self._kill,
            'server restarted': self._restart,
            'server frozen': self._freeze,
            'clients cut off': self._cut_off,
            "clients' connections broken": self._break,
            "clients' connections silent": self._silence,
            'clients moved': self._move,
            'clients flapping': self._flap,
            'Redis frozen': self._freeze_redis,
            'Redis connection cut': self._cut_redis,
            "Redis' connections broken": self._break_redis,
            "Redis' replies lost": self._mute_redis,
            'Redis slow': self._slow_redis,
        }

    # -- the beginning ------------------------------------------------------

    def _make_place(self) -> Place:
        line, link = (self._stack.enter_context(Proxy(free_port(), port))
                      for port in (0, self.redis.port))
        line.open()
        link.open()
        place = Place(line, link, self._start_node(link))
        line.target_port = place.node.port
        return place

    def _start_node(self, link: Proxy) -> NodeProcess:
        node = NodeProcess(self._mode, link.url, OPTIONS)
        self._stack.enter_context(running([node]))
        return node

    def _connect(self, number: int) -> ClientMembers:
        """Connect a client, in one of the namespaces or in both, and in one
        room or two."""
        place = self.places[number % PLACES]
        namespaces = (NAMESPACES[:1], NAMESPACES[1:],
                      NAMESPACES)[number // PLACES % 3]
        rooms = {ROOMS[number // 2 % 3], ROOMS[number // 5 % 3]}
        client = self._js.clients.connect(
            place.url, *namespaces, reconnection=True,
            transport=TRANSPORTS[number % len(TRANSPORTS)])
        members = []
        for namespace in namespaces:
            # As in the fixture `connect`: now the manager counts it as
            # connected.
            client.call('echo', namespace=namespace)
            sid = client.sids[namespace]
            for room in rooms:
                place.node.enter_room(sid, room, namespace=namespace)
            members.append(Member(f'client {number}', namespace, sid,
                                  frozenset({sid, *rooms})))
        return ClientMembers(client, members)

    def start_load(self) -> None:
        for place in self.places:
            self._start_emits(place.node)

    def _start_emits(self, node: NodeProcess) -> None:
        with self._lock:
            emitter = self._emitters
            self._emitters += 1
        for namespace in NAMESPACES:
            for number, target in enumerate(TARGETS):
                node.start_pulse(
                    f'{LOAD}{emitter}{namespace}{number}', INTERVAL,
                    namespace=namespace, **target)

    # -- faults -------------------------------------------------------------

    def run(self, fault: Fault) -> None:
        """Begin and end a fault."""
        self._work[fault.kind.name](self.places[fault.place], fault.lasts,
                                    random.Random(fault.seed))

    def _kill(self, place: Place, lasts: float,
              chance: random.Random) -> None:
        place.node.kill()
        self._replace(place, lasts)

    def _restart(self, place: Place, lasts: float,
                 chance: random.Random) -> None:
        self._check_node(place.node)
        place.node.process.stop()
        self._replace(place, lasts)

    def _replace(self, place: Place, lasts: float) -> None:
        _rest(lasts)
        place.node = self._start_node(place.link)
        place.line.target_port = place.node.port
        place.node.start_manager()
        self._start_emits(place.node)

    def _freeze(self, place: Place, lasts: float,
                chance: random.Random) -> None:
        place.node.freeze()
        try:
            # About half of its clients move to other servers.
            for client in self._clients_of(place):
                if chance.random() < 0.5:
                    self._send_away(client, place, chance)
            _rest(lasts)
        finally:
            place.node.thaw()

    def _cut_off(self, place: Place, lasts: float,
                 chance: random.Random) -> None:
        place.line.cut()
        _rest(lasts)
        place.line.open()

    def _break(self, place: Place, lasts: float,
               chance: random.Random) -> None:
        for client in self._clients_of(place):
            if chance.random() < 0.5:
                client.set_server(chance.choice(self.places).url)
        place.line.break_connections()

    def _silence(self, place: Place, lasts: float,
                 chance: random.Random) -> None:
        """The server takes its clients for connected until they return
        elsewhere or do not answer a PING."""
        place.line.go_silent()
        _rest(lasts)
        for client in self._clients_of(place):
            self._send_away(client, place, chance)

    def _move(self, place: Place, lasts: float,
              chance: random.Random) -> None:
        for client, _ in chance.sample(self.clients,
                                       chance.randint(1, CLIENTS // 2)):
            client.set_server(place.url)
            client.give_up()

    def _flap(self, place: Place, lasts: float,
              chance: random.Random) -> None:
        client, _ = chance.choice(self.clients)
        for _ in range(chance.randint(2, 6)):
            client.reconnect_briefly(place.url, chance.uniform(0.0, lasts / 4))

    def _freeze_redis(self, place: Place, lasts: float,
                      chance: random.Random) -> None:
        self.redis.freeze()
        try:
            _rest(lasts)
        finally:
            self.redis.thaw()

    def _cut_redis(self, place: Place, lasts: float,
                   chance: random.Random) -> None:
        place.link.cut()
        _rest(lasts)
        place.link.open()

    def _break_redis(self, place: Place, lasts: float,
                     chance: random.Random) -> None:
        for _ in range(chance.randint(1, 5)):
            place.link.break_connections()
            _rest(chance.uniform(0.0, 0.2))

    def _mute_redis(self, place: Place, lasts: float,
                    chance: random.Random) -> None:
        place.link.swallow_replies()
        _rest(lasts)
        place.link.heal()

    def _slow_redis(self, place: Place, lasts: float,
                    chance: random.Random) -> None:
        place.link.delay_replies(chance.uniform(0.01, 0.3))
        _rest(lasts)
        place.link.heal()

    def _clients_of(self, place: Place) -> List[JsClient]:
        """The clients that are connected there, or that try to connect."""
        return [client for client, _ in self.clients
                if client.port() == place.line.port]

    def _send_away(self, client: JsClient, place: Place,
                   chance: random.Random) -> None:
        client.set_server(chance.choice(
            [each for each in self.places if each is not place]).url)
        client.give_up()

    # -- the end ------------------------------------------------------------

    def settle(self) -> int:
        """Stop emitting, and wait until all clients have the last event.

        :return: how many messages the servers that still run have emitted.
        """
        emitted = 0
        for place in self.places:
            for event in list(place.node.control('pulses')):
                emitted += place.node.stop_pulse(event)
            assert place.node.flush(BACK_WITHIN), 'the outbox is not empty'
        for namespace in NAMESPACES:
            self.places[0].node.emit(FINAL, namespace=namespace)
        for client, members in self.clients:
            try:
                wait_until(lambda: client.count(FINAL) >= len(members),
                           BACK_WITHIN)
            except AssertionError:
                self.violations.append(
                    f'{members[0].name} has no final message:\n'
                    f'{client.history()}')
        for place in self.places:
            place.node.wait_health('ok', BACK_WITHIN)
            self._check_node(place.node)
        return emitted

    def _check_node(self, node: NodeProcess) -> None:
        stats = node.stats()
        wrong = {name: stats[name] for name in (*LOSSES, 'malformed')
                 if stats[name]}
        if wrong:
            self.violations.append(f'{node.name} counts {wrong}')

    def reason_of(self, sid: str, namespace: str) -> str:
        """Why a client was not recovered; known as long as its server has
        not been replaced."""
        for place in self.places:
            for found in place.node.connected(sid):
                if found['namespace'] == namespace:
                    return f'{found["environ"]} by {place.node.name}'
        return 'by a server that was replaced'


def _rest(seconds: float) -> None:
    # The length of a fault; it waits for no condition.
    threading.Event().wait(seconds)


class _Js:
    """The process of the JavaScript clients."""

    def __init__(self) -> None:
        self.clients = JsClients().start()

    def close(self) -> None:
        self.clients.stop()
