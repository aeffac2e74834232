"""One node: python-socketio under gevent's WSGI server.

Run as ``python -m benchmarks.node MANAGER URL``. It serves on a free port of
127.0.0.1 and obeys the commands ``port``, ``cpu``, ``burst``, ``pace``,
``live``, ``hush`` and ``counts``.
"""
from gevent import monkey

monkey.patch_all()

import itertools  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from typing import Any  # noqa: E402
from urllib.parse import parse_qs  # noqa: E402

import gevent  # noqa: E402
import gevent.os  # noqa: E402
import socketio  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402

from . import channel, payload  # noqa: E402


BACKLOG = 2048
"""Connections that may wait to be accepted: as many as gunicorn has."""


def make_manager(kind: str, url: str) -> socketio.PubSubManager:
    """Return the manager, all options by their defaults.

    :param kind: ``redis``, ``streams``; or ``plain`` and ``recovery``, the
                 latter with connection state recovery. These two have a
                 stream each, so that they do not hear one another.
    """
    if kind == 'redis':
        return socketio.RedisManager(url)
    from redis_streams_adapter import RedisStreamsManager
    if kind == 'streams':
        return RedisStreamsManager(url)
    return RedisStreamsManager(
        url, stream_name=kind,
        connection_state_recovery=True if kind == 'recovery' else None)


def commands() -> Iterator[dict[str, Any]]:
    """Yield the commands of the parent until it closes its end."""
    gevent.os.make_nonblocking(0)
    rest = b''
    while True:
        data = gevent.os.nb_read(0, channel.READ_SIZE)
        if not data:
            return
        *lines, rest = (rest + data).split(b'\n')
        yield from map(json.loads, lines)


class Node:
    """A server, and what the parent can have it do."""
    def __init__(self, kind: str, url: str) -> None:
        self.sio = socketio.Server(async_mode='gevent',
                                   client_manager=make_manager(kind, url))
        self.sio.on('connect', self.on_connect)
        self.http = WSGIServer(('127.0.0.1', 0), socketio.WSGIApp(self.sio),
                               log=None, backlog=BACKLOG)
        self.lively = False

    def on_connect(self, sid: str, environ: dict[str, Any]) -> None:
        """Put the client in the room that its URL names, if any."""
        query = parse_qs(environ.get('QUERY_STRING', ''))
        for room in query.get('room', []):
            self.sio.enter_room(sid, room)

    def burst(self, to: str, first: int, count: int, greenlets: int = 1,
              marker_to: str | None = None) -> None:
        """Emit ``count`` messages as fast as ``emit`` returns.

        :param first: number of the first message. Numbers are taken in the
                      order of the emits, whichever greenlet makes them.
        :param marker_to: whom to send one more message when all are out.
        """
        numbers = iter(range(first, first + count))
        shares = [count // greenlets + (i < count % greenlets)
                  for i in range(greenlets)]
        emit, make = self.sio.emit, payload.make

        def emitter(share: int) -> None:
            for number in itertools.islice(numbers, share):
                emit(payload.EVENT, make(number), to=to)

        cpu = time.process_time()
        started = time.monotonic_ns()
        if greenlets == 1:
            emitter(count)
        else:
            gevent.joinall([gevent.spawn(emitter, share)
                            for share in shares], raise_error=True)
        if marker_to is not None:
            emit(payload.EVENT, make(first + count), to=marker_to)
        ended = time.monotonic_ns()
        channel.answer(cpu=cpu, started=started, ended=ended)

    def pace(self, to: str | None, first: int, count: int,
             rate: float) -> None:
        """Emit ``count`` messages, ``rate`` of them in a second.

        :param to: where ``None``, keep the pace and emit nothing: what the
                   pace itself costs is the sender's CPU as well.
        """
        cpu = time.process_time()
        started = time.monotonic_ns()
        begin = time.monotonic()
        for i in range(count):
            delay = begin + i / rate - time.monotonic()
            if delay > 0:
                gevent.sleep(delay)
            data = payload.make(first + i)
            if to is not None:
                self.sio.emit(payload.EVENT, data, to=to)
        ended = time.monotonic_ns()
        channel.answer(cpu=cpu, started=started, ended=ended)

    def live(self, to: str, first: int, rate: float) -> None:
        """Answer, and go on emitting, ``rate`` messages in a second, until
        told to ``hush``, which is answered with how many there were."""
        self.lively = True
        channel.answer()
        begin, count = time.monotonic(), 0
        while self.lively:
            self.sio.emit(payload.EVENT, payload.make(first + count), to=to)
            count += 1
            gevent.sleep(max(0.0, begin + count / rate - time.monotonic()))
        channel.answer(count=count)

    def run(self) -> None:
        """Serve and obey until the parent closes its end."""
        self.http.start()
        for command in commands():
            name = command.pop('command')
            if name == 'port':
                channel.answer(port=self.http.server_port)
            elif name == 'cpu':
                channel.answer(cpu=time.process_time())
            elif name == 'burst':
                gevent.spawn(self.obey, self.burst, command)
            elif name == 'pace':
                gevent.spawn(self.obey, self.pace, command)
            elif name == 'live':
                gevent.spawn(self.obey, self.live, command)
            elif name == 'hush':
                self.lively = False
            elif name == 'counts':
                # Of clients that were not recovered, by reason.
                channel.answer(counts={
                    name: count for name, count
                    in self.sio.manager.stats().items()
                    if name.startswith('not_recovered') and count})
            else:
                channel.answer(error=f'unknown command {name!r}')
        self.http.stop(timeout=0)

    @staticmethod
    def obey(work: Any, arguments: dict[str, Any]) -> None:
        """Run the command and answer it, also where it fails."""
        try:
            work(**arguments)
        except Exception as exc:
            channel.answer(error=f'{type(exc).__name__}: {exc}')


if __name__ == '__main__':
    # Thousands of clients are more than most shells allow.
    resource.setrlimit(resource.RLIMIT_NOFILE,
                       (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    Node(*sys.argv[1:]).run()
