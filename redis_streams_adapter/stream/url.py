"""The parts of a URL of Redis, of its Sentinels or of a cluster.

An error never quotes the URL: it may hold a password.
"""
import re
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import ConfigurationError
from ..parsing import ENCODE

#: The port of a server whose URL does not name one.
DEFAULT_PORT = 6379

#: Some releases of Python refuse brackets that do not begin the host, as in a
#: list of servers (CVE-2024-11168): other characters stand for them meanwhile.
_HIDE = str.maketrans('[]', '\ue000\ue001')
_SHOW = str.maketrans('\ue000\ue001', '[]')

#: Names in a query whose value may contain an ``@``: like those of options.
_OPTION = re.compile('[a-z]+(_[a-z]+)+|username|password')


def split_url(url: str) -> SplitResult:
    """The parts of a URL of Redis, checked.

    :raises ConfigurationError: it cannot be understood.
    """
    if '#' in url:
        # It begins a fragment: what follows would be ignored.
        raise ConfigurationError(f"url: there is a '#' in it; {ENCODE}")
    try:
        hidden = urlsplit(url.translate(_HIDE))
        parts = SplitResult(*(each.translate(_SHOW) for each in hidden))
        if ('[' in parts.netloc) != (']' in parts.netloc):
            raise ValueError('a bracket is missing')
        hosts_of(parts)
        if not parts.scheme.startswith('unix'):
            database_of(parts)
    except ValueError:
        # Not the text of that error, which may quote part of a password. And
        # not its traceback, for the same reason.
        raise ConfigurationError(
            'url: the host, the port or the database is not valid; '
            + ENCODE) from None
    if _cuts_a_password(parts):
        raise ConfigurationError(
            f"url: there is an '@' after the host; {ENCODE}")
    return parts


def _cuts_a_password(parts: SplitResult) -> bool:
    """Whether a ``/`` or ``?`` of a password seems to end the host: the ``@``
    after the password is further on."""
    if '@' not in parts.path + parts.query:
        return False
    if '@' in parts.netloc:
        # An option's value may contain one.
        return any('@' in each.partition('=')[0]
                   for each in parts.query.split('&'))
    if '@' not in parts.path and parts.netloc.strip(':'):
        # The same without credentials, if the name shows that it is one.
        return not all(_OPTION.fullmatch(each.partition('=')[0])
                       for each in parts.query.split('&') if '@' in each)
    # The path of a socket may contain one, too.
    return bool(parts.netloc) or not parts.scheme.startswith('unix')


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
