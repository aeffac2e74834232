"""What this server says of itself, to others that ask how all servers are.

See :mod:`redis_streams_adapter.protocol.server_stats` for the keys.
"""
import os
import socket
import time
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

from ..clients.descriptions import count_all
from ..protocol.presence import process_field
from ..protocol.server_stats import MAX_NAMESPACES, MAX_TEXT
from ..runtime.runtime import Runtime
from ..version import VERSION

#: Where Linux says how much memory a process has: in pages; the second number
#: is what is resident.
STATM = '/proc/self/statm'


class LocalStats:
    """Collects the state of this server.

    Any task may use it; it keeps nothing.

    :param manager: has the rooms of the local clients.
    :param options: its options, as
                    :func:`~redis_streams_adapter.configuration.described` has
                    them.
    :param stats: returns the figures of the manager.
    :param health: returns its health.
    :param latencies: returns how long entries took.
    """

    def __init__(self, manager: Any, options: Mapping[str, Any],
                 stats: Callable[[], Mapping[str, Any]],
                 health: Callable[[], Mapping[str, Any]],
                 latencies: Callable[[], Mapping[str, Any]]) -> None:
        self._manager = manager
        self._options = options
        self._stats = stats
        self._health = health
        self._latencies = latencies

    def collect(self, runtime: Runtime[Any],
                found: Dict[str, Any]) -> Iterator[None]:
        """Collect it, in small steps.

        :param found: where to put it, by key. Every value can be sent.
        """
        counts: Dict[str, int] = {}
        yield from count_all(self._manager, counts)
        since = runtime.state.clients_since()
        found.update(
            host=socket.gethostname()[:MAX_TEXT], pid=os.getpid(),
            version=VERSION, uptime=round(time.monotonic() - since, 3),
            **counts,
            namespaces=[name for name in runtime.node.namespaces
                        if len(name) <= MAX_TEXT][:MAX_NAMESPACES],
            memory=resident_memory(), stats=dict(self._stats()),
            health=_shorten(self._health()),
            cpu_seconds=round(time.process_time(), 3),
            latencies=dict(self._latencies()),
            options=_shorten(self._options))


def _shorten(values: Mapping[str, Any]) -> Dict[str, Any]:
    """Errors of Redis may have any length, and so may names."""
    return {name: value[:MAX_TEXT] if isinstance(value, str) else value
            for name, value in values.items()}


def this_process() -> bytes:
    """What the signs of life of this process say of it."""
    return process_field(socket.gethostname(), os.getpid())


def resident_memory(path: str = STATM) -> Optional[int]:
    """How many bytes of memory this process has; ``None``: the system does
    not say."""
    try:
        with open(path, 'rb') as file:
            pages = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf('SC_PAGESIZE')
