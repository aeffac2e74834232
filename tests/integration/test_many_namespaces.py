"""Servers with very many namespaces cost no more than those with few."""
import contextlib
import time
from typing import Any, Callable

from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .test_complete_answers import member

NAMESPACES = [f'/{number}' for number in range(2000)]
SAMPLE = NAMESPACES[::200]

#: Seconds between the heartbeats of a server.
INTERVAL = 0.5

#: How many entries may be written where there would be one for each namespace.
FEW = 50


def test_many_namespaces(redis_server: RedisServer,
                         unique: Callable[[str], str]) -> None:
    stream = unique('stream')

    def join() -> Any:
        return stack.enter_context(member(
            redis_server, *NAMESPACES, stream_name=stream,
            heartbeat_interval=INTERVAL, heartbeat_timeout=20 * INTERVAL))

    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_server.client())
        one, other, third = join(), join(), join()
        for each in one, other, third:
            for namespace in SAMPLE:
                assert each.server_count(namespace) == 3
        # Servers of other kinds are asked in a few namespaces.
        joined = redis.xlen(stream)
        assert joined < len(NAMESPACES) / 4

        third.close()
        for each in one, other:
            for namespace in SAMPLE:
                wait_for_value(lambda: each.server_count(namespace), 2)
        left = redis.xlen(stream)
        assert left - joined < FEW

        begun = time.monotonic()
        wait_until(lambda: redis.xlen(stream) >= left + 16)
        # Two servers write one entry each. It may be a few more.
        assert time.monotonic() - begun > 4 * INTERVAL
        for each in one, other:
            assert each.server_count(SAMPLE[-1]) == 2
