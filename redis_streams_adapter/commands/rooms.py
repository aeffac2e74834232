"""``rooms``: how many clients are in each room of a namespace."""
from __future__ import annotations

import argparse

from .asking import Answer, observing
from .output import Column, number, Output
from .place import as_count, Place

HELP = 'count the clients in each room of a namespace'

COLUMNS = [Column('room'), Column('clients', '', number, True)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        '--limit', metavar='N', type=as_count,
        help='only so many rooms, those with the most clients')


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    namespace = place.namespace or '/'
    with observing(place) as observer:
        answer = Answer(lambda: observer.room_counts(
            namespace, timeout=place.timeout))
    if answer.error is None:
        # A count without all servers would be wrong, not just short.
        rooms = sorted(answer.values.items(),
                       key=lambda each: (-each[1], str(each[0])))
        output.table(
            [{'room': room, 'clients': count}
             for room, count in rooms[:given.limit]], COLUMNS,
            f'no client of the namespace {namespace} is in a room')
    return answer.end(output)
