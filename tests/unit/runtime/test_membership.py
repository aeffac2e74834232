"""The namespaces in which a process is a member, and what it sends about
them: with a real node, which decides, and streams that record calls."""
import logging
from types import SimpleNamespace
from typing import Any, Callable, Dict, List

import pytest

from redis_streams_adapter import OutboxFullError
from redis_streams_adapter.log_events import NODE_LEFT
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.discovery import Knowledge, Span
from redis_streams_adapter.protocol.events import Send
from redis_streams_adapter.protocol.messages import AdapterClose, Heartbeat, \
    InitialHeartbeat, Message
from redis_streams_adapter.protocol.node import Node
from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.requests import LOST, NodesRequest
from redis_streams_adapter.protocol.sequences import Sequences
from redis_streams_adapter.protocol.transport import Entry
from redis_streams_adapter.runtime import membership
from redis_streams_adapter.runtime.membership import Membership
from redis_streams_adapter.runtime.tasks import State

TIMEOUT = 60.0

#: A history from which all members are known.
ENOUGH = Span(TIMEOUT, True)

#: One from which they are not.
TOO_LITTLE = Span(0.0, False)

HORIZON = Position(7, 0)

#: The time, by the monotonic clock, which stands still.
NOW = 1000.0


class Held:
    """A lock that says whether it is held."""

    def __init__(self) -> None:
        self.depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *args: Any) -> None:
        self.depth -= 1


class World:
    """A membership, its node, and two streams: ``/`` goes to the first
    one."""

    def __init__(self) -> None:
        self.calls: List[Any] = []
        self.fields: List[Dict[str, Any]] = []
        self.state = State()
        #: Whether the outbox has no room.
        self.full = False
        #: What the server serves.
        self.served = ['/']
        self.core, self.serving = Held(), Held()
        self.node = self.under_core(
            Node('me', 20.0, TIMEOUT, (), lambda name: int(name != '/')),
            'serve', 'shared', 'unknown_for', 'lose_sight', 'questions')
        self.first = self.channel(b'1', lambda namespace: namespace == '/')
        self.second = self.channel(b'2', lambda namespace: namespace != '/')
        self.membership = Membership(
            self.node, self.core,  # type: ignore[arg-type]
            self.serving, Encoder('me'), self.state,
            [self.first, self.second],
            lambda namespace: self.first if namespace == '/'
            else self.second,
            self.publish, self.note('start_writer'),
            lambda: SimpleNamespace(  # type: ignore[arg-type, return-value]
                serve=self.under_serving('requests.serve'),
                learned=self.note('learned')),
            lambda: self.served,
            lambda: SimpleNamespace(  # type: ignore[arg-type, return-value]
                log=self.note_fields('log'),
                debug=self.note_fields('debug')))

    def channel(self, writer_id: bytes,
                carries: Callable[[str], bool]) -> Any:
        return SimpleNamespace(
            index=int(writer_id) - 1,
            carried=lambda namespaces: list(filter(carries, namespaces)),
            positioned=True, history=None, knowledge=self.under_core(
                Knowledge(TIMEOUT), 'begin', 'asked', 'lose'),
            reader=SimpleNamespace(horizon=HORIZON),
            writer=SimpleNamespace(writer_id=writer_id),
            delivery=SimpleNamespace(serve=self.under_serving(
                f'delivery {writer_id.decode()}.serve')))

    def note(self, name: str) -> Any:
        """What may take locks of its own, and therefore is called without
        any."""
        def called(*args: Any) -> None:
            assert not self.serving.depth and not self.core.depth
            self.calls.append((name, *args))

        return called

    def note_fields(self, name: str) -> Any:
        """A method of a logger; the fields are kept apart."""
        def called(*args: Any, extra: Dict[str, Any]) -> None:
            self.note(name)(*args)
            self.fields.append(extra)

        return called

    def under_serving(self, name: str) -> Any:
        def called(*args: Any) -> None:
            assert self.serving.depth and not self.core.depth
            self.calls.append((name, *args))

        return called

    def under_core(self, part: Any, *names: str) -> Any:
        """A part whose calls need the core lock."""
        def guard(call: Any) -> Any:
            def called(*args: Any) -> Any:
                assert self.core.depth
                return call(*args)

            return called

        for name in names:
            setattr(part, name, guard(getattr(part, name)))
        return part

    def publish(self, namespace: str, message: Message) -> None:
        # What puts it into the outbox may take the order lock.
        assert not self.core.depth
        assert self.serving.depth or isinstance(message, Heartbeat)
        if self.full:
            raise OutboxFullError
        self.calls.append(('publish', namespace, message))

    def serve(self, *namespaces: str) -> List[Any]:
        """Serve these namespaces.

        :return: what was called.
        """
        self.served = list(namespaces)
        return self.calls_of(self.membership.serve)

    def calls_of(self, act: Any, *args: Any) -> List[Any]:
        self.calls.clear()
        act(*args)
        assert not self.serving.depth and not self.core.depth
        return list(self.calls)

    def hear_of(self, uid: str, namespace: str = '/') -> None:
        """Another node writes something."""
        self.node.receive(
            Entry(Position(5, 1), Encoder(uid).encode(namespace, Heartbeat())
                  ), NOW, Sequences(b'1'), None)

    def announced_again(self) -> List[str]:
        """The namespaces in which the node says once more that it is
        there, when its time passes."""
        return [event.namespace for event in self.node.tick(NOW, True)
                if isinstance(event, Send)
                and isinstance(event.message, InitialHeartbeat)]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(
        membership, 'time', SimpleNamespace(monotonic=lambda: NOW))
    return World()


