"""The parts of a URL of Redis, of its Sentinels or of a cluster.

An error never quotes the URL: it may hold a password.
"""
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import ConfigurationError

#: The port of a server whose URL does not name one.
DEFAULT_PORT = 6379


def split_url(url: str) -> SplitResult:
    """The parts of a URL of Redis, checked.

    :raises ConfigurationError: it cannot be understood.
    """
    try:
        parts = urlsplit(url)
        hosts_of(parts)
        if not parts.scheme.startswith('unix'):
            database_of(parts)
    except ValueError as exc:
        # Not the text of that error, which may quote part of a password. And
        # not its traceback, for the same reason.
        raise ConfigurationError(
            'url: the host, the port or the database is not valid; '
            'in a password, percent-encode : / ? # [ ] @') from (
                exc if isinstance(exc, ConfigurationError) else None)
    return parts


def credentials_of(parts: SplitResult) -> Dict[str, Any]:
    """The user and the password."""
    found: Dict[str, Optional[str]] = {
        'username': parts.username, 'password': parts.password}
    return {name: unquote(value) for name, value in found.items() if value}


def options_of(module: Any, parts: SplitResult) -> Dict[str, Any]:
    """The options in a query, typed as redis-py types them."""
    scheme = 'valkey' if parts.scheme.startswith('valkey') else 'redis'
    kwargs: Dict[str, Any] = module.connection.parse_url(
        f'{scheme}://localhost?{parts.query}')
    kwargs.pop('host')
    return kwargs


def hosts_of(parts: SplitResult) -> List[Tuple[str, int]]:
    """The servers that it names.

    :raises ValueError: a port is not a number.
    """
    hosts = []
    for each in parts.netloc.rpartition('@')[2].split(','):
        host, colon, port = each.rpartition(':')
        if not colon or port.endswith(']'):
            host, port = each, ''
        if port and not port.isdigit():
            raise ValueError('a port is not a number')
        hosts.append((host.strip('[]'), int(port or DEFAULT_PORT)))
    return hosts


def database_of(parts: SplitResult) -> int:
    """The number of the database.

    :raises ValueError: it is not a number.
    """
    return int(parts.path[1:].partition('/')[0] or 0)


def service_of(parts: SplitResult) -> str:
    """The name by which Sentinels know the master."""
    return (parts.path.split('/') + ['', ''])[2]
