"""Socket.IO on more than one process, over Redis Streams.

Exports :class:`RedisStreamsManager`, the errors and :class:`NodeStats`. The
manager is imported when it is first used, the others at once. Start reading at
:mod:`~redis_streams_adapter.manager`, which follows one ``emit`` to the wire
and back; ``docs/architecture.rst`` lists the packages.
"""
from importlib import import_module
from typing import Any, TYPE_CHECKING

from .errors import ClusterTimeoutError, ConfigurationError, DecodeError, \
    EventTooLargeError, NotStoredError, OutboxFullError, RedisStreamsError
from .nodes import NodeStats
from .version import VERSION

if TYPE_CHECKING:
    from .manager import RedisStreamsManager

__version__ = VERSION

__all__ = [
    'ClusterTimeoutError', 'ConfigurationError', 'DecodeError',
    'EventTooLargeError', 'NodeStats', 'NotStoredError', 'OutboxFullError',
    'RedisStreamsError', 'RedisStreamsManager',
]


def __getattr__(name: str) -> Any:
    # Imported when first used: a gunicorn.conf.py that imports our hooks must
    # not import redis, and with it ssl, before gevent patches ssl.
    if name == 'RedisStreamsManager':
        return import_module('.manager', __name__).RedisStreamsManager
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
