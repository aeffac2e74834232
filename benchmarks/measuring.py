"""How a scenario is measured.

A measurement takes the CPU time of the processes before the first emit and
after the last arrival, and nothing else lies between. Connecting, warming up
and the search for late duplicates are outside.
"""
import time
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from .channel import Child
from .cluster import SILENCE, Cluster
from .memory import memory
from .scenarios import Scenario
from .server import RedisServer

NOBODY = 'nobody'
"""A room that no client is ever in."""

WAIT_TIMEOUT = 60.0
"""Seconds for all messages of a scenario to arrive, beyond its pace."""

CALIBRATION = 2.0
"""Seconds, at most, in which a paced scenario keeps its pace without sending.
"""

IDLE = 2.0
"""Seconds, at most, in which an idle cluster is measured; for each thousand
messages of the scenario, :data:`IDLE_SHARE` seconds."""

IDLE_SHARE = 0.4


@dataclass(frozen=True)
class Measurement:
    """One run of one scenario; CPU in microseconds per message, that of the
    receiver per message that arrived, and for the mean of the receivers.

    ``throughput`` is in messages per second from the first emit to the last
    arrival, latencies are in milliseconds from emit to receipt. ``pace_cpu``
    is the part of ``sender_cpu`` that keeping the pace takes by itself,
    ``client_cpu`` is ``receiver_cpu`` for each client, ``idle_cpu`` is that
    of a node while nothing happens, in milliseconds per second.
    ``redis_input`` and ``redis_output`` are the bytes that Redis receives and
    sends, per message.
    ``session_writes`` are those in Redis, per message. ``memory_start`` is
    that of a node with one client, in MiB, ``memory_client`` what each
    further one takes, in KiB.

    If the unit of a scenario is not a message, read that unit instead.
    """
    throughput: float | None = None
    emit_throughput: float | None = None
    sender_cpu: float | None = None
    pace_cpu: float | None = None
    receiver_cpu: float | None = None
    client_cpu: float | None = None
    redis_cpu: float | None = None
    redis_input: float | None = None
    redis_output: float | None = None
    clients_cpu: float | None = None
    clients_load: float | None = None
    latency_median: float | None = None
    latency_p99: float | None = None
    idle_cpu: float | None = None
    memory_start: float | None = None
    memory_client: float | None = None
    session_writes: float | None = None
    lost: int = 0
    duplicates: int = 0
    disorder: int = 0
    strays: int = 0
    closed: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def faults(self) -> str:
        """What was wrong with the delivery, if anything."""
        parts = {'lost': self.lost, 'twice': self.duplicates,
                 'out of order': self.disorder, 'misdirected': self.strays,
                 'connections closed': self.closed}
        return ', '.join(f'{n} {what}' for what, n in parts.items() if n)


class Usage:
    """What a measurement has used of the processes besides the sender."""
    def __init__(self, cluster: Cluster) -> None:
        self._redis: RedisServer = cluster.redis
        self._clients = cluster.clients
        self._receivers = cluster.receivers
        self.redis = self._redis.cpu()
        self.traffic = self._redis.traffic()
        self.session_writes = self._redis.session_writes()
        self.clients = self._clients.cpu()
        self.receiver = self._receiver_cpu()

    def end(self) -> None:
        """Take the differences, beginning with the receivers."""
        self.receiver = self._receiver_cpu() - self.receiver
        self.clients = self._clients.cpu() - self.clients
        self.redis = self._redis.cpu() - self.redis
        received, sent = self.traffic
        self.traffic = self._redis.traffic()
        self.input = self.traffic[0] - received
        self.output = self.traffic[1] - sent
        self.session_writes = \
            self._redis.session_writes() - self.session_writes

    def _receiver_cpu(self) -> float:
        return mean(node.cpu() for node in self._receivers) \
            if self._receivers else 0.0


def measure(cluster: Cluster, scenario: Scenario) -> Measurement:
    """Run the scenario once."""
    if cluster.kind == 'xadd':
        return _measure_sending(cluster, scenario)
    if scenario.unit == 'client':
        return _measure_memory(cluster, scenario)
    cluster.warm_up(scenario.warm_up)
    if scenario.unit == 'connect':
        return _measure_connects(cluster, scenario)
    many = cluster.many
    if scenario.everywhere or scenario.clients > 1:
        ports = cluster.ports if scenario.everywhere else cluster.ports[1]
        cluster.clients.ask('connect', group=many, port=ports, room=many,
                            count=scenario.clients, deflate=scenario.deflate)
        try:
            cluster.probe(many, many)
            idle = _idle_cpu(cluster, scenario) \
                if scenario.everywhere else None
            return _measure(cluster, scenario, many, many, idle)
        finally:
            cluster.close(many)
    place = 0 if scenario.own else 1
    to = cluster.sids[place] if scenario.clients else NOBODY
    return _measure(cluster, scenario, cluster.groups[place], to)


