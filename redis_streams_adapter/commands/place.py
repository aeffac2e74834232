"""Which Redis, which stream, which namespace: the options that all commands
share.
"""
from __future__ import annotations

import argparse
from collections.abc import Mapping
import os
from typing import Any, NamedTuple

from ..configuration import from_arguments
from ..errors import ConfigurationError
from ..options import Options
from ..protocol.routing import stream_index, stream_names
from ..stream.driver import Driver, open_driver
from ..streams_url import resolve
from .errors import UsageError

#: The variables of the environment that may hold the URL, the first one first.
VARIABLES = ('REDIS_STREAMS_URL', 'REDIS_URL')

#: How long a command waits for Redis and for answers by default, in seconds.
TIMEOUT = 5.0

#: No timeout is above this: a day, in seconds.
LONGEST = 86_400.0


class Place(NamedTuple):
    """The cluster that a command is about.

    :param url: as it was given. It may hold a password.
    :param arguments: with these and the URL, a manager is made.
    :param options: what they say.
    :param driver: how to connect.
    :param namespace: as it was given; ``None``: it was not.
    :param timeout: seconds.
    """

    url: str
    arguments: Mapping[str, Any]
    options: Options
    driver: Driver
    namespace: str | None
    timeout: float

    @property
    def streams(self) -> list[str]:
        """The keys of the streams: that of the namespace, or all."""
        names = stream_names(
            self.options.stream_name, self.options.stream_count)
        if self.namespace is None:
            return names
        return [names[stream_index(self.namespace, len(names))]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all commands share."""
    group = parser.add_argument_group('options of all commands')
    group.add_argument(
        '--url', metavar='URL', type=as_url,
        help='the Redis of the cluster, as the manager takes it; the scheme '
        'redis+streams:// may have options of the manager in its query. '
        'Default: the environment variable REDIS_STREAMS_URL, then '
        'REDIS_URL. A URL on the command line is seen by every user of the '
        'machine: put one with a password into the environment')
    group.add_argument(
        '--stream', metavar='NAME', type=_name,
        help='the stream_name of the servers (default: socket.io)')
    group.add_argument(
        '--namespace', metavar='NAME', type=_namespace,
        help='the namespace (default: /; tail, lag and sessions: all)')
    group.add_argument(
        '--json', action='store_true',
        help='print one JSON object a line')
    group.add_argument(
        '--timeout', metavar='SECONDS', type=as_seconds, default=TIMEOUT,
        help='how long to wait for Redis, and for answers (default: '
        '%(default)g)')


def url_of(given: argparse.Namespace) -> str:
    """The URL that was given, or that of the environment.

    :raises UsageError: there is none, or it is no URL.
    """
    if given.url is not None:
        return str(given.url)
    for variable in VARIABLES:
        url = os.environ.get(variable)
        if url:
            if '://' not in url:
                # Without the text, which may contain a password.
                raise UsageError(
                    f'the environment variable {variable} must be a URL, '
                    'such as redis://localhost:6379/0')
            return url
    raise UsageError(
        'no Redis is named: give --url redis://localhost:6379/0, or set the '
        'environment variable REDIS_STREAMS_URL or REDIS_URL')


def place_of(given: argparse.Namespace, url: str) -> Place:
    """What the options say.

    :raises UsageError: one of them is wrong.
    """
    arguments = {} if given.stream is None else {'stream_name': given.stream}
    try:
        found = resolve({'url': url, 'unknown': {}, **arguments})
        options = from_arguments(found)
        driver = open_driver(
            found['url'], {'socket_timeout': given.timeout,
                           'socket_connect_timeout': given.timeout},
            options.stream_name)
    except ConfigurationError as exc:
        raise UsageError(str(exc)) from None
    return Place(url, arguments, options, driver, given.namespace,
                 given.timeout)


def as_url(text: str) -> str:
    """A URL among the arguments."""
    if '://' not in text:
        # Without the text, which may contain a password.
        raise argparse.ArgumentTypeError(
            'must be a URL, such as redis://localhost:6379/0')
    return text


def as_seconds(text: str) -> float:
    """A time among the arguments."""
    seconds = float(text)
    if not 0 < seconds < float('inf'):
        raise argparse.ArgumentTypeError('must be above 0')
    return min(seconds, LONGEST)


def as_count(text: str) -> int:
    """A number of things among the arguments."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError('must be 1 or more')
    return number


def as_port(text: str) -> int:
    """A port among the arguments; 0: a free one."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise argparse.ArgumentTypeError('must be from 0 to 65535')
    return number


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError('must not be empty')
    return text


def _namespace(text: str) -> str:
    # As clients name it. A shell under Windows makes a path of it.
    if not text.startswith('/'):
        raise argparse.ArgumentTypeError(
            f'must begin with a slash, such as /{text}')
    return text
