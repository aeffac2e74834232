"""The metrics of all servers of a cluster, for Prometheus::

    from prometheus_client import REGISTRY
    from redis_streams_adapter.monitoring.cluster import \\
        ClusterCollector
    from redis_streams_adapter.observer import Observer

    REGISTRY.register(ClusterCollector(Observer(url)))

The servers are asked when Prometheus asks. Needs the extra ``prometheus``.
"""
import threading
import time
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence

from ..cluster.calls import TIMEOUT
from ..errors import ClusterTimeoutError
from ..nodes import NodeStats
from .metrics import CLUSTER_METRICS, Metric, METRICS, SERVER_METRICS, \
    STREAM_METRICS, Values
# It says how to get prometheus_client, if that is missing.
from .prometheus import families, Report

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

#: The labels of a server, of the cluster and of a stream.
SERVER, CLUSTER, STREAM = ('stream', 'node', 'host'), ('stream',), \
    ('stream', 'key')

#: For how long an answer is used again, in seconds. So several Prometheus
#: servers, or a person who reloads the page, cost the cluster no more.
FRESH = 1.0


class ClusterCollector(Collector):
    """Collects the metrics of all servers of a cluster. It waits for their
    answers, up to a timeout; one at a time, in the task that asks.

    A server that has not answered has no samples, and counts in
    ``cluster_servers_missing``. Nor has any if Redis is away.

    :param source: what asks them, and has ``cluster_stats(timeout)``: an
        :class:`~redis_streams_adapter.observer.Observer`, or a manager.
    :param name: the label ``stream`` of all samples: the servers'
                 ``stream_name``. Several streams have a label ``key``
                 besides.
    :param timeout: seconds to wait for the servers. Prometheus waits for 10
                    seconds, unless it is told otherwise.
    :param measure: returns what is known of each stream; ``None``: Redis
                    cannot be reached, and the servers are not asked.
    """

    def __init__(self, source: Any, name: str = 'socket.io',
                 timeout: float = TIMEOUT, measure: Callable[
                     [], Optional[Sequence[Values]]] = tuple) -> None:
        self._source = source
        self._labels = {'stream': name}
        self._timeout = timeout
        self._measure = measure
        #: Held while servers are asked: others wait for that answer. Protects
        #: the two below, which are set together at the end, without a call.
        self._lock = threading.Lock()
        self._found: List[Family] = []
        self._until = 0.0

    def describe(self) -> Iterator[Family]:
        """Nothing: a registry that asks for the names does not ask the
        servers."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        """The metrics as they are now."""
        with self._lock:
            if time.monotonic() > self._until:
                found = list(self._ask())
                until = time.monotonic() + FRESH
                self._found, self._until = found, until
            return iter(self._found)

    def _ask(self) -> Iterator[Family]:
        streams = self._measure()
        nodes: Sequence[NodeStats] = ()
        complete, missing = streams is not None, 0
        if complete:
            try:
                nodes = self._source.cluster_stats(self._timeout)
            except ClusterTimeoutError as exc:
                nodes, complete = exc.responses, False
                missing = len(exc.missing)
        yield from families(
            [self._report({'complete': complete,
                           'servers': len(nodes) + missing,
                           'missing': missing}, CLUSTER_METRICS)], CLUSTER)
        yield from families(
            [self._report(each, STREAM_METRICS, key=each['stream'])
             for each in streams or ()], STREAM)
        yield from families(
            [report for each in nodes for report in self._reports(each)],
            SERVER)

    def _reports(self, node: NodeStats) -> Iterator[Report]:
        labels = {'node': node.uid, 'host': node.host or ''}
        yield self._report(node._asdict(), SERVER_METRICS, **labels)
        if node.stats is not None and node.health is not None:
            yield Report(node.stats, node.health, {**self._labels, **labels},
                         METRICS, node.latencies or {})

    def _report(self, values: Values, metrics: Sequence[Metric],
                **labels: str) -> Report:
        known: Mapping[str, Any] = {}
        return Report(values, known, {**self._labels, **labels}, metrics)
