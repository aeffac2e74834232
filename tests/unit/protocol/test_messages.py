"""The messages between nodes."""
import dataclasses
import typing

import pytest

from redis_streams_adapter.protocol.messages import Broadcast, CAUGHT_UP, \
    EMITTER_UID, EVERYONE, Heartbeat, Message, MessageType, Target

ALL = typing.get_args(Message)


def test_numbers_of_node_js() -> None:
    """``MessageType`` of socket.io-adapter 2.5."""
    assert {each.name: each.value for each in MessageType} == {
        'INITIAL_HEARTBEAT': 1, 'HEARTBEAT': 2, 'BROADCAST': 3,
        'SOCKETS_JOIN': 4, 'SOCKETS_LEAVE': 5, 'DISCONNECT_SOCKETS': 6,
        'FETCH_SOCKETS': 7, 'FETCH_SOCKETS_RESPONSE': 8,
        'SERVER_SIDE_EMIT': 9, 'SERVER_SIDE_EMIT_RESPONSE': 10,
        'BROADCAST_CLIENT_COUNT': 11, 'BROADCAST_ACK': 12,
        'ADAPTER_CLOSE': 13}
    assert EMITTER_UID == 'emitter'


def test_each_type_has_its_message() -> None:
    assert [each.type for each in ALL] == list(MessageType)


@pytest.mark.parametrize('kind', sorted({*ALL} - {Broadcast}, key=str),
                         ids=lambda kind: kind.__name__)
def test_messages_are_immutable(kind: type) -> None:
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_arguments_are_read_from_text() -> None:
    message = Broadcast(None, text='["a",{"b":[1,null]}]')
    assert message.args == ('a', {'b': [1, None]})
    assert message.args is message.args
    assert message == Broadcast(('a', {'b': [1, None]}))
    assert repr(message) == repr(Broadcast(('a', {'b': [1, None]})))
    assert message != ('a', {'b': [1, None]})


def test_arguments_of_event_are_not_replaced() -> None:
    with pytest.raises(AttributeError):
        Broadcast(('a',)).args = ('b',)  # type: ignore[misc]


def test_equality() -> None:
    assert Target() == EVERYONE
    assert Broadcast(('a',)) == Broadcast(('a',), Target((), (), {}))
    assert Broadcast(('a',)) != Broadcast(('a',), Target(('x',)))
    assert Heartbeat() == Heartbeat(None) != Heartbeat(CAUGHT_UP)
