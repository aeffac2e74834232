"""The metrics of all servers of a cluster, for Prometheus::

    from prometheus_client import REGISTRY
    from redis_streams_adapter.monitoring.cluster import \\
        ClusterCollector
    from redis_streams_adapter.observer import Observer

    REGISTRY.register(ClusterCollector(Observer(url)))

The servers are asked when Prometheus asks. Needs the extra ``prometheus``.
"""
import os
import time
from typing import Any, Callable, Iterator, List, Mapping, Optional, \
    Sequence, Tuple

from ..cluster.calls import TIMEOUT
from ..concurrency.engines import Event, ThreadEngine
from ..concurrency.locks import Lock
from ..errors import ClusterTimeoutError, RedisStreamsError
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
    """Collects the metrics of all servers of a cluster, in the task that asks
    for them. It waits for their answers, up to a timeout. Several tasks at
    once share one answer.

    A server that has not answered has no samples, and counts in
    ``cluster_servers_missing``. If they cannot be asked, because Redis is
    away, none has, and nothing is raised.

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
        self._engine = ThreadEngine()
        #: Protects the fields below. Nothing waits under it.
        self._lock = Lock()
        #: The process in which a task asks, and what it sets when it is done,
        #: in a ``finally``; ``None``: none asks. A child that was forked has a
        #: copy of it, and no such task.
        self._asking: Optional[Tuple[int, Event]] = None
        #: The last answer, and until when it is used.
        self._found: List[Family] = []
        self._until = 0.0

    def describe(self) -> Iterator[Family]:
        """Nothing: a registry that asks for the names does not ask the
        servers."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        """The metrics as they are now."""
        mine = os.getpid(), self._engine.event()
        while True:
            with self._lock:
                if time.monotonic() < self._until:
                    return iter(self._found)
                asking = self._asking
                if asking is None or asking[0] != mine[0]:
                    self._asking = mine
                    break
            # If that task fails, this one asks.
            asking[1].wait(FRESH)
        try:
            found = list(self._ask())
            with self._lock:
                self._found = found
                self._until = time.monotonic() + FRESH
            return iter(found)
        finally:
            with self._lock:
                self._asking = None
            mine[1].set()

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
            except RedisStreamsError:
                # The outbox is full after a long outage, or it is closed.
                complete = False
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
