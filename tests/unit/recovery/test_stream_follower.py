"""Events of other nodes are passed on as they came, with the same result as
those that have to be encoded."""
import logging
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.event_text import find_event
from redis_streams_adapter.protocol.events import Act
from redis_streams_adapter.protocol.messages import Broadcast, Target
from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.transport import Entry

from .stream_orders import got, Process

AT = Position(101)


class Struck(BaseException):
    """What strikes the reader's task."""


class Lock:
    """The order lock; something happens before it is taken the first time."""

    def __init__(self, order: Any, before: Callable[[], None]) -> None:
        self._order = order
        self._before: List[Callable[[], None]] = [before]

    def __enter__(self) -> None:
        if self._before:
            self._before.pop()()
        self._order.acquire()

    def __exit__(self, *args: Any) -> None:
        self._order.release()

    def _is_owned(self) -> bool:
        return bool(self._order._is_owned())


@pytest.fixture
def process(logger: Callable[[], logging.Logger]) -> Process:
    process = Process(logger)
    process.as_they_came = True
    return process


def remembered(process: Process, namespace: str = '/') -> List[Any]:
    records = process.delivery.history.after(namespace, Position(100))
    assert records is not None
    return [(record.id, record.rooms, record.except_rooms,
             process.follower.resender.encode(namespace, record).parts)
            for record in records]


def encodes_nothing(process: Process, monkeypatch: Any) -> None:
    def encode(*args: Any) -> Any:
        raise AssertionError('it is not passed on as it came')

    monkeypatch.setattr(process.local, 'encode', encode)


EVENTS: Any = [
    (('hello',), {}), (('hello', 1, 'text'), {'to': ['x']}),
    (('hello', {'a': [1.5, None]}), {'to': ['y']}),
    (('bytes', b'1', {'b': b'2'}), {}), (('bytes', b'1'), {'to': ['x']}),
    (('bytes', 'last'), {'to': ['x', 'y']}), (('é', '\ud83d\ude00'), {}),
    (('volatile', 1), {'flags': {'volatile': True}}),
    (('local', 1), {'flags': {'local': True}}),
    (('chat', 1), {'namespace': '/chat'}),
    (('nobody', 1), {'to': ['z']}), (('served', 1), {'namespace': '/none'}),
]


@pytest.mark.parametrize('guest', [False, True])
def test_both_ways_have_the_same_result(
        logger: Callable[[], logging.Logger], guest: bool) -> None:
    results = []
    for as_they_came in (False, True):
        process = Process(logger)
        process.as_they_came = as_they_came
        clients = [process.connect(), process.connect('x'),
                   process.connect('x', 'y')]
        if guest:
            clients.append(process.connect('x', takes_part=False))
        process.local.long_time = 50
        for number, (args, options) in enumerate(EVENTS):
            process.receive(Position(101 + 40 * number), *args, **options)
            assert process.delivery.position == Position(101 + 40 * number)
        sids = [client.sid for client in clients]
        results.append((
            list(map(got, clients)), remembered(process),
            remembered(process, '/chat'), process.local.delivered,
            [process.local.sent.get(sid) for sid in sids],
            [process.local.gaps.get(sid) for sid in sids]))
    assert results[0] == results[1]


@pytest.mark.parametrize('args', [('hello', 1), ('hello', b'1', 'text')])
@pytest.mark.parametrize('target', [
    {}, {'to': ['x']}, {'to': ['x', 'y']}, {'to': ['z']}])
def test_nothing_is_encoded(process: Process, monkeypatch: Any, args: Any,
                            target: Any) -> None:
    client = process.connect('x')
    encodes_nothing(process, monkeypatch)
    process.receive(AT, *args, **target)
    assert got(client) == (
        [] if target == {'to': ['z']} else [(*args, '101-0')])


def test_sender_is_left_out(process: Process, monkeypatch: Any) -> None:
    client, other = process.connect(), process.connect()
    encodes_nothing(process, monkeypatch)
    process.take_in(AT, '/', Broadcast(
        ('hello',), Target((), (client.sid,))))
    assert (got(client), got(other)) == ([], [('hello', '101-0')])


