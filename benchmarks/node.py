"""One node: python-socketio under gevent's WSGI server.

Run as ``python -m benchmarks.node MANAGER URL [OPTIONS]``; the options are
those of :class:`Options`, in JSON. It serves on a free port of 127.0.0.1. Each
method ``do_<name>`` of :class:`Node` is a command of the parent's; each
``work_<name>`` is one that runs in a greenlet of its own.
"""
from gevent import monkey

monkey.patch_all()

import itertools  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from typing import Any  # noqa: E402
from urllib.parse import parse_qs  # noqa: E402

import gevent  # noqa: E402
import gevent.os  # noqa: E402
import socketio  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402

from . import channel, payload  # noqa: E402


BACKLOG = 2048
"""Connections that may wait to be accepted, as many as with gunicorn."""


@dataclass(frozen=True)
class Options:
    """What the parent decides besides the manager.

    :param cluster: the name of the stream or channel: nodes of different
                    clusters do not hear each other.
    :param hide: modules that the node must not find, such as
                 ``geventwebsocket``, or an optional parser.
    """
    cluster: str = ''
    hide: Sequence[str] = ()


def make_manager(kind: str, url: str, cluster: str) -> socketio.PubSubManager:
    """Return the manager, with default options apart from the name of the
    cluster.

    :param kind: ``redis``; ``streams`` or ``plain``; or ``recovery``, with
                 connection state recovery.
    """
    if kind == 'redis':
        return socketio.RedisManager(url, channel=cluster or 'socketio')
    from redis_streams_adapter import RedisStreamsManager
    return RedisStreamsManager(
        url, stream_name=cluster or kind,
        connection_state_recovery=True if kind == 'recovery' else None)


def handler() -> dict[str, Any]:
    """Return the arguments with which the HTTP server serves WebSockets."""
    try:
        from geventwebsocket.handler import WebSocketHandler
    except ImportError:
        return {}  # then Engine.IO uses simple-websocket
    return {'handler_class': WebSocketHandler}


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


def maker(binary: bool) -> Callable[..., str | bytes]:
    """Return what makes the data of a message."""
    return payload.make_binary if binary else payload.make


class Node:
    """A server, and the commands that it executes for the parent."""
    def __init__(self, kind: str, url: str, options: str = '{}') -> None:
        settings = Options(**json.loads(options))
        for name in settings.hide:
            sys.modules[name] = None  # type: ignore[assignment]
        self.sio = socketio.Server(
            async_mode='gevent', client_manager=make_manager(
                kind, url, settings.cluster))
        self.sio.on('connect', self.on_connect)
        self.http = WSGIServer(('127.0.0.1', 0), socketio.WSGIApp(self.sio),
                               log=None, backlog=BACKLOG, **handler())
        self.live = False

    def on_connect(self, sid: str, environ: dict[str, Any]) -> None:
        """Put the client in the room that its URL names, if any."""
        query = parse_qs(environ.get('QUERY_STRING', ''))
        for room in query.get('room', []):
            self.sio.enter_room(sid, room)

    def work_burst(self, to: str, first: int, count: int,
                   greenlets: int = 1, marker_to: str | None = None,
                   size: int = payload.SIZE,
                   binary: bool = False) -> dict[str, Any]:
        """Emit ``count`` messages as fast as ``emit`` returns.

        :param first: number of the first message. Numbers are taken in the
                      order of the emits, whichever greenlet makes them.
        :param marker_to: a room or sid to which one more message goes when
                          all are out.
        :param size: characters of a message.
        :param binary: send them as bytes.
        """
        numbers = iter(range(first, first + count))
        shares = [count // greenlets + (i < count % greenlets)
                  for i in range(greenlets)]
        emit, make = self.sio.emit, maker(binary)

        def emitter(share: int) -> None:
            for number in itertools.islice(numbers, share):
                emit(payload.EVENT, make(number, size), to=to)

        cpu = time.process_time()
        started = time.monotonic_ns()
        if greenlets == 1:
            emitter(count)
        else:
            gevent.joinall([gevent.spawn(emitter, share)
                            for share in shares], raise_error=True)
        if marker_to is not None:
            emit(payload.EVENT, make(first + count, size), to=marker_to)
        ended = time.monotonic_ns()
        return {'cpu': cpu, 'started': started, 'ended': ended}

    def work_pace(self, to: str | None, first: int, count: int,
                  rate: float, size: int = payload.SIZE,
                  binary: bool = False) -> dict[str, Any]:
        """Emit ``count`` messages, ``rate`` of them in a second.

        If an ``emit`` takes so long that the next message is late, its
        latency counts from when it was due. Otherwise a manager whose
        ``emit`` waits for Redis would hide that wait.

        :param to: if ``None``, keep the pace and emit nothing: what the pace
                   itself costs is part of the sender's CPU.
        """
        make = maker(binary)
        cpu = time.process_time()
        started = time.monotonic_ns()
        for i in range(count):
            due: int | None = started + int(i / rate * 1e9)
            delay = (due - time.monotonic_ns()) / 1e9
            if delay > 0:
                gevent.sleep(delay)
                due = None
            data = make(first + i, size, due)
            if to is not None:
                self.sio.emit(payload.EVENT, data, to=to)
        ended = time.monotonic_ns()
        return {'cpu': cpu, 'started': started, 'ended': ended}

    def work_live(self, to: str, first: int,
                  rate: float) -> dict[str, Any]:
        """Answer, and go on emitting, ``rate`` messages in a second, until
        ``stop_live``, which is answered with how many there were."""
        self.live = True
        channel.answer()
        begin, count = time.monotonic(), 0
        while self.live:
            self.sio.emit(payload.EVENT, payload.make(first + count), to=to)
            count += 1
            gevent.sleep(max(0.0, begin + count / rate - time.monotonic()))
        return {'count': count}

    def do_port(self) -> dict[str, Any]:
        return {'port': self.http.server_port}

    def do_cpu(self) -> dict[str, Any]:
        return {'cpu': time.process_time()}

    def do_serve(self, count: int) -> dict[str, Any]:
        """Serve this many namespaces more."""
        for number in range(count):
            self.sio.on('connect', self.on_connect, f'/namespace{number}')
        return {}

    def do_counts(self) -> dict[str, Any]:
        """Answer how many clients were not recovered, by reason."""
        return {'counts': {
            name: count for name, count in self.sio.manager.stats().items()
            if name.startswith('not_recovered') and count}}

    def do_stop_live(self) -> None:
        """End ``live``, which answers."""
        self.live = False

    def run(self) -> None:
        """Serve, and execute commands, until the parent closes its end."""
        self.http.start()
        for command in commands():
            name = command.pop('command')
            if hasattr(self, f'work_{name}'):
                gevent.spawn(self.execute, getattr(self, f'work_{name}'),
                             command)
            else:
                self.execute(getattr(self, f'do_{name}'), command)
        self.http.stop(timeout=0)

    @staticmethod
    def execute(work: Any, arguments: dict[str, Any]) -> None:
        """Run the command and answer it, even if it fails."""
        try:
            answer = work(**arguments)
        except Exception as exc:
            answer = {'error': f'{type(exc).__name__}: {exc}'}
        if answer is not None:
            channel.answer(**answer)


def many_files() -> None:
    """Allow as many connections as the system does: thousands of clients
    are more than most shells allow."""
    resource.setrlimit(resource.RLIMIT_NOFILE,
                       (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


if __name__ == '__main__':
    many_files()
    Node(*sys.argv[1:]).run()
