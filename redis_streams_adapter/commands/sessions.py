"""``sessions``: the sessions of clients that may come back.

A session's key holds its pid, the secret with which a client gets its session
back. Neither the key nor the pid leaves this module.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
import time
from typing import Any

from ..errors import DecodeError
from ..protocol.application import Application
from ..recovery.session import load_session
from ..protocol.values import load_base64
from ..stream.connection import Connection, Refused
from .output import Column, names, number, Output, seconds, size
from .place import as_count, Place
from .reading import Redis

HELP = 'list the sessions of clients that may come back'

#: How many keys Redis looks at in one SCAN, and how many sessions are read at
#: once. Redis does nothing else meanwhile.
SCAN, PAGE = 1_000, 50

#: How many sessions are listed by default.
LIMIT = 100

COLUMNS = [
    Column('sid'), Column('namespace'), Column('ttl', '', seconds, True),
    Column('idle', '', seconds, True), Column('size', '', size, True),
    Column('rooms', '', names)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        '--limit', metavar='N', type=as_count, default=LIMIT,
        help='list no more than so many; all are counted (default: '
        '%(default)s)')


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    found = Sessions(place, given.limit)
    with Redis(place.driver) as redis:
        for link in redis.masters():
            found.scan(link)
    summary = found.summary()
    if output.as_json:
        for each in found.listed:
            output.object({'type': 'session', **each})
        output.object({'type': 'summary', **summary})
    else:
        output.table(found.listed, COLUMNS, 'there are no sessions')
        output.line(f'{number(summary["sessions"])} sessions of '
                    f'{size(summary["bytes"])}, '
                    f'{number(summary["listed"])} listed')
    if not summary['complete']:
        output.note(f'not all keys were looked at in {place.timeout:g} s: '
                    'there may be more; raise --timeout')
        return 1
    return 0


class Sessions:
    """Looks for sessions until its time is over."""

    def __init__(self, place: Place, limit: int) -> None:
        options, recovery = place.options, place.options.recovery
        self._prefix = options.session_key_prefix.encode()
        self._application = Application(
            options.stream_name, place.driver.database)
        self._namespace = place.namespace
        #: The longest TTL; ``None``: it is not known.
        self._ttl = None if recovery is None \
            else recovery.max_disconnection_duration
        self._limit = limit
        self._deadline = time.monotonic() + place.timeout
        #: SCAN may give a key twice.
        self._seen: set[bytes] = set()
        self.listed: list[dict[str, Any]] = []
        self._count = self._bytes = self._unreadable = 0
        self._complete = True

    def summary(self) -> dict[str, Any]:
        """What there is altogether."""
        return {'sessions': self._count, 'bytes': self._bytes,
                'listed': len(self.listed),
                'unreadable': self._unreadable, 'complete': self._complete}

    def scan(self, link: Connection) -> None:
        """Look for the sessions of one server.

        :raises Unavailable: it cannot be reached, or does not permit it.
        """
        cursor = b'0'
        while time.monotonic() < self._deadline:
            cursor, keys = link.ask(
                b'SCAN', cursor, b'MATCH', _literal(self._prefix) + b'*',
                b'COUNT', b'%d' % SCAN)
            fresh = [each for each in keys if each not in self._seen]
            self._seen.update(fresh)
            for begin in range(0, len(fresh), PAGE):
                self._read(link, fresh[begin:begin + PAGE])
            if cursor == b'0':
                return
        self._complete = False

    def _read(self, link: Connection, keys: Sequence[bytes]) -> None:
        replies = link.exchange([
            command for key in keys
            for command in ((b'GET', key), (b'PTTL', key))])
        for key, raw, ttl in zip(keys, replies[::2], replies[1::2]):
            if isinstance(raw, Exception):
                if str(raw).startswith('WRONGTYPE'):
                    # Another application's key.
                    continue
                # Not its text, which may name the key.
                raise Refused('it does not permit GET of sessions; give the '
                              'user the right to GET and PTTL')
            if raw is not None:
                self._take(key, raw, ttl)

    def _take(self, key: bytes, raw: bytes, ttl: Any) -> None:
        """Note a session."""
        pid = key[len(self._prefix):].decode('utf-8', 'replace')
        try:
            namespace = _namespace_of(raw)
            session = load_session(raw, pid, namespace or '/',
                                   self._application)
        except DecodeError as exc:
            # Others may use the prefix, as other applications do.
            self._unreadable += 'another application' not in str(exc)
            return
        if self._namespace not in (None, namespace):
            return
        self._count += 1
        self._bytes += len(raw)
        if len(self.listed) < self._limit:
            left = ttl / 1000 if isinstance(ttl, int) and ttl >= 0 else None
            self.listed.append({
                'sid': session.sid, 'namespace': namespace,
                'rooms': [each for each in session.rooms
                          if each != session.sid],
                'ttl': left, 'idle': self._idle(left), 'size': len(raw)})

    def _idle(self, left: float | None) -> float | None:
        """How long ago a server last renewed it."""
        if left is None or self._ttl is None:
            return None
        return round(max(0.0, self._ttl - left), 3)


def _namespace_of(raw: bytes) -> str | None:
    """The namespace of a session; ``None``: Node.js wrote it.

    :raises DecodeError: it is no session.
    """
    fields = load_base64(raw)
    name = fields.get('nsp') if isinstance(fields, dict) else None
    return name if isinstance(name, str) else None


def _literal(prefix: bytes) -> bytes:
    """A pattern that only this text matches."""
    return b''.join(b'\\' + bytes([each]) if each in b'*?[]\\^-' else
                    bytes([each]) for each in prefix)
