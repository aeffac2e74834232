"""An observer asks as a member does, and is none: over the fake stream."""
import logging
from typing import Any, Callable, Iterator, List, Set

import pytest

from redis_streams_adapter import ConfigurationError
from redis_streams_adapter.observer import Observer
from redis_streams_adapter.protocol.codec import Encoder, open_envelope
from redis_streams_adapter.protocol.messages import Heartbeat, \
    InitialHeartbeat, MessageType
from redis_streams_adapter.testing.stream import FakeStream

from ..support.wait import DEADLINE, wait_until
from .nodes import Pair

#: Redis is never reached: the streams are fake.
NOWHERE = 'redis://localhost:1'


@pytest.fixture
def observers(make_manager: Any) -> Iterator[List[Observer]]:
    """Observers are closed at the end, before the fake streams."""
    made: List[Observer] = []
    yield made
    for each in made:
        each.close(0.2)


@pytest.fixture
def watcher(observers: List[Observer]) -> Observer:
    observers.append(Observer(NOWHERE))
    return observers[0]


def uids(stream: FakeStream) -> Set[str]:
    return {open_envelope(entry.fields).uid for entry in list(stream.history)}


def test_it_sees_the_cluster(pair: Pair, watcher: Observer) -> None:
    a, b = pair.connect()
    pair.a.server.enter_room(a.sid, 'tea')
    members = {node.manager.uid for node in pair}
    assert {each.uid for each in watcher.nodes()} == members
    assert watcher.server_count() == 2
    found = watcher.cluster_stats()
    assert {each.uid for each in found} == members
    assert all(each.clients == 1 for each in found)
    assert watcher.room_counts() == {'tea': 1}
    assert {each.sid for each in watcher.fetch_sockets()} == {a.sid, b.sid}
    assert {each.sid for each in watcher.fetch_sockets(to='tea')} == {a.sid}


def test_first_call_has_everybody(pair: Pair, observers: List[Observer]
                                  ) -> None:
    for _ in range(5):
        observers.append(Observer(NOWHERE))
        assert len(observers[-1].cluster_stats()) == 2


def test_no_server_counts_it(pair: Pair, watcher: Observer,
                             stream: FakeStream) -> None:
    """Nothing in the stream bears its uid, and it takes no part in the pace
    of readers, whatever it is asked."""
    watcher.cluster_stats()
    watcher.fetch_sockets()
    stream.put(*Encoder('js').encode('/', InitialHeartbeat()))
    stream.put(*Encoder('emitter').encode('/', Heartbeat(asks=True)))
    wait_until(lambda: watcher.server_count() == 3)
    watcher.cluster_stats()
    assert watcher.uid not in uids(stream)
    assert not any(
        watcher.uid.encode() in entry.fields[1::2]
        for entry in list(stream.history))
    for node in pair:
        assert node.manager.server_count() == 3
        assert watcher.uid not in node.manager._live().node._members.uids


def test_it_announces_nothing(pair: Pair, watcher: Observer,
                              stream: FakeStream) -> None:
    watcher.server_count()
    watcher.close()
    for entry in list(stream.history):
        envelope = open_envelope(entry.fields)
        assert envelope.uid in {
            'emitter', *(node.manager.uid for node in pair)}
        assert envelope.type is not MessageType.ADAPTER_CLOSE


def test_nothing_is_logged_when_it_vanishes(
        pair: Pair, watcher: Observer, logged: Callable[[int], List[str]],
        stream: FakeStream) -> None:
    watcher.cluster_stats()
    before = [*logged(logging.INFO), *logged(logging.WARNING),
              *logged(logging.ERROR)]
    watcher._manager._live().abandon()
    assert len(pair.a.manager.cluster_stats()) == 2
    pair.a.server.emit('hello')
    assert pair.a.manager.flush(DEADLINE)
    assert [*logged(logging.INFO), *logged(logging.WARNING),
            *logged(logging.ERROR)] == before


def test_it_is_not_waited_for(pair: Pair, watcher: Observer) -> None:
    watcher.cluster_stats()
    pair.a.manager.on_server_side('ask', lambda: 'a')
    pair.b.manager.on_server_side('ask', lambda: 'b')
    assert pair.a.manager.server_side_call('ask') == ['b']
    assert sorted(watcher.server_side_call('ask')) == ['a', 'b']


def test_server_side_emit(pair: Pair, watcher: Observer) -> None:
    heard: List[Any] = []
    for node in pair:
        node.manager.on_server_side('note', heard.append)
    watcher.server_side_emit('note', 1)
    wait_until(lambda: heard == [1, 1])


def test_it_trims_nothing(observers: List[Observer], pair: Pair,
                          monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers may keep more than it knows."""
    limits = []
    from redis_streams_adapter.runtime import channel
    original = channel.open_link

    def open_link(driver: Any, key: str, max_len: int, *args: Any,
                  **kwargs: Any) -> Any:
        limits.append(max_len)
        return original(driver, key, max_len, *args, **kwargs)

    monkeypatch.setattr(channel, 'open_link', open_link)
    observers.append(Observer(NOWHERE, max_len=100, retention=60.0))
    observers[0].cluster_stats()
    writer = observers[0]._manager._live().channels[0].writer
    assert channel.UNTRIMMED in limits
    assert writer._retention is None
    assert writer._eviction._evicted is None


def test_health_does_not_count_it(pair: Pair, watcher: Observer) -> None:
    watcher.server_count()
    assert watcher._manager.health()['nodes'] == 2
    assert pair.a.manager.health()['nodes'] == 2


def test_alone(watcher: Observer) -> None:
    assert watcher.nodes() == []
    assert watcher.server_count() == 0
    assert watcher.cluster_stats() == []
    assert watcher.fetch_sockets() == []
    assert watcher.room_counts() == {}


def test_context_manager(pair: Pair) -> None:
    with Observer(NOWHERE) as observer:
        assert len(observer.nodes()) == 2
    assert observer._manager._live().closed


def test_wrong_options() -> None:
    with pytest.raises(ConfigurationError, match='write_only'):
        Observer(NOWHERE, write_only=True)
    with pytest.raises(ConfigurationError, match='max_lenn'):
        Observer(NOWHERE, max_lenn=1)
