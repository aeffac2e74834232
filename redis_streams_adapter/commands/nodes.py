"""``nodes``: the servers of a namespace."""
from __future__ import annotations

import argparse
import time
from typing import Any

from .asking import Answer, observing
from .clock import wait
from .output import Column, Output, seconds
from .place import Place

#: Seconds between two looks at who is known.
INTERVAL = 0.1

HELP = 'list the servers of a namespace'

COLUMNS = [Column('uid'), Column('language'), Column('host'),
           Column('pid', 'process', str, True),
           Column('last_seen', '', seconds, True)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    namespace = place.namespace or '/'
    with observing(place) as observer:
        deadline = time.monotonic() + place.timeout
        answer = Answer(lambda: observer.nodes(namespace))
        while answer.error is not None and time.monotonic() < deadline:
            # The members are not all known yet.
            wait(INTERVAL)
            answer = Answer(lambda: observer.nodes(namespace))
    return answer.show(
        output, [_record(each) for each in answer.values], COLUMNS,
        f'no server serves the namespace {namespace}')


def _record(node: Any) -> dict[str, Any]:
    record = dict(node._asdict())
    record['last_seen'] = round(record['last_seen'], 3)
    return record
