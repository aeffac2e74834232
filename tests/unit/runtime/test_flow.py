"""What the processes of a cluster say to each other about their readers."""
import threading
from types import SimpleNamespace
from typing import Any, Dict, List

import pytest

from redis_streams_adapter.protocol.codec import decode, Encoder, open_envelope
from redis_streams_adapter.protocol.messages import Broadcast, Heartbeat, \
    InitialHeartbeat, Message
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.runtime.flow import Flow
from redis_streams_adapter.stream.reconcile import stamp

MAX_LEN = 1000

THERE = Position(5, 1)


class World:
    """A flow, its node, and two channels: ``/`` goes to the first one."""

    def __init__(self) -> None:
        #: What was said to the backpressure of the first channel's writer.
        self.calls: List[Any] = []
        #: What was sent at once.
        self.said: List[Any] = []
        self.readers: Dict[str, List[str]] = {}
        self.node = SimpleNamespace(
            uid='me', others=0, namespaces=['/other', '/'],
            who_reads=lambda namespaces: self.readers)
        self.joined = ['/']
        self.channel: Any = self.make_channel()
        self.second: Any = self.make_channel()
        self.flow = Flow(
            self.node, threading.Lock(),  # type: ignore[arg-type]
            Encoder('me'), MAX_LEN, lambda namespace: self.channel
            if namespace == '/' else self.second)

    def make_channel(self) -> Any:
        def note(name: str) -> Any:
            return lambda *args: self.calls.append((name, *args))

        backpressure = SimpleNamespace(**{
            name: note(name) for name in (
                'set_window', 'await_reader', 'reader_lags', 'seen')})
        return SimpleNamespace(
            reader=SimpleNamespace(connected=True),
            signature=SimpleNamespace(
                joined=lambda namespace: namespace in self.joined),
            writer=SimpleNamespace(
                writer_id=b'me', backpressure=backpressure,
                outbox=SimpleNamespace(closed=False),
                say_now=self.said.append))

    def hear(self, message: Message, uid: str = 'other',
             writer: bytes = b'other', number: int = 7) -> None:
        self.flow.overhear(self.channel, (
            *Encoder(uid).encode('/', message), *stamp(writer, number, b'0')))


@pytest.fixture
def world() -> World:
    return World()


def test_writers_share_half_of_what_a_stream_keeps(world: World) -> None:
    assert world.flow.first_window == MAX_LEN // 4
    for others, share in (0, 500), (1, 250), (9, 50), (5000, 1):
        world.node.others = others
        world.flow.set_window(world.channel)
        assert world.calls.pop() == ('set_window', share, True)


def test_a_reader_works_again(world: World) -> None:
    world.flow.resume(world.channel)
    assert [each[0] for each in world.calls] == [
        'set_window', 'await_reader']


@pytest.mark.parametrize('cursor', [THERE, None])
def test_a_member_says_that_its_reader_lags(world: World,
                                            cursor: Any) -> None:
    """In a namespace of that stream."""
    world.flow.lagging(world.channel, cursor)
    envelope = open_envelope(world.said[0])
    assert envelope.namespace == '/'
    message = decode(envelope)
    assert isinstance(message, Heartbeat) and message.reader is None
    assert (message.behind or None) == cursor
    # Its own writer waits, too.
    assert world.calls == ([] if cursor is None else [
        ('reader_lags', None, THERE)])


def test_one_that_is_no_member_gives_its_name(world: World) -> None:
    """It writes as an emitter, and others need to know which reader it is."""
    world.node.namespaces = []
    world.flow.lagging(world.channel, THERE)
    message = decode(open_envelope(world.said[0]))
    assert isinstance(message, Heartbeat) and message.reader == 'me'


def test_overhear(world: World) -> None:
    world.hear(Heartbeat(THERE))
    world.hear(Heartbeat(THERE, 'a-reader'), uid='emitter')
    assert world.calls == [('reader_lags', 'other', THERE),
                           ('reader_lags', 'a-reader', THERE)]
    world.calls.clear()
    # A sign of life says nothing about a reader.
    world.hear(Heartbeat())
    world.hear(Broadcast(('hello',)))
    assert world.calls == []
    world.hear(Broadcast(('hello',)), 'me', b'me', 9)
    assert world.calls == [('seen', 9)]


def test_what_is_malformed_is_for_the_readers(world: World) -> None:
    """They log and count it."""
    world.flow.overhear(world.channel, (b'nonsense', b''))
    world.flow.overhear(world.channel, ())
    assert world.calls == []


def test_readers_after_an_outage(world: World) -> None:
    world.readers = {'/': ['a', 'b'], '/chat': ['b']}
    awaited, questions = world.flow.absent(world.channel, member=True)
    assert awaited == [None, 'a', 'b', 'b']
    # Asked only in namespaces of which this process is a member.
    question, = questions
    envelope = open_envelope(question)
    assert envelope.namespace == '/'
    assert isinstance(decode(envelope), InitialHeartbeat)


def test_nobody_is_known_after_an_outage(world: World) -> None:
    """There may be readers all the same: the wait ends by time."""
    awaited, _ = world.flow.absent(world.channel, member=True)
    assert awaited == [None, '']
    assert world.flow.absent(world.channel, member=False) == ([''], ())
    world.channel.writer.outbox.closed = True
    assert world.flow.absent(world.channel, member=True) == ([''], ())
