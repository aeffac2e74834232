"""``lag``: how far back the stream goes, and so how long a server may be cut
off from Redis without missing entries.

A stream that has been trimmed keeps about as many entries as it has now. One
that has not keeps ``max_len`` of them. Divided by the rate at which they come,
that is the time for which they are kept. ``retention`` keeps them for longer.
"""
from __future__ import annotations

import argparse
import time
from typing import Any

from ..protocol.position import Position
from ..protocol.transport import Ends
from .clock import offset_of
from .history import ends, Latest
from .output import Column, number, Output, seconds, size
from .place import Place
from .reading import Redis

HELP = 'how far back the stream goes, and how long a server may be away'

#: The rate of now is that of the last so many seconds, or of the last so many
#: entries, whichever are fewer.
RECENT, RECENT_ENTRIES = 60.0, 1_000

COLUMNS = [
    Column('stream'), Column('length', 'entries', number, True),
    Column('span', '', seconds, True),
    Column('bytes', 'memory', size, True),
    Column('rate', 'rate/s', number, True),
    Column('recent_rate', 'rate now/s', number, True),
    Column('away', 'away at most', seconds, True)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    with Redis(place.driver) as redis:
        records = [measure(redis, place, each) for each in place.streams]
    output.table(records, COLUMNS, 'there is no stream')
    if not any(each['length'] for each in records):
        # One of several may be empty: no namespace belongs to it.
        for each in records:
            output.note(f'the stream {each["stream"]} is empty: no server '
                        'writes to it; check --stream and --url')
    return 0


def measure(redis: Redis, place: Place, stream: str,
            recent: bool = True) -> dict[str, Any]:
    """Measure a stream.

    :param recent: whether to find out the rate of now, for which up to 1,000
                   entries are read.
    :raises Unavailable: Redis cannot be reached, or does not permit it.
    """
    now = time.time() + offset_of(redis, stream)
    found = ends(redis, stream)
    length, first = found.length, found.first_id
    memory, = redis.ask_all([(stream, (b'MEMORY', b'USAGE',
                                       stream.encode()))])
    span = rate = recent_rate = None
    if first is not None:
        begin, end = (each.milliseconds / 1000
                      for each in (first, found.last_id))
        span = max(0.0, now - begin)
        if length > 1 and end > begin:
            # Until now, so that a stream at rest gets a low rate.
            rate = length / max(span, 0.001)
        if recent:
            recent_rate = _recent_rate(redis, stream, now)
    record = {
        'stream': stream, 'length': length, 'span': span,
        'bytes': None if isinstance(memory, Exception) else memory or 0,
        'rate': rate, 'recent_rate': recent_rate, 'added': found.added,
        'max_len': place.options.max_len,
        'retention': place.options.retention,
        'trimmed': _is_trimmed(found, place.options.max_len or 0)}
    record['away'] = away(record)
    return {name: round(value, 3) if isinstance(value, float) else value
            for name, value in record.items()}


def _recent_rate(redis: Redis, stream: str, now: float) -> float:
    """The rate of the entries that have come lately."""
    begin = Position(max(0, int((now - RECENT) * 1000)))
    # From the newest on, so that a burst counts.
    count, moment = 0, now - RECENT
    read = Latest(redis, stream, begin, RECENT_ENTRIES)
    for entry in read:
        count, moment = count + 1, entry.id.milliseconds / 1000
    if read.is_all:
        return count / RECENT
    return count / max(now - moment, 0.001)


def _is_trimmed(found: Ends, max_len: int) -> bool:
    """Whether entries have been trimmed."""
    # Redis 6.2 does not count them.
    return found.length >= max_len if found.added is None \
        else found.added > found.length


def away(record: dict[str, Any]) -> float | None:
    """For how many seconds a server may be away from now on; ``None``: it is
    not known, because nothing comes."""
    rate = max(record['rate'] or 0.0, record['recent_rate'] or 0.0)
    if not rate:
        return None
    kept = record['length'] if record['trimmed'] else max(
        record['length'], record['max_len'])
    # `max_len` binds `retention`, too.
    retained = min(record['retention'] or 0.0, record['max_len'] / rate)
    return float(max(kept / rate, retained))
