"""Two applications on one Redis: over each transport and with any difference,
neither asks the other, answers it or is counted by it."""
import itertools
from typing import Any, Dict, Iterator, List, NamedTuple

import pytest

from redis_streams_adapter import RedisStreamsManager

from ...conftest import skip_incapable, skip_or_fail
from ...support.redis_binaries import redis_binaries
from ...support.redis_server import RedisServer
from ...support.wait import wait_until
from ...unit.fake_server import FakeClient, make_server
from ...unit.nodes import answer, Call, Node

TRANSPORTS = ['stream', 'pubsub', 'sharded-pubsub']

#: The differences between two applications: the name of the stream, the number
#: of the database.
DIFFERENCES = {'stream': ('other', 0), 'database': ('same', 1),
               'both': ('other', 1)}


class Party(NamedTuple):
    """Two nodes of one application and one of another; each has a client and
    a handler of server-side events, which answers with the node's name."""

    transport: str
    nodes: Dict[str, Node]
    clients: Dict[str, FakeClient]
    #: The names of the nodes whose handlers were called.
    called: List[str]

    def others(self, name: str) -> List[str]:
        """The other nodes of the same application."""
        return [each for each in self.nodes
                if each[0] == name[0] and each != name]


@pytest.fixture(scope='module')
def redis() -> Iterator[RedisServer]:
    """The newest redis-server that is installed."""
    found = redis_binaries()
    if not found:
        skip_or_fail('there is no redis-server')
    with RedisServer(binary=found[-1].path) as server:
        yield server.start()


@pytest.fixture(scope='module', params=itertools.product(
    TRANSPORTS, DIFFERENCES), ids='-'.join)
def party(request: Any, redis: RedisServer) -> Iterator[Party]:
    transport, difference = request.param
    if transport == 'sharded-pubsub' and not redis.binary.has_sharded_channels:
        skip_incapable('no sharded channels')
    prefix = f'{transport}-{difference}'
    party = Party(transport, {}, {}, [])

    def start(name: str, stream: str, database: int) -> None:
        manager = RedisStreamsManager(
            f'redis://127.0.0.1:{redis.port}/{database}',
            f'{prefix}-{stream}', channel_prefix=prefix,
            request_transport=transport)
        server = make_server(client_manager=manager)
        party.nodes[name] = Node(server, manager)

        def identify() -> str:
            party.called.append(name)
            return name

        manager.on_server_side('identify', identify)
        if name != 'a1':
            manager.on_server_side('identify', identify, namespace='/there')
        manager.start()
        party.clients[name] = FakeClient(server)

    try:
        start('a1', 'same', 0)
        start('a2', 'same', 0)
        start('b1', *DIFFERENCES[difference])
        for name, node in party.nodes.items():
            manager, count = node.manager, 1 + len(party.others(name))
            wait_until(lambda: len(manager.nodes()) == count
                       and manager.server_count() >= count)
        yield party
    finally:
        for node in party.nodes.values():
            node.manager.close(1.0)


def test_other_application_is_not_counted(party: Party) -> None:
    for name, node in party.nodes.items():
        assert node.manager.server_count() == 1 + len(party.others(name))


def test_sockets_of_other_application_are_not_found(party: Party) -> None:
    for name, node in party.nodes.items():
        expected = {party.clients[each].sid
                    for each in (name, *party.others(name))}
        assert {each.sid for each in node.manager.fetch_sockets()} == expected


def test_clients_of_other_application_are_not_asked(party: Party) -> None:
    for name, node in party.nodes.items():
        event, ours = f'event of {name}', (name, *party.others(name))
        call = Call(node.manager.emit_with_ack, event)
        for each in ours:
            answer(party.clients[each], event, each)
        assert sorted(call.result()) == sorted(ours)
        for each, client in party.clients.items():
            assert len(client.received(event)) == (each in ours)


def test_handlers_of_other_application_are_not_called(party: Party) -> None:
    for name, node in party.nodes.items():
        party.called.clear()
        others = party.others(name)
        assert node.manager.server_side_call('identify') == others
        assert party.called == others


def test_namespace_that_the_asking_server_does_not_serve(party: Party) -> None:
    manager = party.nodes['a1'].manager
    assert manager.server_side_call('identify', namespace='/there') == ['a2']
    assert manager.server_count('/there') == 1
    for name in 'a2', 'b1':
        assert party.nodes[name].manager.server_count('/there') == 1


def test_nothing_is_malformed_or_left_open(party: Party) -> None:
    """No request of the tests above is still open."""
    for node in party.nodes.values():
        assert node.manager.stats()['malformed'] == 0
        assert node.open_requests == node.open_acks == 0
