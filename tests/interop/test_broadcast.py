"""Events reach the clients of every server, whoever emits them: with both
generations of the published adapter, on each of its clients of Redis."""
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Tuple

import pytest

from ..support.json_values import Date
from .helpers import check_received, JS_SENDERS, Party, SENDERS, Unique

BYTES = bytes(range(256))

#: Random, so that nothing on the way can make it small.
MEGABYTE = random.Random(1).randbytes(1_000_000)

#: What is emitted; it arrives as it is, in the arguments' places.
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
def test_payload(broadcasting: Party, unique: Unique, sender: str,
                 name: str) -> None:
    args, event = PAYLOADS[name], unique('payload')
    emitting = broadcasting.servers[sender]
    emitting.emit(event, args)
    check_received(emitting, broadcasting.listeners, unique, **{
        event: [[args] for _ in broadcasting.clients]})


@pytest.mark.parametrize('sender', JS_SENDERS)
@pytest.mark.parametrize('moment, text', [
    (0, '1970-01-01T00:00:00.000Z'),
    (1709210096789, '2024-02-29T12:34:56.789Z'),
    (-1, '1969-12-31T23:59:59.999Z'),
    (8_640_000_000_000_000, '+275760-09-13T00:00:00.000Z')])
def test_date(broadcasting: Party, unique: Unique, sender: str, moment: int,
              text: str) -> None:
    """Text in JSON, a type of its own in msgpack, for clients the same."""
    event, date = unique('date'), Date(moment)
    emitting = broadcasting.servers[sender]
    emitting.emit(event, (date, {'at': [date]}))
    emitting.emit(event, (date, {'at': [date]}, b'\x00'))
    check_received(emitting, broadcasting.listeners, unique, **{
        event: [[(text, {'at': [text]}), (text, {'at': [text]}, b'\x00')]
                for _ in broadcasting.clients]})


@pytest.mark.parametrize('sender', SENDERS)
def test_namespace(broadcasting: Party, unique: Unique, sender: str) -> None:
    """An event reaches its namespace alone, in the order of emitting."""
    event = unique('event')
    emitting = broadcasting.servers[sender]
    for number in range(20):
        emitting.emit(event, (number, '/chat'), namespace='/chat')
    check_received(emitting, broadcasting.listeners, unique, '/chat', **{
        event: [[(number, '/chat') for number in range(20)]
                for _ in broadcasting.clients]})
    only_root = unique('event')
    emitting.emit(only_root)
    check_received(emitting, broadcasting.listeners, unique, **{
        only_root: [[()] for _ in broadcasting.clients]})


@pytest.mark.parametrize('namespace', ['/', '/chat'])
@pytest.mark.parametrize('sender', SENDERS)
def test_rooms(broadcasting: Party, unique: Unique, sender: str,
               namespace: str) -> None:
    """Who is meant by rooms, by rooms that are left out, and by sids."""
    emitting = broadcasting.servers[sender]
    clients = broadcasting.listeners
    sids = [client.sids[namespace] for client in clients]
    half, third, one = unique('half'), unique('third'), unique('one')
    emitting.sockets_join([half], to=sids[::2], namespace=namespace)
    emitting.sockets_join([third], to=sids[::3], namespace=namespace)
    cases = {
        'room': ({'to': half}, sids[::2]),
        'two rooms': ({'to': [half, third]}, {*sids[::2], *sids[::3]}),
        'all but a room': ({'skip_sid': half}, sids[1::2]),
        'a room but a room': ({'to': half, 'skip_sid': third},
                              {*sids[::2]} - {*sids[::3]}),
        'all but two rooms': ({'skip_sid': [half, third]},
                              {*sids[1::2]} - {*sids[::3]}),
        'a room but a client': ({'to': half, 'skip_sid': sids[0]},
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


def test_all_at_once(broadcasting: Party, unique: Unique) -> None:
    """All servers emit as fast as they can; of each, every client gets
    every event, once, in order."""
    count = 1000
    events = {unique('event'): server
              for server in broadcasting.servers.values()}
    with ThreadPoolExecutor(len(events)) as pool:
        list(pool.map(lambda event: events[event].burst(event, count),
                      events))
    for client in broadcasting.listeners:
        for event, server in events.items():
            client.wait_for(event, count, timeout=30.0)
    for event, server in events.items():
        check_received(server, broadcasting.listeners, unique, **{
            event: [[(number,) for number in range(count)]
                    for _ in broadcasting.clients]})
