"""Socket.IO on more than one process, over Redis Streams.

Exports :class:`RedisStreamsManager` and the errors. The errors are imported
at once, the manager when it is first used. Start reading at
:mod:`~redis_streams_adapter.manager`, which follows one ``emit`` to the wire
and back; ``docs/architecture.rst`` lists the packages.
"""
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TYPE_CHECKING

from .errors import ClusterTimeoutError, ConfigurationError, DecodeError, \
    EventTooLargeError, NotStoredError, OutboxFullError, RedisStreamsError

if TYPE_CHECKING:
    from .manager import RedisStreamsManager

__all__ = [
    'ClusterTimeoutError', 'ConfigurationError', 'DecodeError',
    'EventTooLargeError', 'NotStoredError', 'OutboxFullError',
    'RedisStreamsError', 'RedisStreamsManager',
]

try:
    __version__ = version('redis-streams-adapter')
except PackageNotFoundError:
    # Run from a source tree that was never installed.
    __version__ = '0+unknown'


def __getattr__(name: str) -> Any:
    # Imported when first used: a gunicorn.conf.py that imports our hooks must
    # not import redis, and with it ssl, before gevent patches ssl.
    if name == 'RedisStreamsManager':
        return import_module('.manager', __name__).RedisStreamsManager
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
