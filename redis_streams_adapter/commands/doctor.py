"""``doctor``: looks for what is wrong with Redis, the stream and the servers.

Nothing is changed. The servers are asked for their options, which writes a
question and their answers to the stream, unless ``--passive`` is given. Exit
status 1 if there is something to do.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator
import time

from . import checks
from .clock import offset_of
from .differences import check_options
from .findings import Finding, FINDING, unknown
from .lag import measure
from .observed import Seen, servers_in
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
    parser.add_argument(
        '--passive', action='store_true',
        help='only read: do not ask the servers for their options')


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    with Redis(place.driver) as redis:
        # Together: the table of a terminal needs the widths of all.
        results = list(_examine(redis, place, given.user, given.passive))
    output.table([each.record() for each in results], COLUMNS, '')
    return int(any(each.status == FINDING for each in results))


def _examine(redis: Redis, place: Place, user: str | None, passive: bool,
             ) -> Iterator[Finding]:
    yield from checks.check_server(redis, place)
    yield from check_rights(redis, place, user)
    try:
        measured = [measure(redis, place, each) for each in place.streams]
    except Refused as exc:
        yield unknown('stream', f'its length is not known ({exc}): give the '
                      'user of this command +xinfo|stream and +xrevrange')
    else:
        yield from checks.check_length(place, measured)
        yield from checks.check_memory(redis, place, measured)
        yield from checks.check_names(redis, place.options)
    servers: list[Seen] = []
    now = time.time() + offset_of(redis, place.streams[0])
    try:
        for stream in place.streams:
            servers += servers_in(redis, stream, now)
    except Refused as exc:
        yield unknown('heartbeats', f'the stream cannot be read ({exc}): '
                      'give the user of this command +xrevrange')
    else:
        now = time.time() + offset_of(redis, place.streams[0])
        yield from checks.check_heartbeats(servers, place, now)
        yield from checks.check_generations(redis, servers, place)
        if not passive and any(
                each.is_python and each.lives and not each.closed
                for each in servers):
            yield from check_options(place)
    yield from checks.check_installed()
