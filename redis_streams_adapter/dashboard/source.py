"""Asks the servers and Redis, once for all viewers.

The servers are asked through an observer, Redis over one connection of its
own. While Redis is away the servers are not asked: no answer could come.
"""
from __future__ import annotations

from collections.abc import Mapping
import time
from typing import Any, TYPE_CHECKING

from ..commands.asking import Answer
from ..commands.clock import offset_of
from ..commands.place import Place
from ..commands.reading import pairs, Redis, Unavailable
from ..configuration import from_arguments
from ..errors import RedisStreamsError
from ..protocol.position import Position
from ..stream.driver import open_driver
from ..stream.masking import hide_logins, hide_secrets, shown
from ..streams_url import resolve
from .snapshot import label, losses_of, number, Rates, recoveries_of, \
    Row, row_of, text, top_rooms, totals
from .timeline import Timeline

if TYPE_CHECKING:
    from ..observer import Observer

#: How long answers are waited for, in seconds.
TIMEOUT = 5.0

#: Seconds until a Redis that does not answer counts as away.
REDIS_TIMEOUT = 2.0

#: Rooms are counted no more often than this, in seconds: each server goes
#: through all its clients for it.
ROOMS_INTERVAL = 5.0

#: How many rooms are shown, those with the most clients.
ROOMS = 50


def place_of(url: Any, stream_name: str,
             options: Mapping[str, Any]) -> Place:
    """Where to look.

    :param options: further options of an observer.
    :raises ConfigurationError: one of them is unknown or wrong.
    """
    arguments = {'stream_name': stream_name, **options}
    given = resolve({'url': url, 'unknown': {}, **arguments})
    chosen = from_arguments(given)
    driver = open_driver(
        given['url'], {'socket_timeout': REDIS_TIMEOUT,
                       'socket_connect_timeout': REDIS_TIMEOUT,
                       **(options.get('redis_options') or {})},
        chosen.stream_name)
    return Place(url, arguments, chosen, driver, None, TIMEOUT)


