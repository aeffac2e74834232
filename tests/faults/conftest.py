"""A Redis for each test, and a proxy to it."""
import pytest

from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from .fixtures import MakeProxy, MakeRedis


@pytest.fixture
def redis(make_redis: MakeRedis) -> RedisServer:
    """A server that keeps its data when it is killed."""
    return make_redis(append_only=True).start()


@pytest.fixture
def proxy(redis: RedisServer, make_proxy: MakeProxy) -> Proxy:
    """An open proxy to the server. A test names it before the fixtures that
    start nodes: those are ended first."""
    proxy = make_proxy(redis.port)
    proxy.open()
    return proxy