def published(calls: List[Any]) -> List[Any]:
    return [(namespace, type(message)) for name, namespace, message
            in (each for each in calls if each[0] == 'publish')]


# -- serve -------------------------------------------------------------------

def test_namespace_is_served_before_arrival_is_sent(world: World) -> None:
    """And requests over PUB/SUB come last: they are answered in any
    case."""
    assert world.serve('/') == [
        ('delivery 1.serve', ['/']), ('delivery 2.serve', []),
        ('publish', '/', InitialHeartbeat(True)), ('requests.serve', ['/'])]
    assert world.node.namespaces == ['/']


def test_each_stream_serves_its_own_namespaces(world: World) -> None:
    calls = world.serve('/a', '/', '/b')
    assert calls[:2] == [('delivery 1.serve', ['/']),
                         ('delivery 2.serve', ['/a', '/b'])]
    assert published(calls) == [(each, InitialHeartbeat)
                                for each in ('/a', '/b', '/')]
    assert calls[-1] == ('requests.serve', ['/a', '/', '/b'])


def test_arrival_waits_for_followed_stream(world: World) -> None:
    """An answer would be missed."""
    world.second.positioned = False
    calls = world.serve('/', '/a')
    assert ('delivery 2.serve', []) in calls
    assert published(calls) == [('/', InitialHeartbeat)]
    assert calls[-1] == ('requests.serve', ['/'])
    world.second.positioned = True
    assert published(world.serve('/', '/a')) == [('/a', InitialHeartbeat)]


def test_served_namespace_is_announced_once(world: World) -> None:
    world.serve('/')
    assert world.serve('/') == []


def test_unserved_namespace_is_left(world: World) -> None:
    world.serve('/', '/a')
    calls = world.serve('/a')
    assert ('delivery 1.serve', []) in calls
    assert published(calls) == [('/', AdapterClose)]
    assert calls[-1] == ('requests.serve', ['/a'])
    assert not world.membership.serves('/')


def test_closed_process_serves_nothing(world: World) -> None:
    """The others have its ADAPTER_CLOSE."""
    world.state.closed = True
    assert world.serve('/') == []
    assert world.node.namespaces == []


@pytest.mark.parametrize('served, written', [
    (['/'], [('/a', AdapterClose)]),
    (['/', '/a', '/b'], [('/b', InitialHeartbeat)])])
def test_process_that_is_closed_meanwhile(world: World, served: List[str],
                                          written: List[Any]) -> None:
    """What has been decided is written. The goodbye, which waits for the lock,
    names just the namespaces that are served then."""
    world.serve('/', '/a')

    def close() -> List[str]:
        world.state.closed = True
        return served

    world.membership.namespaces = close
    assert published(world.calls_of(world.membership.serve)) == written


def test_known_members_are_logged(world: World) -> None:
    for uid, namespace in ('a', '/'), ('b', '/'), ('c', '/other'):
        world.hear_of(uid, namespace)
    logged = [call for call in world.serve('/') if call[0] == 'log']
    assert sorted(logged) == [
        ('log', logging.INFO, 'node %s is there [%s]', uid, '/')
        for uid in ('a', 'b')]


def test_member_of_left_namespace_is_not_logged(world: World) -> None:
    world.hear_of('a', '/')
    world.serve('/')
    assert [call for call in world.serve() if call[0] == 'log'] == []


def test_full_outbox_skips_heartbeat(world: World) -> None:
    """The namespace is served all the same, and the next tick tries
    again."""
    world.full = True
    calls = world.serve('/')
    assert calls[-2:] == [('requests.serve', ['/']),
                          ('debug', 'no room for a heartbeat')]
    assert world.node.namespaces == world.announced_again() == ['/']
    assert world.announced_again() == []


def test_full_outbox_skips_close(world: World) -> None:
    """It is not kept: the node expires for the others."""
    world.serve('/')
    world.full = True
    assert ('debug', 'no room for a heartbeat') in world.serve()
    assert world.announced_again() == []


# -- the history before the first position -----------------------------------

def test_history_makes_members_known(world: World) -> None:
    """Tasks that wait for that are woken, once."""
    world.first.history = START, ENOUGH, NOW
    calls = world.serve('/')
    assert ('publish', '/', InitialHeartbeat(False)) in calls
    assert calls[-1] == ('learned',)
    assert world.first.knowledge.settled
    assert world.first.history is None
    assert ('learned',) not in world.serve('/')


def test_history_counts_for_its_stream_only(world: World) -> None:
    world.first.history = START, ENOUGH, NOW
    world.second.history = START, TOO_LITTLE, NOW
    calls = world.serve('/', '/a')
    assert ('publish', '/', InitialHeartbeat(False)) in calls
    assert ('publish', '/a', InitialHeartbeat(True)) in calls
    assert calls.count(('learned',)) == 1


