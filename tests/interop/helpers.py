"""Who takes part in these tests, and what all of them ask."""
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Union

from ..conftest import make_unique
from ..support.client import Listener
from ..support.js_server import Generation, JsServer
from ..support.node_process import NodeProcess
from ..support.wait import DEADLINE, wait_until

#: A server in either language: what both have has one meaning.
Server = Union[NodeProcess, JsServer]
Unique = Callable[[str], str]

#: Namespaces that have handlers on every server.
NAMESPACES = ('/', '/chat')

OLD = Generation('0.2', 'adapter-02', 'redis')
NEW = Generation('0.3', 'adapter-03', 'redis-5')
NEW_IOREDIS = Generation('0.3-ioredis', 'adapter-03', 'ioredis')

#: The servers of the cluster for all that goes through the stream.
JS_SENDERS = [OLD.name, NEW.name, NEW_IOREDIS.name]
SENDERS = ['python', *JS_SENDERS]


class Party(NamedTuple):
    """Servers of one cluster, and who listens.

    :param servers: by name.
    :param clients: by the name of their server and of their own language.
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
    """A manager's options in the spelling of the npm package, with
    milliseconds where we have seconds."""
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

    A server in Node.js says not when it begins to read, and until it has
    read a first entry it misses what comes between two reads.
    """
    for server in servers:
        event = unique('heard')

        def heard() -> bool:
            server.emit(event, namespace=namespace)
            return all(client.count(event) for client in clients)

        wait_until(heard, what=f'{server.name} to be heard by all')


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
    """Each client has received what it should have, and nothing else.

    :param sender: who has emitted the events: what it emits now comes
                   behind them.
    :param expected: the arguments, by event and for each client.
    """
    marker = unique('marker')
    sender.emit(marker, namespace=namespace)
    for client in clients:
        client.wait_for(marker)
    for event, arguments in expected.items():
        assert [client.received(event) for client in clients] == arguments


class Asking(NamedTuple):
    """Servers of one cluster that ask each other, two of each language.

    :param client_of: a JavaScript client of each server, by its name.
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

    def asker(self, language: str) -> Server:
        """One of them, by its language."""
        return self.python if language == 'Python' else self.js

    def join(self, asker: Server, room: str, clients: Sequence[Listener],
             namespace: str = '/') -> None:
        """Let clients enter a room, and wait until they have: a question
        over PUB/SUB may overtake what goes through the stream."""
        asker.sockets_join([room], namespace=namespace, to=[
            client.sids[namespace] for client in clients])
        for server in self.servers:
            client = self.client_of[server.name]
            if client in clients:
                sid = client.sids[namespace]
                wait_until(
                    lambda: room in server.rooms(sid, namespace=namespace),
                    what=f'the client of {server.name} in the room')

    def others(self, server: Server) -> List[Server]:
        """All but one."""
        return [each for each in self.servers if each is not server]


class Transport(NamedTuple):
    """How requests travel: a published adapter, and what goes with it.

    :param request_transport: our option.
    """

    generation: Generation
    request_transport: str

    @property
    def is_sharded(self) -> bool:
        """Whether Redis must know sharded channels, as since 7.0."""
        return self.request_transport == 'sharded-pubsub'

    @property
    def name(self) -> str:
        """For the ids of tests, and for what must differ."""
        return self.generation.name + ('-sharded' if self.is_sharded else '')

    @property
    def js_options(self) -> Dict[str, Any]:
        """What an adapter in Node.js is told of it, spelled as our own."""
        return {'use_sharded_pub_sub': True} if self.is_sharded else {}


#: Those of which our side knows the way of asking. With each, every test of
#: this directory that asks is run.
TRANSPORTS = [Transport(OLD, 'stream'), Transport(NEW, 'pubsub'),
              Transport(NEW_IOREDIS, 'pubsub'),
              Transport(NEW, 'sharded-pubsub'),
              Transport(NEW_IOREDIS, 'sharded-pubsub')]

#: For the ids of tests.
LANGUAGES = ['Python', 'JavaScript']
