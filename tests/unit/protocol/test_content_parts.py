"""Parts that several types of messages share. test_content and
test_request_content test them in messages."""
from typing import Any

import pytest

from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.content_parts import MAX_NAME, opts_of, \
    read_request_id, read_rooms, read_target, want
from redis_streams_adapter.protocol.messages import EVERYONE, Target


def test_target_round_trip() -> None:
    target = Target(('a', 1), ('b',), {'volatile': True})
    opts = opts_of(target)
    assert read_target({'opts': {
        **opts, 'rooms': list(opts['rooms']),
        'except': list(opts['except'])}}) == target


def test_no_target_means_everyone() -> None:
    assert read_target({'opts': {'rooms': [], 'except': []}}) is EVERYONE


@pytest.mark.parametrize('rooms', [None, 'a', [True], [1.5], [['a']]])
def test_wrong_rooms(rooms: Any) -> None:
    with pytest.raises(DecodeError, match='rooms'):
        read_rooms(rooms, 'rooms')


@pytest.mark.parametrize('name', [None, 1, '', 'x' * (MAX_NAME + 1)])
def test_wrong_request_id(name: Any) -> None:
    with pytest.raises(DecodeError, match='requestId'):
        read_request_id({'requestId': name})


def test_want() -> None:
    want(True, 'it')
    with pytest.raises(DecodeError, match='it is missing'):
        want(False, 'it')
