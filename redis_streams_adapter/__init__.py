"""Socket.IO on more than one process, over Redis Streams.

See :class:`RedisStreamsManager`.
"""
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TYPE_CHECKING

from .errors import ClusterTimeoutError, ConfigurationError, DecodeError, \
    OutboxFullError, RedisStreamsError

if TYPE_CHECKING:
    from .manager import RedisStreamsManager

__all__ = [
    'ClusterTimeoutError', 'ConfigurationError', 'DecodeError',
    'OutboxFullError', 'RedisStreamsError', 'RedisStreamsManager',
]

try:
    __version__ = version('redis-streams-adapter')
except PackageNotFoundError:
    # Run from a source tree that was never installed.
    __version__ = '0+unknown'


def __getattr__(name: str) -> Any:
    # Imported when first asked for: a gunicorn.conf.py that imports our
    # hooks must not import redis, and with it ssl, before gevent patches it.
    if name == 'RedisStreamsManager':
        return import_module('.manager', __name__).RedisStreamsManager
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
