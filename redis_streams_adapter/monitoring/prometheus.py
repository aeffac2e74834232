"""The metrics of one process, for Prometheus::

    from prometheus_client import REGISTRY
    from redis_streams_adapter.monitoring.prometheus import StreamsCollector

    REGISTRY.register(StreamsCollector(manager))

They are read when Prometheus asks for them. In between, and in an application
without a collector, they cost nothing. Needs the extra ``prometheus``.
"""
from typing import Any, Dict, Iterable, Iterator, Mapping, NamedTuple, \
    Optional, Sequence

from ..errors import ConfigurationError
from ..manager import RedisStreamsManager
from .metrics import COUNTER, Histogram, HISTOGRAMS, Metric, METRICS, \
    samples, Values
from ..stream.latency import INFINITE, SUM
from .source import find_manager, state_of

try:
    from prometheus_client.metrics_core import CounterMetricFamily, \
        GaugeMetricFamily, HistogramMetricFamily, Metric as Family
    from prometheus_client.registry import Collector
except ImportError as exc:
    raise ImportError(
        "prometheus_client is not installed: pip install "
        "'redis-streams-adapter[prometheus]'") from exc


class Report(NamedTuple):
    """The state of one server, or of something else that has metrics.

    :param stats: what its ``stats()`` returned.
    :param health: what its ``health()`` returned, see
                   :func:`~redis_streams_adapter.monitoring.metrics.samples`.
    :param labels: those of the server. All reports have the same names.
    :param metrics: which metrics.
    :param latencies: what its ``latencies()`` returned.
    """

    stats: Values
    health: Values
    labels: Mapping[str, str]
    metrics: Sequence[Metric] = METRICS
    latencies: Values = {}


def families(reports: Iterable[Report],
             names: Sequence[str]) -> Iterator[Family]:
    """All metrics of some servers, in Prometheus' form. Those without a sample
    are left out.

    :param names: the names of the servers' labels.
    """
    found: Dict[str, Family] = {}
    for report in reports:
        for sample in samples(*report[:4]):
            metric = sample.metric
            if metric.name not in found:
                found[metric.name] = _family(metric, names)
            # The type is ignored: the base class of the families lacks it.
            found[metric.name].add_metric(  # type: ignore[attr-defined]
                [sample.labels[name] for name in (*names, *metric.labels)],
                sample.value)
        for histogram in HISTOGRAMS:
            values = report.latencies.get(histogram.key, {})
            # Another version may have other buckets, but not without these.
            if SUM in values and INFINITE in values:
                if histogram.name not in found:
                    found[histogram.name] = _histogram(histogram, names)
                # As above.
                found[histogram.name].add_metric(  # type: ignore[attr-defined]
                    [report.labels[name] for name in names],
                    [(name, value) for name, value in values.items()
                     if name != SUM], values[SUM])
    return iter(found.values())


def _histogram(histogram: Histogram, names: Sequence[str]) -> Family:
    return HistogramMetricFamily(
        histogram.name, histogram.text, labels=list(names))


def _family(metric: Metric, names: Sequence[str]) -> Family:
    kind = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
    # It takes the "_total" of a counter off, and puts it back.
    return kind(metric.name, metric.text, labels=[*names, *metric.labels])


class StreamsCollector(Collector):
    """Collects the metrics of managers in this process. Reading them waits
    neither for Redis nor for another server, and starts nothing.

    :param sources: managers; servers that have one; objects of
                    Flask-SocketIO. Each has a stream of its own: its name is
                    the label ``stream``.
    :param labels: further labels, the same for all samples.
    :raises ConfigurationError: there is no source, it has no
        ``RedisStreamsManager``, or two managers have one stream.
    """

    def __init__(self, *sources: Any,
                 labels: Optional[Mapping[str, str]] = None) -> None:
        self._sources = [find_manager(source) for source in sources]
        self._labels = dict(labels or {})
        self._names = tuple(dict.fromkeys([*self._labels, 'stream']))
        streams = [manager.channel for manager in self._managers()]
        if not sources or len(set(streams)) < len(streams):
            raise ConfigurationError(
                'a StreamsCollector needs managers, each with another stream: '
                'Prometheus could not tell their samples apart')

    def _managers(self) -> Iterator[RedisStreamsManager]:
        for find in self._sources:
            manager = find()
            if manager is not None:
                yield manager

    def _report(self, manager: RedisStreamsManager) -> Report:
        health = state_of(manager)
        # Without these, stats() would make what a member needs.
        member = 'connected' in health
        return Report(manager.stats() if member else {}, health,
                      {**self._labels, 'stream': manager.channel},
                      latencies=manager.latencies() if member else {})

    def describe(self) -> Iterator[Family]:
        """The metrics without samples, for a registry that looks for names
        which it has already."""
        yield from (_family(metric, self._names) for metric in METRICS)
        yield from (_histogram(each, self._names) for each in HISTOGRAMS)

    def collect(self) -> Iterator[Family]:
        """The metrics as they are now."""
        return families(map(self._report, self._managers()), self._names)
