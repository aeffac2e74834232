"""Which metrics a server has, and where their values come from.

:func:`samples` makes them of the dictionaries that ``manager.stats()`` and
``manager.health()`` return, and of nothing else. So they can be those of this
process, or of another one that has sent them. :data:`HISTOGRAMS` are made of
``manager.latencies()``. What is known of a server besides, if it was asked by
``cluster_stats()``, is in :data:`SERVER_METRICS`, and what is known of the
cluster and its streams in :data:`CLUSTER_METRICS` and :data:`STREAM_METRICS`.

Every name begins with :data:`PREFIX`. Counters end in ``_total``; times are in
seconds, sizes in bytes. ``docs/monitoring.rst`` says what each means and what
to do; a test compares the names with that page.

Labels have few values, all known here or chosen by the operator. A sid, a room
or the text of an error is never one.
"""
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, \
    Optional, Sequence, Tuple

from ..recovery.session import REASONS

PREFIX = 'redis_streams_adapter_'

COUNTER, GAUGE = 'counter', 'gauge'

#: What ``stats()`` and ``health()`` return.
Values = Mapping[str, Any]

#: A value with the values of the metric's labels.
Reading = Tuple[Tuple[str, ...], float]


class Metric(NamedTuple):
    """A metric.

    :param text: what it is, in one sentence.
    :param read: the readings, given ``stats()`` and ``health()``. Empty: the
                 value is not known, or the server does not have it.
    :param labels: the names of its own labels.
    """

    name: str
    kind: str
    text: str
    read: Callable[[Values, Values], List[Reading]]
    labels: Tuple[str, ...] = ()


class Histogram(NamedTuple):
    """A histogram.

    :param key: where it is in ``latencies()``.
    """

    name: str
    key: str
    text: str


class Sample(NamedTuple):
    """The value of a metric."""

    metric: Metric
    labels: Dict[str, str]
    value: float


def _one(value: Any) -> List[Reading]:
    # Another server, perhaps of another version, may have sent anything.
    return [((), float(value))] if isinstance(value, (int, float)) else []


def _counter(name: str, key: str, text: str) -> Metric:
    """A counter that ``stats()`` has under this key."""
    return Metric(f'{PREFIX}{name}_total', COUNTER, text,
                  lambda stats, health: _one(stats.get(key)))


def _gauge(name: str, text: str,
           read: Callable[[Values, Values], Optional[float]]) -> Metric:
    return Metric(PREFIX + name, GAUGE, text,
                  lambda stats, health: _one(read(stats, health)))


def _joined(health: Values) -> bool:
    return health.get('status') in ('ok', 'degraded')


def _outage(stats: Values, health: Values) -> Optional[float]:
    if 'outage' not in health:
        return None
    return health['outage'] or 0.0


def _restarts(stats: Values, health: Values) -> List[Reading]:
    return [((task,), float(stats[f'{task}_restarts']))
            for task in ('reader', 'writer') if f'{task}_restarts' in stats]


def _recoveries(stats: Values, health: Values) -> List[Reading]:
    keys = {'recovered': 'recovered', **{
        reason: 'not_recovered_' + reason.replace('-', '_')
        for reason in REASONS}}
    return [((result,), float(stats[key]))
            for result, key in keys.items() if key in stats]


#: All metrics, in the order of the documentation.
METRICS = (
    _gauge('ready', 'Whether the server is a member of the cluster and '
           'accepts clients, as /readyz has it: 1 or 0.',
           lambda stats, health: _joined(health)),
    _gauge('degraded', 'Whether something that the server needs does not '
           'work now: 1 or 0.',
           lambda stats, health: health.get('status') == 'degraded'),
    _gauge('redis_connected', 'Whether Redis can be read and written: 1 or '
           '0.', lambda stats, health: health.get('connected')),
    _gauge('redis_outage_seconds', 'For how long Redis has been away; 0: it '
           'is not.', _outage),
    _counter('redis_outages', 'outages', 'Outages of Redis.'),
    _gauge('nodes', 'How many servers of the cluster this one knows, itself '
           'included.', lambda stats, health: health.get('nodes')),
    _gauge('reader_lag_seconds', 'By how much the reader lags behind the '
           'stream.', lambda stats, health: health.get('reader_lag')),
    _gauge('outbox_entries', 'Entries that wait to be sent to Redis.',
           lambda stats, health: stats.get('outbox')),
    _gauge('outbox_bytes', 'The memory of the entries that wait.',
           lambda stats, health: stats.get('outbox_bytes')),
    _counter('entries_sent', 'sent', 'Entries that Redis stored.'),
    _counter('batches_sent', 'batches', 'The batches that they were sent '
             'in.'),
    _counter('entries_received', 'received', 'Entries that were read from '
             'the stream.'),
    _counter('packets_delivered', 'delivered', 'Packets to local clients.'),
    _counter('messages_lost', 'messages_lost', 'Messages of other servers '
             'that never reached this one.'),
    _counter('entries_trimmed', 'entries_trimmed', 'Entries that were '
             'trimmed before this server read them.'),
    _counter('streams_deleted', 'streams_deleted', 'How often a stream was '
             'found deleted.'),
    _counter('stream_setbacks', 'stream_setbacks', 'How often a stream ended '
             'before the last position that was read.'),
    _counter('messages_vanished', 'messages_vanished', 'Messages of this '
             'server that are gone although Redis had stored them.'),
    _counter('entries_evicted', 'entries_evicted', 'Entries that this server '
             'trimmed early because the memory of Redis was full.'),
    _counter('entries_refused', 'refused', 'Entries that Redis refused for '
             'good.'),
    _counter('entries_malformed', 'malformed', 'Entries and PUB/SUB messages '
             'that were not valid.'),
    _counter('entries_failed', 'failed', 'Entries over which an error '
             'struck.'),
    _counter('entries_duplicate', 'duplicates', 'Copies of entries, which '
             'were dropped.'),
    _counter('entries_found_after_break', 'found_after_break', 'Entries that '
             'Redis had stored although the connection broke before its '
             'reply.'),
    _counter('requests_dropped', 'requests_dropped', 'Requests and answers '
             'that were not sent, or not known to be.'),
    Metric(f'{PREFIX}task_restarts_total', COUNTER, 'Restarts of a task '
           'after an error, by task.', _restarts, ('task',)),
    _counter('task_deaths', 'task_deaths', 'How often a task ended without '
             'being asked to.'),
    _counter('task_stalls', 'stalls', 'How often a task had work and made no '
             'progress.'),
    _gauge('stalled_tasks', 'Tasks that have ended, or have work and make no '
           'progress.', lambda stats, health: len(health['stalled'])
           if isinstance(health.get('stalled'), list) else None),
    _gauge('sessions', 'Sessions of local clients that are kept for '
           'recovery.', lambda stats, health: stats.get('sessions')),
    Metric(f'{PREFIX}recoveries_total', COUNTER, 'Clients that came back, by '
           'result: recovered, or the reason why not.', _recoveries,
           ('result',)),
)


