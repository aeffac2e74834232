"""The fields of requests and answers that only this package has."""
from typing import Any, Dict

import pytest

from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.codec import decode, Encoder, \
    open_envelope
from redis_streams_adapter.protocol.content_parts import MAX_NAME
from redis_streams_adapter.protocol.messages import Broadcast, EVERYONE, \
    FetchSockets, FetchSocketsResponse, Page, ServerSideEmit, Target
from redis_streams_adapter.protocol.request_content import read_fetch, \
    read_fetched, with_inbox

OPTS = {'rooms': [], 'except': [], 'flags': {}}


def round_trip(message: Any) -> Any:
    return decode(open_envelope(Encoder('me').encode('/', message)))


@pytest.mark.parametrize('message', [
    FetchSockets(EVERYONE, 'r'),
    FetchSockets(Target(('a',)), 'r', pages=True),
    FetchSockets(EVERYONE, 'r', counts=True),
    FetchSockets(EVERYONE, 'r', True, stats=True),
    ServerSideEmit(('hi', 1), 'r'),
    Broadcast(('hi', 1), Target(('a',)), 'r')])
@pytest.mark.parametrize('inbox', [None, 'me'])
def test_requests(message: Any, inbox: Any) -> None:
    found = round_trip(with_inbox(message, inbox))
    assert found == with_inbox(message, inbox)
    assert found.inbox == inbox


@pytest.mark.parametrize('message', [
    FetchSocketsResponse('r', ()),
    FetchSocketsResponse('r', (), Page(0, False)),
    FetchSocketsResponse('r', (), Page(7, True), (('a', 1), (5, 2))),
    FetchSocketsResponse('r', (), Page(0, True), stats={'pid': 1}),
    FetchSocketsResponse('r', (
        {'id': 's', 'handshake': {}, 'rooms': ['s'], 'data': {}},),
        Page(1, True))])
def test_answers(message: Any) -> None:
    assert round_trip(message) == message


def test_fields_of_node_js_are_the_same() -> None:
    """Without its own options, this package writes nothing that Node.js does
    not write."""
    def names(message: Any) -> Any:
        fields = Encoder('me').encode('/', message)
        return fields[-1]

    assert names(FetchSockets(EVERYONE, 'r')) == \
        b'{"opts":{"rooms":[],"except":[],"flags":{}},"requestId":"r"}'
    assert names(FetchSocketsResponse('r', ())) == \
        b'{"requestId":"r","sockets":[]}'
    assert names(ServerSideEmit(('hi',), 'r')) == \
        b'{"packet":["hi"],"requestId":"r"}'


@pytest.mark.parametrize('inbox', [1, '', [], 'x' * (MAX_NAME + 1)])
def test_wrong_inbox(inbox: Any) -> None:
    with pytest.raises(DecodeError, match='inbox'):
        read_fetch({'opts': OPTS, 'requestId': 'r', 'inbox': inbox})


@pytest.mark.parametrize('more', [
    {'page': -1}, {'page': True}, {'page': '1'}, {'page': 1.0},
    {'counts': {}}, {'counts': ['a']}, {'counts': [['a']]},
    {'counts': [['a', -1]]}, {'counts': [['a', True]]},
    {'counts': [[None, 1]]}])
def test_wrong_answer(more: Dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        read_fetched({'requestId': 'r', 'sockets': [], **more})
