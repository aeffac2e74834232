"""A URL such as ``redis+streams://host?max_len=5``: what it says of Redis, and
which options of the manager are in its query.
"""
import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple
from urllib.parse import parse_qsl, urlencode

from .configuration import from_query, is_given, spelling_of
from .errors import ConfigurationError
from .options import NAMES
from .stream.driver import SCHEMES
from .stream.url import split_url

#: The end of the scheme.
SUFFIX = '+streams'

#: Options of a connection, not of the manager; redis-py reads them from the
#: query of its URLs.
CONNECTION_OPTIONS = frozenset((
    'db', 'client_name', 'socket_timeout', 'socket_connect_timeout',
    'socket_keepalive', 'ssl_ca_certs', 'ssl_ca_path', 'ssl_certfile',
    'ssl_cert_reqs', 'ssl_check_hostname', 'ssl_keyfile', 'ssl_password'))

#: The words of the schemes of Redis, its Sentinels and a cluster.
WORDS = frozenset((*SCHEMES, 'sentinel', 'cluster'))

#: How similar a word of a scheme has to be to "streams" to be taken for it,
#: from 0 to 1: "stream" and "steams" are, no word of another library is.
CLOSE = 0.75

#: Where options of the manager may be.
PLACE = f'and may be in a URL whose scheme ends with {SUFFIX}'


class Parts(NamedTuple):
    """What such a URL says.

    :param plain: the URL without that.
    :param options: arguments of the manager.
    """

    plain: str
    options: Dict[str, Any]


def is_ours(url: Any) -> bool:
    """Whether it is such a URL."""
    scheme, separator, _ = str(url).partition('://')
    return isinstance(url, str) and bool(separator) \
        and scheme.endswith(SUFFIX)


def refuse_look_alikes(url: Any) -> None:
    """Refuse a URL of which only the scheme's spelling is wrong.

    :raises ConfigurationError: it is one. The text has nothing after the
                                scheme.
    """
    scheme = re.split('[:/?#@]', str(url), maxsplit=1)[0]
    words = re.split('[^a-z0-9]+', scheme.lower())
    if isinstance(url, str) and not is_ours(url) \
            and any(map(_looks_like_streams, words)):
        meant = '+'.join(each for each in words if each in WORDS)
        raise ConfigurationError(
            f'url: unknown scheme {scheme!r}; did you mean '
            f'{meant or "redis"}{SUFFIX}://?')


def _looks_like_streams(word: str) -> bool:
    if word in WORDS:
        return False
    # Seldom needed, and it takes 0.1 MiB.
    from difflib import SequenceMatcher
    return 'stream' in word \
        or SequenceMatcher(None, word, 'streams').ratio() >= CLOSE


def read(url: str) -> Parts:
    """Take such a URL apart.

    :raises ConfigurationError: it cannot be understood; or an option is
                                unknown or wrong; it is named.
    """
    parts = split_url(url)
    base = parts.scheme[:-len(SUFFIX)]
    if SUFFIX in base:
        raise ConfigurationError(f'url: unknown scheme {parts.scheme!r}')
    ours: List[Tuple[str, str]] = []
    theirs: List[Tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        pairs = theirs if name in CONNECTION_OPTIONS else ours
        pairs.append((name, value))
    # Not with geturl(), which turns `unix:///path` into `unix:/path`.
    return Parts(f'{base}://{parts.netloc}{parts.path}?{urlencode(theirs)}',
                 from_query(ours, CONNECTION_OPTIONS))


def text(url: Any) -> str:
    """The URL.

    :raises ConfigurationError: it is no string.
    """
    if not isinstance(url, str):
        raise ConfigurationError(
            f'url must be a string, not a {type(url).__name__}')
    return url


def in_environment(variable: str) -> str:
    """The URL in an environment variable.

    :raises ConfigurationError: it is not set, or empty.
    """
    url = os.environ.get(variable)
    if not url:
        raise ConfigurationError(
            f'the environment variable {variable} is not set')
    return url


def _refuse_options(url: Any) -> None:
    """Refuse options of the manager in the query of another URL, which
    redis-py reads.

    :raises ConfigurationError: there is one; it is named.
    """
    query = url.partition('?')[2] if isinstance(url, str) else ''
    for name, _ in parse_qsl(query, keep_blank_values=True):
        if name in NAMES:
            raise ConfigurationError(
                f'url: {name} is an option of the manager, {PLACE}')
        meant = spelling_of(name)
        if meant is not None and name not in CONNECTION_OPTIONS:
            raise ConfigurationError(
                f'url: unknown option {name!r}; did you mean {meant}? It is '
                f'an option of the manager, {PLACE}')


def resolve(variables: Mapping[str, Any]) -> Dict[str, Any]:
    """The arguments of a manager, with those in its URL.

    :param variables: the local variables of the constructor, before any
                      other is set: each argument, and ``unknown`` ones.
    :raises ConfigurationError: the URL is wrong, or an option is both in it
                                and an argument.
    """
    arguments = {name: value for name, value in variables.items()
                 if name not in ('self', '__class__', 'unknown')}
    arguments.update(variables['unknown'])
    url = arguments['url']
    if not is_ours(url):
        refuse_look_alikes(url)
        _refuse_options(url)
        return arguments
    plain, options = read(url)
    for name in options:
        if is_given(name, arguments):
            raise ConfigurationError(
                f'{name} is in the URL and an argument: give only one')
    return {**arguments, **options, 'url': plain}