def test_history_is_kept_until_stream_is_followed(world: World) -> None:
    world.first.history = history = START, ENOUGH, NOW
    world.first.positioned = False
    assert ('learned',) not in world.serve('/')
    assert world.first.history is history
    assert not world.first.knowledge.settled


# -- what this node says -----------------------------------------------------

@pytest.mark.parametrize('span, asks', [(ENOUGH, False), (TOO_LITTLE, True)])
def test_node_asks_for_unknown_members(world: World, span: Span,
                                       asks: bool) -> None:
    knowledge = world.first.knowledge
    with world.core:
        knowledge.begin(START, span, NOW)
    assert knowledge.is_to_ask('/', NOW) is asks
    assert world.membership.arrival('/') == InitialHeartbeat(asks)
    # What was asked is not asked again at once.
    assert not knowledge.is_to_ask('/', NOW)


def test_served_namespaces_are_known(world: World) -> None:
    """Not while what is served is put together, perhaps without it."""
    world.serve('/')
    held: Dict[str, int] = {}
    serves = world.node.serves

    def look(namespace: str) -> bool:
        held[namespace] = world.serving.depth
        return serves(namespace)

    world.node.serves = look
    assert world.membership.serves('/')
    assert not world.membership.serves('/other')
    assert held == {'/': 1, '/other': 1}


@pytest.mark.parametrize('namespace, level', [
    ('/', logging.INFO), ('/other', logging.DEBUG)])
def test_only_members_of_served_namespaces_matter(
        world: World, namespace: str, level: int) -> None:
    world.serve('/')
    assert world.calls_of(
        world.membership.log_about, NODE_LEFT, 'gone: %s [%s]', 'a', namespace,
        4999) == [('log', level, 'gone: %s [%s]', 'a',
                   f'{namespace} and 4,999 more')]
    assert world.fields[-1] == NODE_LEFT(
        namespace=namespace, other_node='a', count=5000)


def test_heartbeat_is_sent(world: World) -> None:
    send = Send('/', Heartbeat())
    assert world.calls_of(world.membership.say, send) == [
        ('publish', '/', Heartbeat())]


def test_arrival_is_sent_with_due_request(world: World) -> None:
    world.serve('/')
    send = Send('/', InitialHeartbeat())
    assert world.calls_of(world.membership.say, send) == [
        ('publish', '/', InitialHeartbeat(True))]


def test_closed_namespace_sends_no_arrival(world: World) -> None:
    """It was decided before the namespace was given up."""
    world.serve('/')
    world.serve()
    send = Send('/', InitialHeartbeat())
    assert world.calls_of(world.membership.say, send) == []


@pytest.mark.parametrize('message', [Heartbeat(), InitialHeartbeat()])
def test_closed_process_sends_nothing(world: World, message: Message) -> None:
    world.serve('/')
    world.state.closed = True
    assert world.calls_of(world.membership.say, Send('/', message)) == []


@pytest.mark.parametrize('message, again', [
    (Heartbeat(), []), (InitialHeartbeat(), ['/'])])
def test_only_arrival_is_sent_again(world: World, message: Message,
                                    again: List[str]) -> None:
    """The next heartbeat is due soon enough."""
    world.serve('/')
    world.full = True
    assert world.calls_of(world.membership.say, Send('/', message)) == [
        ('debug', 'no room for a heartbeat')]
    assert world.announced_again() == again


# -- what was lost -----------------------------------------------------------

def test_unseen_members_are_asked_for(world: World) -> None:
    """In the namespaces of that stream only, and not again at once."""
    world.second.history = START, ENOUGH, NOW
    world.serve('/', '/a', '/b')
    lose_sight = world.membership.lose_sight
    assert world.calls_of(lose_sight, world.second, False) == [
        ('publish', each, InitialHeartbeat(True)) for each in ('/a', '/b')]
    assert world.calls_of(lose_sight, world.second, False) == []


def test_request_for_members_waits_for_followed_stream(world: World) -> None:
    """The start of reading asks by itself."""
    world.second.positioned = False
    world.serve('/', '/a')
    assert world.calls_of(
        world.membership.lose_sight, world.second, False) == []


@pytest.mark.parametrize('young', [True, False])
def test_members_are_known_up_to_horizon_of_reader(
        world: World, young: bool) -> None:
    lost: List[Any] = []
    world.first.knowledge.lose = lambda *args: lost.append(args)
    world.membership.lose_sight(world.first, young)
    assert [args[:2] for args in lost] == [(HORIZON, young)]


def test_open_requests_in_that_stream_are_in_doubt(world: World) -> None:
    """A node that joined unseen may have to answer them."""
    requests = NodesRequest('/', 'waiter'), NodesRequest('/a', 'waiter')
    for request, writer in zip(requests, (b'1', b'2')):
        world.node.expect(f'id {writer!r}', request, NOW, None, writer)
    world.membership.lose_sight(world.second, False)
    assert [each.doubt for each in requests] == [None, LOST]
