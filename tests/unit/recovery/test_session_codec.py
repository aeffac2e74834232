"""The user sessions of applications, and those that cannot be stored."""
import logging
from typing import Any, Callable, Dict, List

import pytest

from redis_streams_adapter.protocol.values import Serialiser
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.recovery.session import Session

from .writing import DURATION, FakeSessions, House, INTERVAL

LARGE = {'a': 'x' * 1000}


@pytest.fixture
def small_house(store: FakeSessions, clock: Any,
                logger: Callable[[], logging.Logger]) -> House:
    return House(store, logger, max_bytes=500)


@pytest.mark.parametrize('data, why', [
    (LARGE, 'max_session_bytes is 500'), ({'a': object()}, 'object')])
def test_unserializable_session_is_not_stored(
        small_house: House, store: FakeSessions, clock: Any, data: Any,
        why: str, logged: Callable[[int], List[str]]) -> None:
    """No older session is stored instead; the error is logged once."""
    house, client = small_house, small_house.stays()
    client.data = data
    for number in range(3):
        house.room(client, str(number))
        house.round()
        clock.now += INTERVAL
    assert store.values == {}
    warning, = logged(logging.WARNING)
    assert client.sid in warning and why in warning
    assert client.pid not in warning
    # Until it can be kept again.
    client.data = {'a': 1}
    house.local.change(client)
    house.round()
    kept = house.kept(client)
    assert kept is not None and kept.data == {'a': 1}
    client.data = data
    house.local.change(client)
    house.round()
    assert store.values == {}
    assert len(logged(logging.WARNING)) == 1


def test_session_always_too_large_is_logged_once(
        small_house: House, store: FakeSessions, clock: Any,
        logged: Callable[[int], List[str]]) -> None:
    house, client = small_house, small_house.enter()
    client.data = LARGE
    house.writer.write_first(client)
    house.local.settle(client)
    house.round()
    clock.now += DURATION
    house.round()
    house.leave(client)
    house.round()
    assert store.calls == []
    assert house.local.of_pid(client.pid) is None
    assert len(logged(logging.WARNING)) == 1


def test_too_large_session_is_refused(small_house: House) -> None:
    check = small_house.writer.codec.check_size
    check({})
    check(None)
    check({'a': 'x' * 300})
    with pytest.raises(ValueError, match='max_session_bytes is 500'):
        check({'a': 'x' * 400})
    with pytest.raises(TypeError):
        check({'a': object()})
    deep: List[Any] = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ValueError, match='nested'):
        check(deep)


@pytest.mark.parametrize('error', [
    KeyError('x'), RecursionError('x'), RuntimeError('x'), OSError('x')],
    ids=repr)
def test_any_error_of_serializer_is_caught(
        house: House, store: FakeSessions, error: Exception,
        logged: Callable[[int], List[str]]) -> None:
    """The error concerns one client alone."""
    bad, good = house.stays('bad'), house.stays('good')

    def describe(client: ClientSession) -> Session:
        if client is bad:
            raise error
        return House.describe(client)

    house.writer._describe = describe
    for client in bad, good:
        house.room(client, 'x')
    assert house.round()
    assert house.kept(bad) is None
    kept = house.kept(good)
    assert kept is not None and kept.rooms == ('good', 'x')
    assert len(logged(logging.WARNING)) == 1


def test_session_changed_during_encoding_is_retried(house: House) -> None:
    """A handler runs on another task."""
    client = house.stays()
    serialiser, attempts = house.writer.codec._serialiser, []

    def pack(fields: Dict[str, Any]) -> bytes:
        attempts.append(fields)
        if len(attempts) % 3:
            raise RuntimeError('dictionary changed size during iteration')
        return Serialiser.pack(serialiser, fields)

    serialiser.pack = pack  # type: ignore[method-assign]
    house.room(client, 'x')
    house.round()
    kept = house.kept(client)
    assert kept is not None and kept.rooms == ('s', 'x')
    assert attempts


def test_copy_is_independent(house: House) -> None:
    """Later changes by the application do not alter it."""
    client = house.stays()
    client.data = {'a': [1], 2: (3,)}
    session = house.describe(client)
    copy = house.writer.codec.copy(session)
    assert copy == session._replace(data={'a': [1], '2': [3]})
    client.data['a'].append(2)
    assert copy.data['a'] == [1]
    # What cannot be kept is as good as it is.
    client.data['b'] = object()
    assert house.writer.codec.copy(session) is session