@pytest.mark.parametrize('takes_part', [False, True])
@pytest.mark.parametrize('is_first', [False, True])
def test_client_that_has_just_joined_gets_it(
        process: Process, is_first: bool, takes_part: bool) -> None:
    clients = [] if is_first else [process.connect('x')]
    process.follower._order = Lock(process.order, lambda: clients.append(
        process.connect('x', takes_part=takes_part)))
    process.receive(AT, 'hello', 1, to=['x'])
    expected = [('hello', 1, '101-0')]
    if not is_first:
        assert got(clients[0]) == expected
    assert got(clients[-1]) == (expected if takes_part else [('hello', 1)])
    assert process.local.delivered == len(clients)
    assert len(remembered(process)) == 1


def test_client_that_has_just_gone_does_not_get_it(process: Process) -> None:
    stays, goes = process.connect(), process.connect()
    # It is not known here any more, and its rooms still are.
    process.follower._order = Lock(
        process.order, lambda: process.local.forget(goes.sid))
    process.receive(AT, 'hello', 1)
    assert got(stays) == [('hello', 1, '101-0')]
    assert got(goes) == []
    assert process.local.sent == {stays.sid: AT}


def test_node_that_has_just_left_delivers_to_guests_only(
        process: Process) -> None:
    client = process.connect()
    process.follower._order = Lock(process.order, process.delivery.leave)
    process.receive(AT, 'hello', 1)
    assert got(client) == []
    assert process.delivery.handed_over == Position(100)


def test_event_is_held_for_client_that_returns(process: Process) -> None:
    client, other = process.connect(), process.connect()
    process.local.hold(client.sid)
    process.receive(AT, 'hello', 1)
    assert (got(client), got(other)) == ([], [('hello', 1, '101-0')])
    process.local.release((client.sid, client.eio_sid))
    assert got(client) == [('hello', 1, '101-0')]


def test_fields_in_another_order(process: Process) -> None:
    client = process.connect()
    uid, uid_text, *rest = Encoder('other').encode(
        '/', Broadcast(('hello', 1)))
    message = find_event(rest[-1])
    assert message is not None
    process.delivery.received(
        Entry(AT, [*rest, uid, uid_text]), Act('/', 'other', message))
    assert got(client) == [('hello', 1, '101-0')]
    assert [parts for *_, parts in remembered(process)] == [
        ['2["hello",1]']]


@pytest.mark.parametrize('place', ['put', 'add_event', 'before', 'reached'])
def test_struck_event_is_remembered_once(
        process: Process, monkeypatch: Any, place: str) -> None:
    """Clients that return get it."""
    process.connect()
    history, strikes = process.delivery.history, [True]
    owner: Any = {'put': process.local, 'reached': process.follower.waits
                  }.get(place, history)
    name = 'add_event' if place == 'before' else place
    original = getattr(owner, name)

    def struck(*args: Any) -> Any:
        if place == 'before' and strikes:
            raise Struck
        result = original(*args)
        if strikes:
            raise Struck
        return result

    monkeypatch.setattr(owner, name, struck)
    process.follower.waits.waits = [(Position(500), None)]
    with pytest.raises(Struck):
        process.receive(AT, 'hello', 1)
    strikes.clear()
    assert process.delivery.position == AT
    process.receive(Position(102), 'next')
    assert [record[0] for record in remembered(process)] == [
        AT, Position(102)]


def test_first_entry_of_new_stream(process: Process) -> None:
    client = process.connect()
    process.receive(Position(200), 'before')
    process.delivery.history_lost()
    process.receive(Position(150), 'after')
    history = process.delivery.history
    assert history.floor('/') == Position(150).before()
    assert got(client) == [('before', '200-0'), ('after', '150-0')]
    assert history.former == Position(200)
    assert history.after('/', START) is None
