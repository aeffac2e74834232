"""Events of each server reach the clients of every server: with both
generations of the published adapter, and with each of its Redis clients."""
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Tuple

import pytest

from ..support.json_values import Date
from .helpers import check_received, JS_SENDERS, MixedCluster, SENDERS, Unique

BYTES = bytes(range(256))

#: Random, so that it cannot be compressed on the way.
MEGABYTE = random.Random(1).randbytes(1_000_000)

#: The arguments of an event, which arrive unchanged.
PAYLOADS: Dict[str, Tuple[Any, ...]] = {
    'nothing': (),
    'text': ('hello',),
    'empty text': ('',),
    'unicode': ('grüße, мир, 世界, 🎉\u2028\x00"\\',),
    'numbers': (0, -1, 2 ** 53 - 1, 0.1, -1.5e300),
    'several': ('a', 2, None, True, [4], {}),
    'inside': ({'a': {'b': [None, {}, [[]]]}, '': 'c', '$d': 'e'},),
    'what looks like a placeholder': ({'_placeholder': True, 'num': 0},),
    'bytes': (BYTES,),
    'no bytes': (b'',),
    'bytes inside': ({'a': [b'\x00', {'b': b'\x01'}], 'c': 'text'},),
    'bytes among several': (1, b'\x02', 'three', {'four': b'\x04'}, None),
    'bytes, unicode and numbers': (
        [b'\x80', '世界', 2 ** 53 - 1, -2 ** 53 + 1, 1.5, None, True],),
    'a megabyte of text': ('before', MEGABYTE[:500_000].hex(), 'after'),
    'a megabyte of bytes': ('before', MEGABYTE, 'after'),
}


@pytest.mark.parametrize('sender', SENDERS)
@pytest.mark.parametrize('name', PAYLOADS)
def test_payload(mixed: MixedCluster, unique: Unique, sender: str,
                 name: str) -> None:
    args, event = PAYLOADS[name], unique('payload')
    emitting = mixed.servers[sender]
    emitting.emit(event, args)
    check_received(emitting, mixed.listeners, unique, **{
        event: [[args] for _ in mixed.clients]})


@pytest.mark.parametrize('sender', JS_SENDERS)
@pytest.mark.parametrize('moment, text', [
    (0, '1970-01-01T00:00:00.000Z'),
    (1709210096789, '2024-02-29T12:34:56.789Z'),
    (-1, '1969-12-31T23:59:59.999Z'),
    (8_640_000_000_000_000, '+275760-09-13T00:00:00.000Z')])
def test_date(mixed: MixedCluster, unique: Unique, sender: str, moment: int,
              text: str) -> None:
    """A date is text in JSON and has its own type in msgpack. Clients receive
    the same for both."""
    event, date = unique('date'), Date(moment)
    emitting = mixed.servers[sender]
    emitting.emit(event, (date, {'at': [date]}))
    emitting.emit(event, (date, {'at': [date]}, b'\x00'))
    check_received(emitting, mixed.listeners, unique, **{
        event: [[(text, {'at': [text]}), (text, {'at': [text]}, b'\x00')]
                for _ in mixed.clients]})


@pytest.mark.parametrize('sender', SENDERS)
def test_namespace(mixed: MixedCluster, unique: Unique, sender: str) -> None:
    """Events reach only their namespace, in the order in which they were
    emitted."""
    event = unique('event')
    emitting = mixed.servers[sender]
    for number in range(20):
        emitting.emit(event, (number, '/chat'), namespace='/chat')
    check_received(emitting, mixed.listeners, unique, '/chat', **{
        event: [[(number, '/chat') for number in range(20)]
                for _ in mixed.clients]})
    only_root = unique('event')
    emitting.emit(only_root)
    check_received(emitting, mixed.listeners, unique, **{
        only_root: [[()] for _ in mixed.clients]})


@pytest.mark.parametrize('namespace', ['/', '/chat'])
@pytest.mark.parametrize('sender', SENDERS)
def test_rooms(mixed: MixedCluster, unique: Unique, sender: str,
               namespace: str) -> None:
    """An event reaches the clients in its rooms, but for those in a room that
    is skipped. A sid is such a room."""
    emitting = mixed.servers[sender]
    clients = mixed.listeners
    sids = [client.sids[namespace] for client in clients]
    half, third, one = unique('half'), unique('third'), unique('one')
    emitting.sockets_join([half], to=sids[::2], namespace=namespace)
    emitting.sockets_join([third], to=sids[::3], namespace=namespace)
    cases = {
        'room': ({'to': half}, sids[::2]),
        'two rooms': ({'to': [half, third]}, {*sids[::2], *sids[::3]}),
        'all but a room': ({'skip_sid': half}, sids[1::2]),
        'one room but for another': ({'to': half, 'skip_sid': third},
                                     {*sids[::2]} - {*sids[::3]}),
        'all but two rooms': ({'skip_sid': [half, third]},
                              {*sids[1::2]} - {*sids[::3]}),
        'a room but for a client': ({'to': half, 'skip_sid': sids[0]},
                                    {*sids[::2]} - {sids[0]}),
        'a client': ({'to': sids[1]}, sids[1:2]),
        'an empty room': ({'to': one}, ()),
    }
    events = {unique(name): case for name, case in cases.items()}
    for event, (where, _) in events.items():
        emitting.emit(event, ('for', event), namespace=namespace, **where)
    check_received(emitting, clients, unique, namespace, **{
        event: [[('for', event)] if sid in meant else [] for sid in sids]
        for event, (_, meant) in events.items()})
    emitting.sockets_leave([half, third], namespace=namespace)


def test_events_of_all_servers_at_once(mixed: MixedCluster,
                                       unique: Unique) -> None:
    """All servers emit as fast as they can. Every client receives every event
    of each server, once and in order."""
    count = 1000
    events = {unique('event'): server
              for server in mixed.servers.values()}
    with ThreadPoolExecutor(len(events)) as pool:
        list(pool.map(lambda event: events[event].burst(event, count),
                      events))
    for client in mixed.listeners:
        for event, server in events.items():
            client.wait_for(event, count, timeout=30.0)
    for event, server in events.items():
        check_received(server, mixed.listeners, unique, **{
            event: [[(number,) for number in range(count)]
                    for _ in mixed.clients]})
