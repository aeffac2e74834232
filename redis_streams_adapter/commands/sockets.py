"""``sockets``: the clients of a namespace.

What they connected with may be confidential, cookies above all, and so may
what the application keeps of them: both are shown only where asked for.
"""
from __future__ import annotations

import argparse
import time
from typing import Any

from .asking import Answer, observing
from .entries import without_pid
from .output import Column, names, Output, seconds
from .place import Place

HELP = 'list the clients of a namespace'

COLUMNS = [Column('sid'), Column('node', 'server'), Column('address'),
           Column('connected', '', seconds, True),
           Column('rooms', '', names)]
WITH_DATA = [*COLUMNS, Column('data')]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        '--to', metavar='ROOM', action='append',
        help='only those in this room, or with this sid; may be repeated')
    parser.add_argument(
        '--except', dest='skip', metavar='ROOM', action='append',
        help='without those in this room, or with this sid; may be repeated')
    parser.add_argument(
        '--data', action='store_true',
        help='show their sessions, and with --json their handshakes, too; '
        'both may be confidential')


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    namespace = place.namespace or '/'
    with observing(place) as observer:
        answer = Answer(lambda: observer.fetch_sockets(
            namespace, given.to, given.skip, timeout=place.timeout))
    now = time.time()
    return answer.show(
        output, [_record(each, now, given.data) for each in answer.values],
        WITH_DATA if given.data else COLUMNS,
        f'there are no such clients in the namespace {namespace}')


def _record(socket: Any, now: float, with_data: bool) -> dict[str, Any]:
    handshake = socket.handshake
    issued = handshake.get('issued')
    record = {
        'sid': socket.sid, 'node': socket.node,
        'namespace': socket.namespace,
        'address': handshake.get('address'),
        # By the clock of its server.
        'connected': round(max(0.0, now - issued / 1000), 3)
        if isinstance(issued, (int, float)) else None,
        'rooms': [each for each in socket.rooms if each != socket.sid]}
    if with_data:
        record['data'] = socket.data
        record.update(without_pid({'handshake': handshake}))
    return record
