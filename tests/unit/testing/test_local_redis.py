"""The Redis in memory answers the commands of recovery as a real one does."""
import pytest

from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.stream.driver import Driver
from redis_streams_adapter.testing.local_redis import LocalRedis

# The tests, and their fixtures.
from ...support.sessions_contract import *  # noqa: F401, F403


@pytest.fixture
def driver() -> Driver:
    return LocalRedis().driver()


def test_streams_are_made_on_demand() -> None:
    redis = LocalRedis()
    stream = redis.stream('a')
    assert redis.stream('a') is stream
    assert redis.stream('b') is not stream
    assert redis.streams == [stream, redis.stream('b')]


def test_outage_keeps_data() -> None:
    redis = LocalRedis()
    link = redis.stream('a').link()
    link.connect()
    link.append([[b'name', b'value']])
    redis.go_away()
    with pytest.raises(Unavailable):
        link.ends()
    # A stream that is first asked for in the outage is away, too.
    for key in ('a', 'b'):
        with pytest.raises(Unavailable):
            redis.stream(key).link().connect()
    redis.come_back()
    again = redis.stream('a').link()
    again.connect()
    assert again.ends().length == 1
    redis.stream('b').link().connect()
