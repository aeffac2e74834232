"""``call``: sends an event to every server, and shows their responses."""
from __future__ import annotations

import argparse

from .asking import Answer, observing
from .emit import add_values
from .output import as_json, Output
from .place import Place

HELP = 'send an event to every server, and show their responses'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        'event', help='the name of the event, as in on_server_side()')
    add_values(parser)


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    with observing(place) as observer:
        answer = Answer(lambda: observer.server_side_call(
            given.event, *given.arguments, namespace=place.namespace or '/',
            timeout=place.timeout))
    for each in answer.values:
        if output.as_json:
            output.object({'response': each})
        else:
            output.line(as_json(each))
    if not answer.values and answer.error is None:
        output.note('there are no servers')
    return answer.end(output)
