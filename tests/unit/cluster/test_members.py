"""Tasks that wait until all members of the cluster are known."""
from typing import Any, Callable

import pytest

from redis_streams_adapter import ClusterTimeoutError, RedisStreamsManager
from redis_streams_adapter.protocol.messages import Broadcast, MessageType
from redis_streams_adapter.protocol.codec import Encoder, open_envelope
from redis_streams_adapter.testing.stream import FakeStream

from ...support.wait import DEADLINE

MakeManager = Callable[..., RedisStreamsManager]

#: Seconds of a wait that is expected to fail.
SHORT = 0.3

#: Seconds: more than a node needs to reach the stream when it starts.
PAST = 1.0


def shorten(stream: FakeStream) -> None:
    """Let a stream not reach back far enough to show all members."""
    for _ in range(10):
        stream.put(*Encoder('emitter').encode('/', Broadcast(('hello',))))
    stream.trim(1)
    stream.advance(PAST)


def asked_everyone(stream: FakeStream) -> bool:
    return any(open_envelope(entry.fields).type is MessageType.HEARTBEAT
               and b'wants' in entry.fields[::2]
               for entry in list(stream.history))


def test_known_at_once(make_manager: MakeManager, make_node: Any,
                       stream: FakeStream) -> None:
    """A process that knows all members asks no one."""
    manager = make_manager(heartbeat_interval=0.02, heartbeat_timeout=0.05)
    manager.start()
    members = manager._live().requester.members
    assert members.everywhere(DEADLINE)
    length = len(stream.history)
    assert members.everywhere(0.0)
    assert not any(b'wants' in entry.fields[::2]
                   for entry in list(stream.history)[length:])


def test_short_history(make_manager: MakeManager,
                       stream: FakeStream) -> None:
    """It waits for one heartbeat timeout, or raises."""
    shorten(stream)
    manager = make_manager(heartbeat_interval=5.0, heartbeat_timeout=100.0)
    with pytest.raises(ClusterTimeoutError, match='does not know all'):
        manager.cluster_stats(timeout=SHORT)
    assert asked_everyone(stream)
    assert manager._live().requester.members.waiting == 0


def test_server_of_an_unknown_namespace_is_found(
        make_manager: MakeManager, make_node: Any,
        stream: FakeStream) -> None:
    other = make_node(server={'namespaces': ['/far']}, heartbeat_timeout=100.0)
    other.server.handlers.clear()
    other.manager.start()
    assert other.manager.flush(DEADLINE)
    shorten(stream)
    # Longer than the stream reaches back.
    manager = make_manager(heartbeat_interval=1.0, heartbeat_timeout=3 * PAST)
    found = manager.cluster_stats(timeout=DEADLINE)
    assert {each.uid for each in found} == {manager.uid, other.manager.uid}