HISTOGRAMS = (
    Histogram(f'{PREFIX}outbox_seconds', 'outbox', 'Time of entries in the '
              'outbox, until Redis had stored them.'),
    Histogram(f'{PREFIX}delivery_seconds', 'delivery', 'Time of entries from '
              'the stream to the queues of local clients.'),
)


def _known(name: str, key: str, text: str) -> Metric:
    """A gauge that the first mapping has under this key."""
    return _gauge(name, text, lambda values, health: values.get(key))


def _info(node: Values, health: Values) -> List[Reading]:
    known = (node.get(name) for name in ('language', 'version', 'pid'))
    return [(tuple('' if each is None else str(each) for each in known), 1.0)]


def _namespaces(node: Values, health: Values) -> Optional[float]:
    names = node.get('namespaces')
    return None if names is None else len(names)


#: Of one server, asked from elsewhere: a ``NodeStats`` as a mapping.
SERVER_METRICS = (
    Metric(f'{PREFIX}server_info', GAUGE, 'What the server is; always 1.',
           _info, ('language', 'version', 'process')),
    _known('server_last_seen_seconds', 'last_seen', 'How long ago the server '
           'was last heard of in a stream.'),
    _known('server_uptime_seconds', 'uptime', 'For how long the server has '
           'been in the cluster.'),
    _known('server_clients', 'clients', 'Clients of the server; a client of '
           'two namespaces counts twice.'),
    _known('server_rooms', 'rooms', 'Rooms that its clients are in.'),
    _gauge('server_namespaces', 'Namespaces that the server serves.',
           _namespaces),
    _known('server_memory_bytes', 'memory', 'Resident memory of its process.'),
    _counter('server_cpu_seconds', 'cpu_seconds', 'For how long its process '
             'has used a processor.'),
)

#: Of the whole cluster.
CLUSTER_METRICS = (
    _known('cluster_complete', 'complete', 'Whether Redis was reached and all '
           'servers have answered: 1 or 0.'),
    _known('cluster_servers', 'servers', 'Servers that are known.'),
    _known('cluster_servers_missing', 'missing', 'Servers that have not '
           'answered in time.'),
)

#: Of one stream: what the command ``lag`` shows, as a mapping.
STREAM_METRICS = (
    _known('stream_entries', 'length', 'Entries in the stream.'),
    _known('stream_bytes', 'bytes', 'What the stream takes in the memory of '
           'Redis.'),
    _known('stream_span_seconds', 'span', 'The age of its oldest entry.'),
    _counter('stream_entries_added', 'added', 'Entries that were ever added '
             'to the stream; not known with Redis 6.2.'),
    _known('stream_away_seconds', 'away', 'For how long a server may be away '
           'from Redis and still miss nothing.'),
)


def samples(stats: Values, health: Values, labels: Mapping[str, str],
            metrics: Sequence[Metric] = METRICS) -> Iterator[Sample]:
    """The samples of one server.

    :param stats: what ``manager.stats()`` returned. What is missing in it has
                  no sample.
    :param health: what ``manager.health()`` returned, or for a server that
                   has not joined, or is closing, only another ``status``.
    :param labels: those of the server, in front of the metrics' own:
                   ``stream``, or ``node`` and ``host``.
    :param metrics: which metrics. For others than :data:`METRICS`, ``stats``
                    is the mapping that they are made of.
    """
    for metric in metrics:
        for values, value in metric.read(stats, health):
            yield Sample(metric, {**labels, **dict(
                zip(metric.labels, values))}, value)
