"""``dashboard``: the cluster on a page, live in the browser."""
from __future__ import annotations

import argparse
import os
import secrets

from ..commands.errors import CommandError, UsageError
from ..commands.output import Output
from ..commands.place import as_port, as_seconds, Place

HELP = 'show the cluster on a page, live in the browser'

HOST, PORT = '127.0.0.1', 8787

#: Seconds between two questions.
INTERVAL = 2.0

#: The variable of the environment that may hold the token.
VARIABLE = 'REDIS_STREAMS_DASHBOARD_TOKEN'

#: What stands for a token that is made up.
AUTO = 'auto'

#: The fewest characters of a token: others can try as many as they like.
SHORTEST = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        '--host', metavar='HOST', default=HOST,
        help='where to listen (default: %(default)s, this machine only)')
    parser.add_argument(
        '--port', metavar='PORT', type=as_port, default=PORT,
        help='on which port (default: %(default)d; 0: any)')
    parser.add_argument(
        '--token', metavar='TOKEN',
        help='what viewers have to show; auto: make one up and print it. '
        f'Default: the environment variable {VARIABLE}. Required with a host '
        'that others reach. A token on the command line is seen by every '
        'user of the machine')
    parser.add_argument(
        '--interval', metavar='SECONDS', type=as_seconds, default=INTERVAL,
        help='how often the servers are asked while somebody looks '
        '(default: %(default)g)')


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    # Imported when they are needed: they load much.
    from .app import Dashboard
    from .server import is_loopback, LocalOnly, make_server
    token = token_of(given.token)
    if token is None and not is_loopback(given.host):
        raise UsageError(
            f'others can reach {given.host}: give --token auto, or set the '
            f'environment variable {VARIABLE}')
    dashboard = Dashboard(
        place.url, interval=given.interval, token=token,
        namespace=place.namespace or '/', **place.arguments)
    try:
        server = make_server(
            dashboard if token else LocalOnly(dashboard),
            given.host, given.port)
    except OSError as exc:
        raise CommandError(
            f'cannot listen on port {given.port} of {given.host}: '
            f'{exc.strerror or exc}; choose another one with --port') from exc
    with server:
        _announce(output, server.server_address[:2],
                  token if given.token == AUTO else None)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            # How one ends it.
            return 0
        finally:
            dashboard.close()
    return 0


def token_of(given: str | None) -> str | None:
    """The token.

    :param given: on the command line.
    :raises UsageError: it is too short.
    """
    token = os.environ.get(VARIABLE) if given is None else given
    if given == AUTO:
        return secrets.token_urlsafe(24)
    if given is None and not token:
        return None
    if len(token or '') < SHORTEST:
        raise UsageError(
            f'the token must have {SHORTEST} characters or more, so that '
            'nobody guesses it; --token auto makes one up')
    return token


def _announce(output: Output, address: tuple[object, ...],
              token: str | None) -> None:
    host, port = address
    url = f'http://[{host}]:{port}/' if ':' in str(host) \
        else f'http://{host}:{port}/'
    if token is not None:
        url += f'?token={token}'
    if output.as_json:
        output.object({'url': url})
    else:
        output.line(f'The dashboard is at {url} until Ctrl-C.')
