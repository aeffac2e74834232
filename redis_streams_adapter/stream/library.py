"""The client library in use: redis-py, or valkey-py, its twin.

This package connects with either. Names and arguments are the same but for
the word in them.
"""
import re
from typing import Any, Tuple

from ..errors import ConfigurationError

#: How to install each library.
INSTALL = {'redis': 'redis', 'valkey': "'redis-streams-adapter[valkey]'"}

#: By what name each introduces itself to a server if nothing else is said.
DEFAULT_NAMES = frozenset((None, 'redis-py', 'valkey-py'))


def import_library(name: str) -> Any:
    """The package redis, or valkey.

    :raises ConfigurationError: it is not installed.
    """
    try:
        if name == 'redis':
            import redis
            return redis
        import valkey
        return valkey
    except ImportError as exc:
        raise ConfigurationError(
            f'url: the package {name} is not installed; run: pip install '
            f'{INSTALL[name]}') from exc


def library_of(client: Any) -> Any:
    """The package that a client object comes from.

    :raises ConfigurationError: it is no synchronous client of either.
    """
    modules = [cls.__module__.split('.') for cls in type(client).__mro__]
    names = [each[0] for each in modules if each[0] in INSTALL]
    if names and not any('asyncio' in each for each in modules) \
            and (hasattr(client, 'connection_pool')
                 or hasattr(client, 'get_node_from_key')):
        return import_library(names[0])
    raise ConfigurationError(
        f'url must be a URL or a synchronous client of redis-py or valkey, '
        f'not {type(client).__module__}.{type(client).__name__}')


def client_of(module: Any, cluster: Any, node: Any) -> Any:
    """The client for one node of a cluster's client object."""
    return getattr(cluster, f'get_{module.__name__}_connection')(node)


def errors_of(module: Any) -> Tuple[Any, ...]:
    """The base classes of all errors of a library. The errors of its cluster
    client have a base class of their own."""
    prefix = module.__name__.capitalize()
    return (getattr(module.exceptions, prefix + 'Error'),
            getattr(module.exceptions, prefix + 'ClusterException'))


def complaint(module: Any, exc: Exception) -> str:
    """What a library says of wrong options."""
    unknown = re.search(r"unexpected keyword argument ('\w+')", str(exc))
    return f'{module.__name__}-py has no option {unknown[1]}' \
        if unknown else str(exc)


def is_named(options: Any) -> bool:
    """Whether arguments of a connection name the library, for CLIENT SETINFO.
    A client object always does, by its default."""
    info = options.get('driver_info')
    name = options.get('lib_name') if info is None \
        else getattr(info, 'formatted_name', '')
    return name not in DEFAULT_NAMES
