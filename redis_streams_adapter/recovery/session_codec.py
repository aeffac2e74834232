"""Sessions as they stand in Redis, within the size that is allowed.

The application's JSON module serialises what the application keeps for a
client, so no lock is held meanwhile.
"""
import base64
import logging
from typing import Any, Callable, Dict

from ..log_events import SESSION_NOT_COPIED
from ..protocol.application import Application
from ..options import RecoveryOptions
from .session import load_session, Session, to_fields
from ..protocol.values import Serialiser

#: How often to try to serialise a session that changes meanwhile.
ATTEMPTS = 3


class SessionCodec:
    """Encodes and decodes sessions. It has no state.

    :param serialiser: encodes what an application keeps.
    :param application: the application that the sessions belong to.
    """

    def __init__(self, options: RecoveryOptions, serialiser: Serialiser,
                 application: Application,
                 logger: Callable[[], logging.Logger]) -> None:
        self._max_bytes = options.max_session_bytes
        self._serialiser = serialiser
        self._application = application
        self._logger = logger

    def check_size(self, data: Any) -> None:
        """Check that what an application keeps for a client can be part of
        its session.

        :raises TypeError: it cannot be serialised.
        :raises ValueError: it is too large, or nested too deeply.
        """
        size = len(self._encode({'data': data}))
        if size > self._max_bytes:
            raise ValueError(
                f'the session takes {size} bytes in Redis, '
                f'max_session_bytes is {self._max_bytes}')

    def _pack(self, fields: Dict[str, Any]) -> bytes:
        for _ in range(ATTEMPTS):
            try:
                return self._serialiser.pack(fields)
            except RecursionError as exc:
                raise ValueError('it is nested too deeply') from exc
            except RuntimeError as exc:
                # A handler changed it meanwhile.
                reason = exc
        raise ValueError(f'it keeps changing ({reason})')

    def _encode(self, fields: Dict[str, Any]) -> bytes:
        return base64.b64encode(self._pack(fields))

    def encode(self, session: Session) -> bytes:
        """A session as it stands in Redis.

        :raises TypeError, ValueError: it is too large, or holds what cannot
                                       be serialised.
        """
        value = self._encode(to_fields(session, self._application))
        if len(value) > self._max_bytes:
            raise ValueError(
                f'it takes {len(value)} bytes, max_session_bytes is '
                f'{self._max_bytes}')
        return value

    def load(self, raw: bytes, pid: str, namespace: str) -> Session:
        """Decode a session that was found in Redis.

        :raises DecodeError: see
            :func:`~redis_streams_adapter.recovery.session.load_session`.
        """
        return load_session(raw, pid, namespace, self._application)

    def copy(self, session: Session) -> Session:
        """A session as another node would find it, which the application
        cannot change; the session itself if it cannot be serialised."""
        try:
            return self.load(self.encode(session), session.pid,
                             session.namespace or '/')
        except Exception as exc:
            # The application's objects and JSON module may raise anything.
            self._logger().debug(
                'a session cannot be copied: %r', exc,
                extra=SESSION_NOT_COPIED(
                    namespace=session.namespace, sid=session.sid,
                    reason=repr(exc)))
            return session
