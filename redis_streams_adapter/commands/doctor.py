"""``doctor``: looks for what is wrong with Redis, the stream and the servers.

Nothing is changed. Exit status 1 if there is something to do.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator
import time

from . import checks
from .clock import offset_of
from .findings import Finding, FINDING, unknown
from .lag import measure
from .observed import recent_entries, Seen, servers_in
from .output import Column, Output
from .place import Place
from .reading import Redis, Refused
from .rights import check_rights

HELP = 'look for what is wrong with Redis, the stream and the servers'

COLUMNS = [Column('check'), Column('status'), Column('text', 'what, and '
                                                     'what to do')]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        '--user', metavar='NAME',
        help='check the rights of this user of Redis, if the servers have '
        'another one than the URL')


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    with Redis(place.driver) as redis:
        # Together: the table of a terminal needs the widths of all.
        results = list(_examine(redis, place, given.user))
    output.table([each.record() for each in results], COLUMNS, '')
    return int(any(each.status == FINDING for each in results))


def _examine(redis: Redis, place: Place, user: str | None,
             ) -> Iterator[Finding]:
    yield from checks.check_server(redis, place)
    yield from check_rights(redis, place, user)
    try:
        measured = [measure(redis, place, each) for each in place.streams]
    except Refused as exc:
        yield unknown('stream', f'its length is not known ({exc}): give the '
                      'user of this command +xlen, +xrange and +xrevrange')
    else:
        yield from checks.check_length(place, measured)
        yield from checks.check_memory(redis, place, measured)
        yield from checks.check_names(redis, place.options)
    servers: list[Seen] = []
    now = time.time() + offset_of(redis, place.streams[0])
    try:
        for stream in place.streams:
            servers += servers_in(recent_entries(redis, stream, now))
    except Refused as exc:
        yield unknown('heartbeats', f'the stream cannot be read ({exc}): '
                      'give the user of this command +xrevrange')
    else:
        now = time.time() + offset_of(redis, place.streams[0])
        yield from checks.check_heartbeats(servers, place.options, now)
        yield from checks.check_generations(redis, servers, place)
    yield from checks.check_installed()
