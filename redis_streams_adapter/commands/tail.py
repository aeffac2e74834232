"""``tail``: shows the entries of the stream as they come.

It only reads, with XREAD, and is seen by no server. Nothing that it asks waits
in Redis, so it works with proxies that refuse blocking commands, too.
"""
from __future__ import annotations

import argparse
import json
import re
import time

from ..errors import DecodeError
from ..protocol.position import Position, START
from ..protocol.transport import Entry
from .clock import offset_of, wait
from .entries import CHOICES, record_of
from .history import ends, History
from .output import names, number, Output, Record, seconds
from .place import as_count, Place
from .reading import Redis, Refused, Unavailable

HELP = 'show the entries of the stream as they come'

#: Seconds between two reads at the end of the stream.
INTERVAL = 0.2

#: Seconds between two attempts to reach Redis.
RETRY = 0.5

_AGE = re.compile(r'(\d+(?:\.\d+)?)(ms|s|min|m|h|d)')
_UNITS = {'ms': 0.001, 's': 1.0, 'min': 60.0, 'm': 60.0, 'h': 3600.0,
          'd': 86400.0}

#: The end of the stream when the command starts, and its beginning.
END, BEGINNING = 'end', 'start'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        '--from', dest='begin', metavar='WHERE', type=_begin, default=END,
        help="from where on: 'end' (the default), 'start', the id of an "
        "entry (that one is the first), or an age such as 30s, 5min or 2h")
    parser.add_argument(
        '--kind', action='append', choices=CHOICES, metavar='KIND',
        help=f'only such entries, may be repeated: {", ".join(CHOICES)}')
    parser.add_argument(
        '--node', metavar='UID',
        help='only entries of this server: its uid, or how that begins')
    parser.add_argument(
        '--data', action='store_true',
        help='show the payload, too; it may be confidential')
    parser.add_argument(
        '--count', metavar='N', type=as_count,
        help='end after so many entries were shown')
    parser.add_argument(
        '--no-follow', action='store_true',
        help='end at the end of the stream')


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    with Redis(place.driver) as redis:
        tail = Tail(given, place, output, redis)
        try:
            tail.follow()
        except KeyboardInterrupt:
            # How one ends it.
            return 0
    return 0


class Tail:
    """Reads the streams, one page of each in turn."""

    def __init__(self, given: argparse.Namespace, place: Place,
                 output: Output, redis: Redis) -> None:
        self._given = given
        self._namespace = place.namespace
        self._output = output
        self._redis = redis
        self._ahead = offset_of(redis, place.streams[0])
        self._histories = {stream: History(redis, stream)
                           for stream in place.streams}
        #: The position after which to read on, by stream.
        self._cursors = {stream: self._start(stream, given.begin)
                         for stream in place.streams}
        #: Where to end, by stream; ``None``: nowhere.
        self._ends = {stream: self._last(stream) for stream in place.streams} \
            if given.no_follow else None
        self._shown = 0
        #: Whether Redis has ever permitted it.
        self._has_read = False
        #: Since when Redis has been away; ``None``: it is there.
        self._away: float | None = None

    def follow(self) -> None:
        """Show entries until it is time to end.

        :raises Refused: Redis does not permit to read.
        """
        self._head()
        while True:
            try:
                found = [history.page(self._cursors[stream])
                         for stream, history in self._histories.items()]
            except Unavailable as exc:
                if isinstance(exc, Refused) and not self._has_read:
                    raise
                self._note_outage(exc)
                wait(RETRY)
                continue
            self._has_read = True
            if self._away is not None:
                self._note_return()
            for stream, entries in zip(self._cursors, found):
                for entry in entries:
                    if self._is_past(stream, entry):
                        break
                    self._cursors[stream] = entry.id
                    self._show(stream, entry)
                    if self._given.count == self._shown:
                        return
            if self._ends is not None and not any(
                    entries and not self._is_past(stream, entries[-1])
                    for stream, entries in zip(self._cursors, found)):
                return
            if not any(each.pages.full for each in self._histories.values()):
                wait(INTERVAL)

    def _start(self, stream: str, begin: str) -> Position:
        """The position after which to begin."""
        if begin == END:
            return self._last(stream)
        if begin == BEGINNING:
            return START
        age = _AGE.fullmatch(begin)
        if age:
            moment = time.time() + self._ahead \
                - float(age[1]) * _UNITS[age[2]]
            position = Position(max(0, int(moment * 1000)))
        else:
            position = Position.parse(_whole(begin))
        return position.before()

    def _last(self, stream: str) -> Position:
        """The position of the last entry."""
        return ends(self._redis, stream).last_id

    def _is_past(self, stream: str, entry: Entry) -> bool:
        return self._ends is not None and entry.id > self._ends[stream]

    # -- what is shown ----------------------------------------------------

    def _head(self) -> None:
        if not self._output.as_json:
            self._output.line(f'{"ID":<20} {"AGE":>8} {"NODE":<16} '
                              f'{"KIND":<25} {"SIZE":>7} NAMESPACE ROOMS')

    def _show(self, stream: str, entry: Entry) -> None:
        given = self._given
        record = record_of(stream, bytes(entry.id), entry.fields,
                           time.time() + self._ahead, given.data)
        if self._namespace is not None \
                and record['namespace'] not in (None, self._namespace) \
                or given.kind and record['kind'] not in given.kind \
                or given.node and not (record['node'] or '').startswith(
                    given.node):
            return
        self._shown += 1
        if self._output.as_json:
            self._output.object(record)
        else:
            self._output.line(_line(record))

    def _note_outage(self, reason: Exception) -> None:
        if self._away is None:
            self._away = time.monotonic()
            # The reason may name the server, never the URL.
            self._output.note(f'Redis is away ({reason}); going on when it '
                              'is back')

    def _note_return(self) -> None:
        lasted = time.monotonic() - (self._away or 0.0)
        self._away = None
        self._output.note(f'Redis is back after {seconds(lasted)}')
        for stream in self._cursors:
            # If Redis has lost the stream, ids may begin again below.
            try:
                last = self._last(stream)
            except Unavailable:
                return
            if last < self._cursors[stream]:
                self._output.note(
                    f'the stream {stream} ends before the last entry that '
                    'was shown: Redis has lost entries')
                self._cursors[stream] = last


def _line(record: Record) -> str:
    age, rooms = record['age'], names(record['rooms'])
    if record['except']:
        rooms += f' except {names(record["except"])}'
    if 'error' in record:
        rooms = record['error']
    text = (f'{record["id"]:<20} {"-" if age is None else seconds(age):>8} '
            f'{record["node"] or "-":<16} {record["kind"]:<25} '
            f'{number(record["size"]):>7} {record["namespace"] or "-":<9} '
            f'{rooms}')
    if record.get('data') is not None:
        # Not as_json(): people read their own script.
        text += ' ' + json.dumps(record['data'], ensure_ascii=False,
                                 default=lambda value: f'<{len(value)} bytes>')
    return text


def _whole(text: str) -> bytes:
    return (text if '-' in text else text + '-0').encode()


def _begin(text: str) -> str:
    if text in (END, BEGINNING) or _AGE.fullmatch(text):
        return text
    try:
        Position.parse(_whole(text))
    except (DecodeError, UnicodeError):
        raise argparse.ArgumentTypeError(
            "must be 'end', 'start', the id of an entry, or an age such as "
            '30s, 5min or 2h') from None
    return text