class Source:
    """A cluster. One task uses it at a time."""

    def __init__(self, place: Place, namespace: str) -> None:
        self._place = place
        self._namespace = namespace
        self._redis: Redis | None = None
        self._observer: Observer | None = None
        self._rates = Rates()
        self._stream_rates = Rates()
        self._timeline = Timeline()
        #: The last count of rooms, and when it was made.
        self._rooms: tuple[float, dict[str, Any] | None] = (0.0, None)

    @property
    def about(self) -> dict[str, Any]:
        """What it looks at, fit to be shown."""
        url = self._place.url
        return {'redis': shown(url) if isinstance(url, str)
                else type(url).__name__,
                'streams': self._place.streams, 'namespace': self._namespace}

    def close(self) -> None:
        """End all connections. The next look makes new ones."""
        observer, self._observer = self._observer, None
        redis, self._redis = self._redis, None
        try:
            if observer is not None:
                observer.close(0)
        finally:
            if redis is not None:
                redis.__exit__()

    def look(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Ask once. Never raises an error of Redis: it is shown.

        :return: the point for the charts, and the state.
        """
        streams, problem = self._ask_redis()
        now = time.time()
        self._timeline.redis(now, problem)
        rows: list[Row] = []
        missing: list[str] = []
        found: dict[str, Any] = {}
        if problem is None:
            rows, missing, found, problem = self._ask_servers(now)
        point = {'time': round(now, 3), **self._sums(streams)}
        if streams:
            point.update(totals(rows))
        return point, {
            'time': round(now, 3), 'problem': problem, 'missing': missing,
            'streams': streams, 'servers': rows, 'rooms': self._rooms[1],
            'events': self._timeline.view(), **found}

    def _masked(self, error: Exception) -> str:
        words = str(error)
        if isinstance(self._place.url, str):
            words = hide_secrets(words, self._place.url)
        return text(hide_logins(words)) or type(error).__name__

    # -- Redis ----------------------------------------------------------------

    def _ask_redis(self) -> tuple[list[dict[str, Any]], str | None]:
        """The streams; and why Redis cannot be used."""
        if self._redis is None:
            self._redis = Redis(self._place.driver)
        try:
            return [self._measure(self._redis, each)
                    for each in self._place.streams], None
        except Unavailable as exc:
            return [], self._masked(exc)

    def _measure(self, redis: Redis, stream: str) -> dict[str, Any]:
        """Measure a stream, with few and small questions.

        :raises Unavailable: Redis cannot be reached.
        """
        key = stream.encode()
        length, memory, info = redis.ask_all([
            (stream, (b'XLEN', key)),
            (stream, (b'MEMORY', b'USAGE', key)),
            (stream, (b'XINFO', b'STREAM', key))])
        known = {} if isinstance(info, Exception) else pairs(info)
        now = time.time() + offset_of(redis, stream)
        first = known.get(b'first-entry')
        # Redis 6.2 does not count them.
        added = known.get(b'entries-added')
        rate = self._stream_rates.add(
            stream, time.monotonic(), {'rate': added})['rate']
        return {
            'stream': stream,
            'length': None if isinstance(length, Exception) else length,
            'span': None if not first else round(max(0.0, now - Position.parse(
                first[0]).milliseconds / 1000), 3),
            'memory': None if isinstance(memory, Exception) else memory or 0,
            'rate': rate}

    @staticmethod
    def _sums(streams: list[dict[str, Any]]) -> dict[str, Any]:
        """One number for all streams, for the charts."""
        sums: dict[str, Any] = {}
        for name in ('length', 'rate', 'memory'):
            known = [each[name] for each in streams if each[name] is not None]
            sums[name] = round(sum(known), 2) if known else None
        # For as long a server may miss one of them.
        spans = [each['span'] for each in streams if each['span'] is not None]
        sums['span'] = min(spans) if spans else None
        return sums

    # -- servers --------------------------------------------------------------

    def _ask_servers(self, now: float) -> tuple[
            list[dict[str, Any]], list[str], dict[str, Any], str | None]:
        """The rows of the servers, those that are missing, what is known of
        all together, and what is wrong."""
        if self._observer is None:
            from ..observer import Observer
            self._observer = Observer(
                self._place.url, **self._place.arguments)
        observer = self._observer
        try:
            answer = Answer(lambda: observer.cluster_stats(TIMEOUT))
            if answer.error is None:
                # Or it would take another timeout.
                self._count_rooms(observer)
        except (RedisStreamsError, OSError) as exc:
            return [], [], {}, self._masked(exc)
        nodes = sorted(answer.values, key=lambda each: (
            each.host or '', each.pid or 0, each.uid))
        clock = time.monotonic()
        rows = [row_of(each, self._rates, clock) for each in nodes]
        self._rates.keep(each.uid for each in nodes)
        stats = {each.uid: each.stats for each in nodes if each.stats}
        names = {each['uid']: label(each) for each in rows}
        for each in nodes:
            if each.health:
                self._timeline.health(names[each.uid], now, each.health)
        self._timeline.servers(now, names, stats, answer.error is None)
        losses: dict[str, int] = {}
        for figures in stats.values():
            for kind, count in losses_of(figures).items():
                losses[kind] = losses.get(kind, 0) + count
        missing = [] if answer.error is None else list(answer.error.missing)
        return rows, missing, {
            'losses': losses, 'recoveries': recoveries_of(stats.values()),
        }, None if answer.error is None else self._masked(answer.error)

    def _count_rooms(self, observer: Observer) -> None:
        now = time.monotonic()
        at, before = self._rooms
        if before is not None and now - at < ROOMS_INTERVAL:
            return
        answer = Answer(lambda: observer.room_counts(
            self._namespace, timeout=TIMEOUT))
        # A count without all servers would be wrong.
        self._rooms = (now, None if answer.error is not None else {
            'count': len(answer.values),
            'largest': top_rooms(answer.values, ROOMS)})


def seconds(value: Any) -> float:
    """The interval.

    :raises ValueError: it is none.
    """
    found = number(value)
    if found is None or found <= 0:
        raise ValueError('must be above 0 seconds')
    return float(found)
