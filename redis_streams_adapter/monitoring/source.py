"""Where the state of a server comes from."""
from typing import Any, Callable, Dict, Optional

from ..errors import ConfigurationError
from ..manager import RedisStreamsManager
from ..runtime.lifecycle import JOINED, STARTING


def find_manager(source: Any) -> Callable[[], Optional[RedisStreamsManager]]:
    """How to get the manager.

    :param source: the manager; the ``socketio.Server`` that has it; or the
                   ``SocketIO`` of Flask-SocketIO, which may get its server
                   later.
    :return: a function that returns the manager; ``None``: there is no server
             yet.
    :raises ConfigurationError: it has no such manager; so does the function.
    """
    def check(manager: Any) -> RedisStreamsManager:
        if not isinstance(manager, RedisStreamsManager):
            raise ConfigurationError(
                f'a RedisStreamsManager is needed, or a server that has one, '
                f'not {type(manager).__name__}')
        return manager

    def find() -> Optional[RedisStreamsManager]:
        if isinstance(source, RedisStreamsManager):
            return source
        if hasattr(source, 'manager'):
            return check(source.manager)
        if not hasattr(source, 'init_app'):
            return check(source)
        # A SocketIO. init_app() gives it its server.
        return None if source.server is None else check(source.server.manager)

    find()
    return find


def state_of(manager: Optional[RedisStreamsManager]) -> Dict[str, Any]:
    """What ``manager.health()`` says. If the manager has not joined, or is
    closing, only a ``status``: that phase. Never waits, and starts nothing.

    :param manager: ``None``: there is no server yet.
    """
    phase = STARTING if manager is None else manager.phase
    if manager is None or phase != JOINED:
        # health() would make what a member needs.
        return {'status': phase}
    return manager.health()
