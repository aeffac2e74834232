"""The clusters of these tests, and what several of them wait for and check.
"""
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Union

from ..conftest import make_unique
from ..support.client import Listener
from ..support.js_server import Generation, JsServer
from ..support.node_process import NodeProcess
from ..support.wait import DEADLINE, wait_until

#: A server in either language. Methods with the same name do the same.
Server = Union[NodeProcess, JsServer]
Unique = Callable[[str], str]

#: Namespaces that have handlers on every server.
NAMESPACES = ('/', '/chat')

OLD = Generation('0.2', 'adapter-02', 'redis')
NEW = Generation('0.3', 'adapter-03', 'redis-5')
NEW_IOREDIS = Generation('0.3-ioredis', 'adapter-03', 'ioredis')

#: The servers of the mixed cluster.
JS_SENDERS = [OLD.name, NEW.name, NEW_IOREDIS.name]
SENDERS = ['python', *JS_SENDERS]


class MixedCluster(NamedTuple):
    """One server of each kind, and clients that listen.

    :param servers: by name.
    :param clients: by the names of their server and of their language.
    """

    servers: Dict[str, Server]
    clients: Dict[str, Listener]

    @property
    def listeners(self) -> List[Listener]:
        """The clients."""
        return list(self.clients.values())


#: Options that are times: milliseconds in Node.js.
TIMES = {'heartbeat_interval', 'heartbeat_timeout',
         'max_disconnection_duration'}


def adapter_options(options: Dict[str, Any]) -> Dict[str, Any]:
    """A manager's options as the npm package spells them, with milliseconds
    instead of seconds."""
    spelled = {}
    for name, value in options.items():
        first, *others = name.split('_')
        js_name = first + ''.join(each.capitalize() for each in others)
        if isinstance(value, dict):
            spelled[js_name] = adapter_options(value)
        else:
            spelled[js_name] = int(value * 1000) if name in TIMES else value
    return spelled


def wait_until_heard(servers: Sequence[Server],
                     clients: Sequence[Listener], unique: Unique,
                     namespace: str = '/') -> None:
    """Wait until what each server emits reaches all clients.

    A server in Node.js does not report when it begins to read. Until it has
    read a first entry, it misses what is written between two reads.
    """
    for server in servers:
        event = unique('heard')

        def heard() -> bool:
            server.emit(event, namespace=namespace)
            return all(client.count(event) for client in clients)

        wait_until(heard, what=f'events of {server.name} at all clients')


def wait_heard_everywhere(servers: Sequence[Server],
                          clients: Sequence[Listener]) -> None:
    """The same, in every namespace."""
    unique = make_unique()
    for namespace in NAMESPACES:
        wait_until_heard(servers, clients, unique, namespace)


def wait_counted(servers: Sequence[Server], count: int,
                 timeout: float = DEADLINE) -> None:
    """Wait until each server counts that many, in every namespace."""
    for server in servers:
        for namespace in NAMESPACES:
            server.wait_server_count(count, namespace, timeout)


def check_received(sender: Server, clients: Sequence[Listener],
                   unique: Unique, namespace: str = '/',
                   **expected: Any) -> None:
    """Check that each client has received what it should, and nothing else.

    :param sender: the server that has emitted the events. What it emits now
                   arrives after them.
    :param expected: the arguments, by event and for each client.
    """
    marker = unique('marker')
    sender.emit(marker, namespace=namespace)
    for client in clients:
        client.wait_for(marker)
    for event, arguments in expected.items():
        assert [client.received(event) for client in clients] == arguments


class Cluster(NamedTuple):
    """Servers that send each other requests, two in each language.

    :param client_of: one JavaScript client of each server, by the server's
                      name.
    """

    python: NodeProcess
    other_python: NodeProcess
    js: JsServer
    other_js: JsServer
    client_of: Dict[str, Listener]

    @property
    def servers(self) -> List[Server]:
        """All four."""
        return [self.python, self.other_python, self.js, self.other_js]

    def in_language(self, language: str) -> Server:
        """One of them, by the name of its language."""
        return self.python if language == 'Python' else self.js

    def join(self, requester: Server, room: str, clients: Sequence[Listener],
             namespace: str = '/') -> None:
        """Let clients enter a room, and wait until they have: a request over
        PUB/SUB may overtake what goes through the stream.

        :param requester: the server that sends the command.
        """
        requester.sockets_join([room], namespace=namespace, to=[
            client.sids[namespace] for client in clients])
        for server in self.servers:
            client = self.client_of[server.name]
            if client in clients:
                sid = client.sids[namespace]
                wait_until(
                    lambda: room in server.rooms(sid, namespace=namespace),
                    what=f'the client of {server.name} in the room')

    def others(self, server: Server) -> List[Server]:
        """All servers but one."""
        return [each for each in self.servers if each is not server]


class Transport(NamedTuple):
    """A published adapter, and how it sends and receives requests.

    :param request_transport: the manager's option that fits.
    """

    generation: Generation
    request_transport: str

    @property
    def is_sharded(self) -> bool:
        """Whether Redis must have sharded channels, which came with 7.0."""
        return self.request_transport == 'sharded-pubsub'

    @property
    def name(self) -> str:
        """For the ids of tests, and for names that must differ."""
        return self.generation.name + ('-sharded' if self.is_sharded else '')

    @property
    def js_options(self) -> Dict[str, Any]:
        """The adapter's option for it, under the name that a manager would
        give it."""
        return {'use_sharded_pub_sub': True} if self.is_sharded else {}


#: All that a manager supports. Every test with the fixture ``cluster`` runs
#: with each of them.
TRANSPORTS = [Transport(OLD, 'stream'), Transport(NEW, 'pubsub'),
              Transport(NEW_IOREDIS, 'pubsub'),
              Transport(NEW, 'sharded-pubsub'),
              Transport(NEW_IOREDIS, 'sharded-pubsub')]

#: For the ids of tests.
LANGUAGES = ['Python', 'JavaScript']
