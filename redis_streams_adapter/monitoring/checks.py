"""What the health checks over HTTP answer.

============ ===================================== =======================
path         answers                               code
============ ===================================== =======================
``/livez``   that the process answers              200
``/readyz``  whether new clients may come here     200, or 503 before the
                                                   join and from the
                                                   beginning of the close
``/healthz`` what ``manager.health()`` says        200
============ ===================================== =======================

The body is a JSON object. Its ``status`` is ``starting``, ``ok``,
``degraded`` or ``closing``.

An answer takes no step that may wait: it reads what the tasks of the manager
know already, and neither starts nor joins anything. So Redis may be frozen.

A server that cannot reach Redis is *ready* and ``degraded``. Its clients stay
connected, get the events of their own server (with recovery, later) and need
no other server. All servers use the same Redis: if an outage made them
unready, a load balancer would have none left, and would refuse clients that
can be served.
"""
import json
from http import HTTPStatus
from typing import Any, Dict, List, NamedTuple, Tuple

from ..runtime.lifecycle import STARTING
from ..stream.masking import hide_logins
from .source import find_manager, state_of

LIVE, READY, HEALTH = 'livez', 'readyz', 'healthz'

#: The names of the checks, which are the last parts of their paths.
CHECKS = (LIVE, READY, HEALTH)

#: The methods that get an answer other than 405.
METHODS = ('GET', 'HEAD')

#: For people who find that a server never becomes ready.
HINT = 'call start() of the manager when the process starts'


class Answer(NamedTuple):
    """An answer to a check."""

    code: HTTPStatus
    headers: List[Tuple[str, str]]
    body: bytes

    @property
    def status(self) -> str:
        """The status line of WSGI."""
        return f'{self.code.value} {self.code.phrase}'


def paths(prefix: str) -> Dict[str, str]:
    """The check at each path.

    :param prefix: what the paths begin with: ``'/internal'``, for example.
    """
    parts = prefix.strip('/')
    start = f'/{parts}/' if parts else '/'
    return {start + check: check for check in CHECKS}


class Checks:
    """Answers the checks of one manager. It has no state of its own.

    :param source: see :func:`~redis_streams_adapter.monitoring.source.\
find_manager`.
    :param strict: whether ``readyz`` answers 503, too, while ``degraded``.
    :param details: whether ``healthz`` answers with all of
                    ``manager.health()``.
    """

    def __init__(self, source: Any, strict: bool = False,
                 details: bool = False) -> None:
        self._find = find_manager(source)
        self._strict = strict
        self._details = details

    def answer(self, check: str, method: str) -> Answer:
        """The answer to a request. Never waits.

        :param check: one of :data:`CHECKS`.
        :param method: of the request.
        """
        if method not in METHODS:
            return _answer(HTTPStatus.METHOD_NOT_ALLOWED, {
                'error': 'method not allowed'}, method, ('Allow', 'GET, HEAD'))
        if check == LIVE:
            return _answer(HTTPStatus.OK, {'status': 'ok'}, method)
        state = state_of(self._find())
        if check == HEALTH:
            shown = _without_login(state) if self._details \
                else {'status': state['status']}
            return _answer(HTTPStatus.OK, shown, method)
        status = state['status']
        ready = status == 'ok' or status == 'degraded' and not self._strict
        body = {'status': status}
        if status == STARTING:
            body['hint'] = HINT
        return _answer(HTTPStatus.OK if ready
                       else HTTPStatus.SERVICE_UNAVAILABLE, body, method)


def _without_login(value: Any) -> Any:
    """Errors are not known to quote a URL; this is the second line of
    defence."""
    if isinstance(value, str):
        return hide_logins(value)
    if isinstance(value, dict):
        return {name: _without_login(each) for name, each in value.items()}
    return value


def _answer(code: HTTPStatus, content: Dict[str, Any], method: str,
            *headers: Tuple[str, str]) -> Answer:
    body = json.dumps(content).encode() + b'\n'
    return Answer(code, [
        ('Content-Type', 'application/json'),
        ('Content-Length', str(len(body))),
        # An answer of a cache would be about another moment.
        ('Cache-Control', 'no-store'), *headers],
        b'' if method == 'HEAD' else body)
