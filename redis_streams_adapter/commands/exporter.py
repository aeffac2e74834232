"""``exporter``: the metrics of the whole cluster for Prometheus, over HTTP.

It waits for nothing at the start: while Redis is away, it says so in the
metrics, and goes on when Redis is back.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import signal
import threading
from typing import Any

from ..stream.masking import hide_secrets
from .errors import CommandError, UsageError
from .lag import measure
from .output import Output
from .place import as_port, Place
from .reading import Redis, Refused, Unavailable

HELP = 'serve the metrics of the whole cluster to Prometheus'

#: The port, as no other exporter has it.
PORT = 9750

#: Only this machine, unless told otherwise.
HOST = '127.0.0.1'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        '--host', metavar='ADDRESS', default=HOST,
        help='the address to listen on; 0.0.0.0: all (default: %(default)s)')
    parser.add_argument(
        '--port', metavar='PORT', type=as_port, default=PORT,
        help='the port to listen on; 0: a free one (default: %(default)s)')


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    try:
        from prometheus_client import CollectorRegistry, start_http_server
        from ..monitoring.cluster import ClusterCollector
    except ImportError:
        raise UsageError(
            "prometheus_client is not installed; run: pip install "
            "'redis-streams-adapter[prometheus]'") from None
    from ..observer import Observer
    registry = CollectorRegistry()
    observer = Observer(place.url, **place.arguments)
    try:
        observer.start()
        registry.register(ClusterCollector(
            observer, place.options.stream_name, place.timeout,
            Streams(place, output).measure))
        try:
            server, thread = start_http_server(
                given.port, given.host, registry)
        except OSError as exc:
            raise CommandError(
                f'cannot listen on {given.host}, port {given.port}: '
                f'{exc.strerror or exc}; choose another one by --host and '
                '--port') from exc
        with _until_signal() as ended:
            output.line(f'metrics: http://{_shown(given.host)}:'
                        f'{server.server_port}/metrics')
            ended.wait()
        server.shutdown()
        server.server_close()
        thread.join(place.timeout)
    finally:
        observer.close(place.timeout)
    return 0


class Streams:
    """Measures the streams. One task at a time uses it.

    :param output: gets a note when Redis cannot be used any more, and one
                   when it can again.
    """

    def __init__(self, place: Place, output: Output) -> None:
        self._place = place
        self._output = output
        self._is_away = False

    def measure(self) -> Sequence[dict[str, Any]] | None:
        """What is known of each stream; ``None``: Redis cannot be reached.

        What it refuses to say is missing.
        """
        try:
            with Redis(self._place.driver) as redis:
                redis.check()
                found = list(self._measured(redis))
        except Unavailable as exc:
            if not self._is_away:
                self._is_away = True
                self._output.note('Redis cannot be used: ' + hide_secrets(
                    str(exc), self._place.url))
            return None
        if self._is_away:
            self._is_away = False
            self._output.note('Redis is back')
        return found

    def _measured(self, redis: Redis) -> Iterator[dict[str, Any]]:
        for each in self._place.streams:
            try:
                yield measure(redis, self._place, each, recent=False)
            except Refused:
                # The user may not; doctor says so. The servers can be asked.
                continue


@contextmanager
def _until_signal() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set."""
    ended = threading.Event()
    before = {each: signal.signal(each, lambda *_: ended.set())
              for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _shown(host: str) -> str:
    return f'[{host}]' if ':' in host else host
