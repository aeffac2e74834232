"""How the demo judges deliveries, and how it handles URLs."""
from typing import Dict, List

import pytest

from redis_streams_adapter.demo.clients import Delivery
from redis_streams_adapter.demo.redis_url import message_queue, plain
from redis_streams_adapter.demo.scenario import CLIENTS, MEMBERS, STEPS, \
    judge, with_unknown_steps
from redis_streams_adapter.stream.masking import hide_secrets, shown

TO_ROOM = STEPS[1]


def delivered(step: int = 2, text: str = TO_ROOM.text,
              event: str = 'news') -> Delivery:
    return Delivery(event, step, text, 0.001)


def problems(received: Dict[str, List[Delivery]]) -> Dict[str, str]:
    return {cell.client: cell.problem for cell in judge(TO_ROOM, received)
            if cell.problem is not None}


def everyone_in_the_room() -> Dict[str, List[Delivery]]:
    return {name: [delivered()] for name in MEMBERS}


def test_exact_delivery_has_no_problem() -> None:
    assert problems(everyone_in_the_room()) == {}


def test_missing_delivery_is_lost() -> None:
    assert problems({}) == dict.fromkeys(MEMBERS, 'LOST')


def test_copies_are_counted() -> None:
    received = everyone_in_the_room()
    received['eve'] *= 3
    assert problems(received) == {'eve': '3x'}


def test_delivery_to_other_client_is_stray() -> None:
    assert problems({**everyone_in_the_room(), 'finn': [delivered()]}) == {
        'finn': 'STRAY'}


@pytest.mark.parametrize('other', [
    delivered(text='something else'), delivered(event='question')])
def test_different_delivery_is_reported(other: Delivery) -> None:
    assert problems({**everyone_in_the_room(), 'ana': [other]}) == {
        'ana': 'OTHER'}


def test_delivery_of_other_step_is_ignored() -> None:
    received = everyone_in_the_room()
    received['dan'] = [delivered(step=1)]
    assert problems(received) == {}


def test_delivery_of_unknown_step_is_reported() -> None:
    assert with_unknown_steps({'dan': [delivered(step=-1)]}) == ['dan']
    assert with_unknown_steps({'dan': [delivered()]}) == []


def test_each_step_reaches_another_worker() -> None:
    for step in STEPS:
        assert {CLIENTS[name] for name in step.recipients} - {step.sender}


@pytest.mark.parametrize('url, queue', [
    ('redis://h:1/0', 'redis+streams://h:1/0'),
    ('redis+streams://h', 'redis+streams://h'),
    ('rediss://u:p@h', 'rediss+streams://u:p@h'),
    ('redis+sentinel://h/0/master', 'redis+sentinel+streams://h/0/master'),
])
def test_message_queue_url(url: str, queue: str) -> None:
    assert message_queue(url) == queue


@pytest.mark.parametrize('url, queue', [
    ('redis://h:1/0', 'redis+streams://h:1/0?connection_state_recovery=true'),
    ('redis://h?db=1',
     'redis+streams://h?db=1&connection_state_recovery=true'),
    ('redis+streams://h?connection_state_recovery=60',
     'redis+streams://h?connection_state_recovery=60'),
])
def test_message_queue_url_with_recovery(url: str, queue: str) -> None:
    assert message_queue(url, recovery=True) == queue


@pytest.mark.parametrize('url, connection', [
    ('redis://u:p@h:1/0', 'redis://u:p@h:1/0'),
    ('redis+streams://h?max_len=5', 'redis://h'),
    ('unix:///s?block_time=1&db=2&max_len=5', 'unix:///s?db=2'),
    ('redis+sentinel+streams://h/0/m', 'redis+sentinel://h/0/m'),
])
def test_connection_url(url: str, connection: str) -> None:
    assert plain(url) == connection


@pytest.mark.parametrize('url, public', [
    ('redis://h:1/0', 'redis://h:1/0'),
    ('redis://u:p@h:1/0?password=q', 'redis://h:1/0'),
    ('redis://:p@h', 'redis://h'),
    ('redis://:p@q@h', 'redis://h'),
    ('redis://:p/q@h', 'redis://h'),
    ('redis://:p?q@h', 'redis://***'),
    ('redis://h?password=p@q', 'redis://***'),
    ('redis://:p', 'redis://***'),
    ('unix://u:p@/run/redis.sock', 'unix:///run/redis.sock'),
])
def test_url_is_shown_without_secrets(url: str, public: str) -> None:
    assert shown(url) == public


@pytest.mark.parametrize('text', [
    'cannot reach redis://u:s3cr%40t@h', 'AUTH u s3cr@t failed',
    'bad: u:s3cr%40t'])
def test_password_is_masked_in_any_text(text: str) -> None:
    assert 's3cr' not in hide_secrets(text, 'redis://u:s3cr%40t@h:1/0')
    assert hide_secrets(text, 'redis://h:1/0') == text
    assert 'q3' not in hide_secrets('q3', 'redis://h/0?password=q3')
