"""Arguments of python-socketio's calls, in the form that messages hold."""
from typing import Any

import pytest

from redis_streams_adapter.protocol.addressing import arguments, rooms, target
from redis_streams_adapter.protocol.messages import EVERYONE, Target


@pytest.mark.parametrize('data, expected', [
    (None, ('event',)), ((), ('event',)), ((None,), ('event', None)),
    ('text', ('event', 'text')), (0, ('event', 0)), ('', ('event', '')),
    (False, ('event', False)), (b'', ('event', b'')),
    ([], ('event', [])), ({}, ('event', {})), (['a'], ('event', ['a'])),
    (('a',), ('event', 'a')), (('a', b'b', None), ('event', 'a', b'b', None)),
    ((('a', 'b'),), ('event', ('a', 'b'))),
])
def test_arguments(data: Any, expected: Any) -> None:
    assert arguments('event', data) == expected


def test_event_with_a_number() -> None:
    assert arguments(5, None) == (5,)


@pytest.mark.parametrize('event', [None, b'event', 1.5, ['event'], object()])
def test_invalid_events(event: Any) -> None:
    with pytest.raises(TypeError, match='event'):
        arguments(event, None)


@pytest.mark.parametrize('value, expected', [
    (None, ()), ('room', ('room',)), ('', ('',)), (7, (7,)), (0, (0,)),
    (['a', 'b'], ('a', 'b')), (('a', 7), ('a', 7)), ([], ()),
    (['a', None], ('a',)), ({'a'}, ('a',)), (frozenset(['a']), ('a',)),
])
def test_rooms(value: Any, expected: Any) -> None:
    assert rooms(value) == expected


@pytest.mark.parametrize('value', [
    True, 1.5, b'room', object(), {'room': 1}, ['a', b'b'], [True],
    [['a']], iter(['a'])])
def test_invalid_rooms(value: Any) -> None:
    """No other node could find it."""
    with pytest.raises(TypeError, match='room'):
        rooms(value)


def test_target() -> None:
    assert target(None, None) is EVERYONE
    assert target('room', None) == Target(('room',))
    assert target(['a', 'b'], 'sid') == Target(('a', 'b'), ('sid',))
    assert target(None, ['x', 'y']) == Target((), ('x', 'y'))
    for wrong in ((b'room', None), (None, b'sid')):
        with pytest.raises(TypeError):
            target(*wrong)
