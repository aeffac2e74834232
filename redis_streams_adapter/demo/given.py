"""The Redis that the demo uses: checks it, and removes the demo's stream."""
from __future__ import annotations

from typing import Any

from .errors import DemoError
from ..stream.masking import hide_secrets, shown
from .redis_url import plain


class GivenRedis:
    """A running Redis, reached in the same way as the manager reaches it.

    :param url: as the manager takes it.
    :param stream: the key of this run's stream.
    """

    def __init__(self, url: str, stream: str) -> None:
        self._url = url
        self._stream = stream

    def check(self) -> tuple[str, str]:
        """Return the product and its version, as in ``Redis``, ``7.0.15``.

        Raises :class:`DemoError`, a line that says why it cannot be used.
        """
        try:
            info = self._command('INFO', 'server').decode('utf-8', 'replace')
        except Exception as exc:
            # redis-py, valkey and the socket module each have errors of
            # their own, and what is wrong with a URL is a ValueError.
            reason = hide_secrets(str(exc) or type(exc).__name__, self._url)
            raise DemoError(f'no Redis to use at {shown(self._url)}: '
                            f'{reason}') from exc
        fields = dict(line.partition(':')[::2] for line in info.splitlines())
        # Valkey calls itself Redis 7.2.4, too, for old clients.
        if 'valkey_version' in fields:
            return 'Valkey', fields['valkey_version']
        return 'Redis', fields.get('redis_version', 'of unknown version')

    def delete_stream(self) -> None:
        """Remove the stream of this run.

        Raises :class:`DemoError` if that fails.
        """
        try:
            self._command('DEL', self._stream)
        except Exception as exc:
            reason = hide_secrets(str(exc) or type(exc).__name__, self._url)
            raise DemoError(f'the stream {self._stream} could not be '
                            f'deleted: {reason}') from exc

    def cut_connections(self) -> int:
        """End all other connections to this server; return how many.

        Raises :class:`DemoError` if that fails.
        """
        try:
            # Those that publish and read are "normal", those that listen to
            # channels "pubsub". This one is a normal one, and is skipped.
            return sum(int(self._command('CLIENT', 'KILL', 'TYPE', kind))
                       for kind in ('normal', 'pubsub'))
        except Exception as exc:
            reason = hide_secrets(str(exc) or type(exc).__name__, self._url)
            raise DemoError(f'the connections could not be cut: {reason}'
                            ) from exc

    def _command(self, *command: str) -> Any:
        # Through the package's own way of connecting, so that every scheme
        # of the manager is one of the demo, and a cluster is asked for the
        # server that has the stream.
        from ..stream.driver import open_driver
        driver = open_driver(plain(self._url), {}, self._stream)
        connection = driver.make(driver.socket_timeout, self._stream)
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            connection.disconnect()
