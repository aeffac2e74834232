"""``stats``: how every server of the cluster is."""
from __future__ import annotations

import argparse
from typing import Any

from ..losses import COUNTERS
from .asking import Answer, observing
from .output import Column, number, Output, seconds, size
from .place import Place

HELP = 'show how every server of the cluster is'

#: What of its figures and of its health is shown to people.
FIGURES = ('sent', 'received', 'delivered', 'malformed', 'outages')
HEALTH = ('status', 'reader_lag', 'outbox', 'last_error')

COLUMNS = [
    Column('uid'), Column('language'), Column('host'),
    Column('pid', 'process', str, True), Column('version'),
    Column('uptime', '', seconds, True), Column('status'),
    Column('clients', '', number, True), Column('rooms', '', number, True),
    Column('memory', '', size, True),
    Column('reader_lag', 'lag', seconds, True),
    Column('outbox', '', number, True), Column('sent', '', number, True),
    Column('received', '', number, True),
    Column('delivered', '', number, True), Column('lost', '', number, True)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    with observing(place) as observer:
        answer = Answer(lambda: observer.cluster_stats(place.timeout))
    nodes = sorted(answer.values, key=lambda each: (
        each.host or '', each.pid or 0, each.uid))
    return answer.show(
        output, [dict(each._asdict()) if output.as_json else flat(each)
                 for each in nodes], COLUMNS, 'there are no servers')


def flat(node: Any) -> dict[str, Any]:
    """The state of a server as one row."""
    figures, health = node.stats or {}, node.health or {}
    record = {**node._asdict(),
              **{name: figures.get(name) for name in FIGURES},
              **{name: health.get(name) for name in HEALTH},
              'lost': lost(figures) if figures else None}
    for name in 'stats', 'health', 'namespaces', 'latencies', 'options':
        del record[name]
    return record


def lost(figures: Any) -> int:
    """How many losses of all kinds a server has counted."""
    return int(sum(figures.get(each, 0) for each in COUNTERS.values()))
