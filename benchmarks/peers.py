"""What is compared, and how a node of each kind is started."""
import importlib.util
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .channel import Child

NAMES = {
    'redis': 'RedisManager',
    'nodejs': 'Node.js adapter 0.3.1',
    'xadd': 'redis-py, XADD alone',
    'recovery': 'RedisStreamsManager, recovery',
    'fallback': 'RedisStreamsManager, no msgspec',
    'streams': 'RedisStreamsManager',
}
"""The kinds, and their names."""

HEADS = {'redis': 'Redis', 'nodejs': 'Node.js', 'xadd': 'XADD',
         'recovery': 'recovery', 'fallback': 'fallback',
         'streams': 'Streams'}
"""The same, abbreviated."""

OURS = ('streams', 'recovery', 'fallback')
"""Those of this package. A fault of theirs fails the run."""

GEVENT_WEBSOCKET = 'geventwebsocket'
"""The package that Engine.IO prefers to simple-websocket."""

REQUIRED = ('redis', 'xadd', 'recovery', 'streams')
"""Those that run in every environment with the extra ``benchmarks``."""

PARSER = 'msgspec'
"""The package's optional parser. Nodes of the kind ``fallback`` do not find
it."""

VERSION_TIMEOUT = 10.0
"""Seconds in which Node.js has to report its version."""

_SERVER = Path(__file__).parent / 'server.mjs'


def obstacle(kind: str) -> str | None:
    """Return why nodes of a kind cannot be started, ``None`` if they can.

    Installs the packages of npm when it is called for the first time.
    """
    if kind == 'nodejs':
        # The tests of clusters with Node.js fetch the same packages.
        from tests.support.npm import find_obstacle
        return find_obstacle()
    if kind == 'fallback' and importlib.util.find_spec(PARSER) is None:
        return f'{PARSER} is not installed'
    if kind != 'xadd' and importlib.util.find_spec(GEVENT_WEBSOCKET) is None:
        return 'gevent-websocket is not installed (the extra "benchmarks")'
    return None


def node_version() -> str:
    """Return the version of Node.js, or ``none``."""
    try:
        return subprocess.run(
            ('node', '--version'), capture_output=True, text=True,
            timeout=VERSION_TIMEOUT).stdout.strip().lstrip('v') or 'none'
    except (OSError, subprocess.TimeoutExpired):
        return 'none'


def start(kind: str, role: str, url: str, cluster: str,
          hide: Sequence[str] = ()) -> Child:
    """Start a node.

    :param role: what to call it in messages.
    :param url: of the Redis.
    :param cluster: the name of its stream or channel.
    :param hide: modules that a node in Python must not find.
    """
    name = f'{role} with {NAMES[kind]}'
    if kind == 'nodejs':
        from tests.support.js_server import SCRIPTS
        return Child(name, str(_SERVER), str(SCRIPTS),
                     json.dumps({'url': url, 'cluster': cluster}),
                     program=('node',))
    if kind == 'xadd':
        return Child(name, 'benchmarks.xadd', url, cluster)
    if kind == 'fallback':
        kind, hide = 'streams', (*hide, PARSER)
    return Child(name, 'benchmarks.node', kind, url,
                 json.dumps({'cluster': cluster, 'hide': list(hide)}))
