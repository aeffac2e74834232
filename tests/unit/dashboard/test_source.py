"""Where to look, and what is said when Redis is away. With a real Redis,
tests/integration/test_dashboard.py looks."""
import json
from typing import Any, Iterator

import pytest

from redis_streams_adapter.dashboard.source import place_of, seconds, Source
from redis_streams_adapter.errors import ConfigurationError

#: No one listens on port 1.
NOWHERE = 'redis://user:secret@127.0.0.1:1/3'


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source(place_of(NOWHERE, 'chat', {'stream_count': 2}), '/news')
    yield source
    source.close()


def test_place() -> None:
    place = place_of('redis+streams://localhost?stream_count=3', 'chat',
                     {'channel_prefix': 'x'})
    assert place.streams == ['chat-0', 'chat-1', 'chat-2']
    assert place.options.channel_prefix == 'x'


@pytest.mark.parametrize('url, options', [
    ('nothing://localhost', {}), ('redis://localhost', {'stream_cuont': 2}),
    ('redis://localhost', {'redis_options': {'no': 1}}),
    ('redis+streams://localhost?stream_count=2', {'stream_count': 3})])
def test_wrong_place(url: str, options: Any) -> None:
    with pytest.raises(ConfigurationError):
        place_of(url, 'socket.io', options)


def test_about(source: Source) -> None:
    assert source.about == {
        'redis': 'redis://127.0.0.1:1/3', 'streams': ['chat-0', 'chat-1'],
        'namespace': '/news'}


def test_redis_is_away(source: Source) -> None:
    """The servers are not asked, and no secret is shown."""
    point, state = source.look()
    assert set(point) == {'time', 'length', 'rate', 'memory', 'span'}
    assert 'refused' in state['problem']
    assert state['servers'] == state['streams'] == state['missing'] == []
    assert state['rooms'] is None
    outage, = state['events']
    assert (outage['from'], outage['to']) == (state['time'], None) \
        or abs(outage['from'] - state['time']) < 0.01
    again = source.look()
    assert len(again[1]['events']) == 1
    assert 'secret' not in json.dumps([point, state, source.about])
    source.close()
    source.close()


@pytest.mark.parametrize('value', [0, -1, 'x', None, float('nan'),
                                   float('inf'), True])
def test_wrong_interval(value: Any) -> None:
    with pytest.raises(ValueError, match='must be above 0'):
        seconds(value)


def test_interval() -> None:
    assert seconds(2) == 2.0