def _measure(cluster: Cluster, scenario: Scenario, group: str, to: str,
             idle_cpu: float | None = None) -> Measurement:
    clients, sender = cluster.clients, cluster.sender
    count = scenario.count
    first = cluster.numbers(count + 1)
    arguments: dict[str, Any] = {
        'to': to, 'first': first, 'count': count, 'size': scenario.size,
        'binary': scenario.binary}
    timeout = WAIT_TIMEOUT
    if scenario.rate:
        arguments['rate'] = scenario.rate
        timeout += count / scenario.rate
    else:
        arguments['greenlets'] = scenario.greenlets
    expected = {'first': first, 'count': count}
    if scenario.clients == 0:
        arguments['marker_to'] = cluster.sids[1]
        expected = {'first': first + count, 'count': 1}
    pace_cpu = _pace_cpu(sender, scenario) if scenario.rate else None
    clients.ask('arm', group=group, latency=bool(scenario.rate), **expected)

    usage = Usage(cluster)
    sender.send('pace' if scenario.rate else 'burst', **arguments)
    clients.send('wait', group=group, timeout=timeout, silence=SILENCE)
    result = clients.receive(timeout + SILENCE)
    sent = sender.receive(timeout)
    sender_cpu = sender.cpu() - sent['cpu']
    usage.end()

    arrived_at = result['last_at'] or time.monotonic_ns()
    elapsed = (arrived_at - sent['started']) / 1e9
    # Once more, for the duplicates that come after.
    verdict = clients.ask('verdict', group=group, linger=scenario.linger)
    arrived = (verdict['expected'] - result['lost']) / verdict['expected']
    each = 1e6 / count
    # What was lost on the way has cost the receiver nothing, and must
    # not make it look cheap.
    received = each / arrived if arrived else each
    receiver_cpu = usage.receiver * received if cluster.receivers else None
    return Measurement(
        throughput=count * arrived / elapsed,
        emit_throughput=count / (sent['ended'] - sent['started']) * 1e9,
        sender_cpu=sender_cpu * each, pace_cpu=pace_cpu,
        receiver_cpu=receiver_cpu,
        client_cpu=receiver_cpu / scenario.clients
        if receiver_cpu and scenario.clients > 1 else None,
        redis_cpu=usage.redis * each,
        redis_input=usage.input / count, redis_output=usage.output / count,
        clients_cpu=usage.clients * each,
        clients_load=usage.clients / elapsed,
        latency_median=milliseconds(result['latency_median']),
        latency_p99=milliseconds(result['latency_p99']),
        idle_cpu=idle_cpu, session_writes=usage.session_writes / count,
        lost=verdict['lost'], duplicates=verdict['duplicates'],
        disorder=verdict['disorder'], strays=verdict['strays'],
        closed=verdict['closed'])


def _measure_sending(cluster: Cluster, scenario: Scenario) -> Measurement:
    """Only write to Redis."""
    count, each = scenario.count, 1e6 / scenario.count
    redis_cpu = cluster.redis.cpu()
    cluster.sender.send('burst', to=NOBODY, first=0, count=count,
                        size=scenario.size)
    sent = cluster.sender.receive(WAIT_TIMEOUT)
    sender_cpu = cluster.sender.cpu() - sent['cpu']
    redis_cpu = cluster.redis.cpu() - redis_cpu
    throughput = count / (sent['ended'] - sent['started']) * 1e9
    return Measurement(
        throughput=throughput, emit_throughput=throughput,
        sender_cpu=sender_cpu * each, redis_cpu=redis_cpu * each)


def _measure_connects(cluster: Cluster, scenario: Scenario) -> Measurement:
    """Let clients come to the receiver; nothing is emitted."""
    clients, group, count = cluster.clients, cluster.many, scenario.count
    sender_cpu = cluster.sender.cpu()
    usage = Usage(cluster)
    started = time.monotonic()
    clients.ask('connect', group=group, port=cluster.ports[1], count=count)
    elapsed = time.monotonic() - started
    usage.end()
    sender_cpu = cluster.sender.cpu() - sender_cpu
    verdict = clients.ask('verdict', group=group, linger=scenario.linger)
    cluster.close(group)
    each = 1e6 / count
    return Measurement(
        throughput=count / elapsed, emit_throughput=count / elapsed,
        sender_cpu=sender_cpu * each, receiver_cpu=usage.receiver * each,
        redis_cpu=usage.redis * each, clients_cpu=usage.clients * each,
        clients_load=usage.clients / elapsed,
        session_writes=usage.session_writes / count,
        strays=verdict['strays'], closed=verdict['closed'])


def _measure_memory(cluster: Cluster, scenario: Scenario) -> Measurement:
    """Look at the receiver with one client, then with many."""
    clients, group, count = cluster.clients, cluster.many, scenario.count
    cluster.warm_up(scenario.warm_up)
    start, _ = memory(cluster.receivers[0])
    clients.ask('connect', group=group, port=cluster.ports[1], count=count)
    after, _ = memory(cluster.receivers[0])
    verdict = clients.ask('verdict', group=group, linger=scenario.linger)
    cluster.close(group)
    return Measurement(
        memory_start=start, memory_client=(after - start) * 1024 / count,
        strays=verdict['strays'], closed=verdict['closed'])


def _pace_cpu(sender: Child, scenario: Scenario) -> float:
    """Return what keeping the pace costs, in microseconds a message."""
    count = min(scenario.count, int(scenario.rate * CALIBRATION))
    sender.send('pace', to=None, first=0, count=count, rate=scenario.rate)
    started = float(sender.receive(WAIT_TIMEOUT)['cpu'])
    return (sender.cpu() - started) * 1e6 / count


def _idle_cpu(cluster: Cluster, scenario: Scenario) -> float:
    """Return what a node takes while nothing happens, in milliseconds a
    second."""
    before = mean(node.cpu() for node in cluster.nodes)
    seconds = min(IDLE, scenario.count / 1000 * IDLE_SHARE)
    time.sleep(seconds)
    return (mean(node.cpu() for node in cluster.nodes) - before) \
        * 1000 / seconds


def milliseconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6
