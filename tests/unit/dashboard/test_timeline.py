"""What has happened."""
from typing import Any, Dict, List, Tuple

import pytest

from redis_streams_adapter.dashboard.timeline import ITSELF, MOST, Timeline


@pytest.fixture
def timeline() -> Timeline:
    return Timeline()


def outages(timeline: Timeline) -> List[Tuple[float, Any, List[str]]]:
    return [(each['from'], each['to'], each['by'])
            for each in timeline.view() if each['kind'] == 'outage']


def events(timeline: Timeline) -> List[Tuple[str, str, str]]:
    return [(each['kind'], each['by'][0], each['text'])
            for each in timeline.view()]


def test_nothing(timeline: Timeline) -> None:
    timeline.redis(1.0, None)
    timeline.health('a', 1.0, {'outage': None, 'last_outage': None})
    assert timeline.view() == []


def test_outage_that_is_seen_here(timeline: Timeline) -> None:
    timeline.redis(10.0, None)
    timeline.redis(12.0, 'refused')
    timeline.redis(14.0, 'timeout')
    assert timeline.view() == [{
        'kind': 'outage', 'from': 12.0, 'to': None, 'by': [ITSELF],
        'text': 'refused'}]
    timeline.redis(16.0, None)
    timeline.redis(18.0, None)
    assert outages(timeline) == [(12.0, 16.0, [ITSELF])]
    timeline.redis(30.0, 'refused')
    assert outages(timeline) == [(30.0, None, [ITSELF]),
                                 (12.0, 16.0, [ITSELF])]


def test_outage_before_anyone_looked(timeline: Timeline) -> None:
    over = {'ended': 100.0, 'lasted': 30.0, 'reason': 'refused'}
    timeline.health('a', 1000.0, {'last_outage': over})
    # The same one, a little later.
    timeline.health('a', 1010.0, {'last_outage': {**over, 'ended': 110.3}})
    assert outages(timeline) == [(870.0, 900.0, ['a'])]
    timeline.health('b', 1010.0, {'last_outage': {**over, 'ended': 111.0}})
    assert outages(timeline) == [(869.0, 900.0, ['b', 'a'])]


def test_outage_of_one_server(timeline: Timeline) -> None:
    timeline.health('a', 100.0, {'outage': 4.0, 'last_error': 'no route'})
    timeline.health('a', 102.0, {'outage': 6.0, 'last_error': 'other'})
    assert timeline.view() == [{
        'kind': 'outage', 'from': 96.0, 'to': None, 'by': ['a'],
        'text': 'no route'}]
    timeline.health('a', 110.0, {'outage': None, 'last_outage': {
        'ended': 3.0, 'lasted': 11.0, 'reason': 'no route'}})
    assert outages(timeline) == [(96.0, 107.0, ['a'])]


def test_outage_whose_end_is_not_reported(timeline: Timeline) -> None:
    timeline.health('a', 100.0, {'outage': 4.0})
    timeline.health('a', 110.0, {})
    assert outages(timeline) == [(96.0, 110.0, ['a'])]


@pytest.mark.parametrize('health', [
    {'outage': 'long'}, {'last_outage': 5}, {'last_outage': {}},
    {'last_outage': {'ended': None, 'lasted': 3}}])
def test_odd_reports(timeline: Timeline, health: Dict[str, Any]) -> None:
    timeline.health('a', 100.0, health)
    assert timeline.view() == []


def test_servers_come_and_go(timeline: Timeline) -> None:
    timeline.servers(1.0, {'1': 'a'}, {}, True)
    assert timeline.view() == []
    timeline.servers(2.0, {'1': 'a', '2': 'b'}, {}, True)
    # One that does not answer may still be there.
    timeline.servers(3.0, {'2': 'b'}, {}, False)
    assert events(timeline) == [('joined', 'b', '')]
    timeline.servers(4.0, {'2': 'b'}, {}, True)
    assert events(timeline) == [('left', 'a', ''), ('joined', 'b', '')]


def test_losses(timeline: Timeline) -> None:
    timeline.servers(1.0, {'1': 'a'}, {'1': {'messages_lost': 4}}, True)
    assert timeline.view() == []
    timeline.servers(2.0, {'1': 'a'}, {'1': {'messages_lost': 6}}, True)
    timeline.servers(3.0, {'1': 'a'}, {}, True)
    timeline.servers(4.0, {'1': 'a'}, {'1': {'messages_lost': 7}}, True)
    assert events(timeline) == [('loss', 'a', 'missing: 1'),
                                ('loss', 'a', 'missing: 2')]


def test_old_events_are_forgotten(timeline: Timeline) -> None:
    for number in range(3 * MOST):
        timeline.redis(100.0 * number, 'refused')
        timeline.redis(100.0 * number + 10, None)
        timeline.servers(100.0 * number, {str(number): 'a'}, {}, True)
    view = timeline.view()
    assert len(view) == MOST
    assert view[0]['from'] == 100.0 * (3 * MOST - 1)


def test_outage_of_a_server_that_is_gone(timeline: Timeline) -> None:
    """It ends, and is no part of the next one."""
    timeline.servers(100.0, {'u': 'a'}, {}, True)
    timeline.health('a', 100.0, {'outage': 5.0, 'last_error': 'refused'})
    timeline.servers(110.0, {}, {}, True)
    assert outages(timeline) == [(95.0, 110.0, ['a'])]
    timeline.redis(900.0, 'refused')
    timeline.redis(910.0, None)
    assert outages(timeline) == [(900.0, 910.0, [ITSELF]),
                                 (95.0, 110.0, ['a'])]


def test_many_servers_that_come_and_go(timeline: Timeline) -> None:
    timeline.redis(1.0, 'refused')
    for number in range(3 * MOST):
        timeline.health(f'a{number}', 10.0 * number, {
            'last_outage': {'ended': 5.0, 'lasted': 1.0}})
        timeline.health(f'b{number}', 10.0 * number, {})
        timeline.redis(10.0 * number, 'refused')
    assert len(timeline._outages) <= MOST + 1
    assert outages(timeline)[-1][0] == 1.0
