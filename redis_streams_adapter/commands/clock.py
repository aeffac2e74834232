"""The clock of Redis, and how a command waits."""
from __future__ import annotations

import threading
import time

from .reading import Redis, Refused


def offset_of(redis: Redis, key: str) -> float:
    """How far the clock of Redis is ahead of ours, in seconds.

    The ids of entries are times by that clock.

    :return: 0 if Redis refuses to say.
    :raises Unavailable: Redis cannot be reached.
    """
    try:
        began = time.time()
        whole, micro = redis.ask(key, b'TIME')
    except Refused:
        return 0.0
    return int(whole) + int(micro) / 1e6 - (began + time.time()) / 2


def wait(seconds: float) -> None:
    """Let time pass. Ctrl-C ends it."""
    threading.Event().wait(seconds)
