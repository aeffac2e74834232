"""What is measured: two nodes of one kind, and what passes between them.

A measurement takes the CPU time of the processes before the first emit and
after the last arrival, and nothing else lies between. Connecting, warming up
and the search for late duplicates are outside.
"""
import time
from dataclasses import asdict, dataclass
from typing import Any

from .channel import Child, ChildError
from .server import RedisServer

NOBODY = 'nobody'
"""A room that no client is ever in."""

WARM_UP = 200
"""Messages sent and received before a scenario is measured: connections are
open then, and the interpreter has specialised the code on the way."""

PROBE_INTERVAL = 0.2
"""Seconds given to a probe before the next: a node that has not subscribed
yet gets none."""

PROBE_LIMIT = 50
"""Probes until a pair of nodes counts as broken."""

WAIT_TIMEOUT = 60.0
"""Seconds for all messages of a scenario to arrive, beyond its pace."""

SILENCE = 5.0
"""Seconds without a message after which the missing ones are lost."""

CALIBRATION = 2.0
"""Seconds of a paced scenario's rhythm without a message."""

LINGER = 0.3
"""Seconds in which a duplicate would show."""


@dataclass(frozen=True)
class Scenario:
    """One thing to measure.

    :param name: how it is chosen on the command line.
    :param title: how it is presented.
    :param count: messages.
    :param greenlets: how many of them emit at once.
    :param rate: messages per second; as fast as they go where 0.
    :param clients: how many clients of the other node are to get each;
                    where 0, nobody is, and one message to a client follows.
    :param own: it is the client of the emitting node that gets them.
    :param unit: what there are ``count`` of: with ``connect`` it is clients
                 that come, one after the other, and nothing is emitted.
    """
    name: str
    title: str
    count: int
    greenlets: int = 1
    rate: float = 0
    clients: int = 1
    own: bool = False
    unit: str = 'message'


SCENARIOS = (
    Scenario('single', '20,000 messages from one greenlet to a client of the '
             'other node', 20_000),
    Scenario('greenlets', '20,000 messages from 50 greenlets to a client of '
             'the other node', 20_000, greenlets=50),
    Scenario('paced', '500 messages a second for 10 s', 5_000, rate=500),
    Scenario('fanout', '2,000 messages to 100 clients of the other node',
             2_000, clients=100),
    Scenario('nobody', '20,000 messages that nobody on the other node wants',
             20_000, clients=0),
)

RECOVERY_SCENARIOS = (
    Scenario('own', '500 messages a second for 10 s to a client of the '
             'emitting node', 5_000, rate=500, own=True),
    *SCENARIOS[:2],
    Scenario('connects', '500 clients come, one after the other', 500,
             unit='connect'),
)
"""For the cost of connection state recovery."""


@dataclass(frozen=True)
class Measurement:
    """One run of one scenario; CPU in microseconds per message, that of the
    receiver per message that arrived.

    ``throughput`` is in messages per second from the first emit to the last
    arrival, latencies are in milliseconds from emit to receipt. ``pace_cpu``
    is the part of ``sender_cpu`` that keeping the pace takes by itself.
    ``session_writes`` are those in Redis, per message.

    Where the unit is another one than a message, read that instead.
    """
    throughput: float
    emit_throughput: float
    sender_cpu: float
    pace_cpu: float | None
    receiver_cpu: float
    redis_cpu: float
    clients_cpu: float
    clients_load: float
    latency_median: float | None
    latency_p99: float | None
    session_writes: float
    lost: int
    duplicates: int
    disorder: int
    strays: int
    closed: int

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
    """What a measurement has used of the processes beside the sender.

    :param receiver: the node that is measured besides the sender.
    """
    def __init__(self, redis: RedisServer, clients: Child,
                 receiver: Child) -> None:
        self._redis = redis
        self._clients = clients
        self._receiver = receiver
        self.redis = redis.cpu()
        self.session_writes = redis.session_writes()
        self.clients = clients.cpu()
        self.receiver = receiver.cpu()

    def end(self) -> None:
        """Take the difference, that of the nearest process first."""
        self.receiver = self._receiver.cpu() - self.receiver
        self.clients = self._clients.cpu() - self.clients
        self.redis = self._redis.cpu() - self.redis
        self.session_writes = \
            self._redis.session_writes() - self.session_writes


class Pair:
    """Two nodes of the same kind, a client on each.

    The sending node has a client of its own: a node joins its cluster when
    the first client connects. It wants nothing, unless the scenario says so.

    :param kind: as :func:`.node.make_manager` has it.
    :param redis: the server they share.
    :param clients: the process that holds the clients.
    """
    def __init__(self, kind: str, redis: RedisServer,
                 clients: Child) -> None:
        self.kind = kind
        self.redis = redis
        self.clients = clients
        self.next_number = 0
        self.nodes: list[Child] = []
        self.group = f'{kind}-one'
        self.idle = f'{kind}-idle'
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        for role in ('sender', 'receiver'):
            self.nodes.append(Child(f'{role} with {self.kind}',
                                    'benchmarks.node', self.kind,
                                    self.redis.url))
        self.sender, self.receiver = self.nodes
        ports = [node.ask('port')['port'] for node in self.nodes]
        answer = self.clients.ask('connect', group=self.idle, port=ports[0])
        self.own_sid: str = answer['sids'][0]
        self.port = ports[1]
        answer = self.clients.ask('connect', group=self.group, port=self.port)
        self.sid: str = answer['sids'][0]
        for _ in range(PROBE_LIMIT):
            if not self._deliver(1, timeout=PROBE_INTERVAL)['lost']:
                break
        else:
            raise ChildError(f'{self.kind}: nothing arrives')

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def _numbers(self, count: int) -> int:
        first = self.next_number
        self.next_number += count
        return first

    def _deliver(self, count: int, timeout: float) -> dict[str, Any]:
        """Send messages to the client, unmeasured."""
        first = self._numbers(count)
        self.clients.ask('arm', group=self.group, first=first, count=count)
        self.sender.ask('burst', to=self.sid, first=first, count=count)
        self.clients.send('wait', group=self.group, timeout=timeout,
                          silence=timeout)
        return self.clients.receive(timeout + SILENCE)

    def measure(self, scenario: Scenario) -> Measurement:
        """Run the scenario once."""
        self._deliver(WARM_UP, timeout=SILENCE)
        if scenario.unit == 'connect':
            return self._measure_connects(scenario)
        group, to = self.group, self.sid
        if scenario.own:
            group, to = self.idle, self.own_sid
        elif scenario.clients == 0:
            to = NOBODY
        elif scenario.clients > 1:
            group = to = f'{self.kind}-many'
            self.clients.ask('connect', group=group, port=self.port,
                             count=scenario.clients, room=to)
        try:
            return self._measure(scenario, group, to)
        finally:
            if group != self.group:
                self.clients.ask('close', groups=[group])

    def _measure(self, scenario: Scenario, group: str,
                 to: str) -> Measurement:
        count = scenario.count
        first = self._numbers(count + 1)
        arguments: dict[str, Any] = {'to': to, 'first': first, 'count': count}
        timeout = WAIT_TIMEOUT
        if scenario.rate:
            arguments['rate'] = scenario.rate
            timeout += count / scenario.rate
        else:
            arguments['greenlets'] = scenario.greenlets
        expected = {'first': first, 'count': count}
        if scenario.clients == 0:
            arguments['marker_to'] = self.sid
            expected = {'first': first + count, 'count': 1}
        pace_cpu = self._pace_cpu(scenario) if scenario.rate else None
        self.clients.ask('arm', group=group, latency=bool(scenario.rate),
                         **expected)

        usage = Usage(self.redis, self.clients, self.receiver)
        self.sender.send('pace' if scenario.rate else 'burst', **arguments)
        self.clients.send('wait', group=group, timeout=timeout,
                          silence=SILENCE)
        result = self.clients.receive(timeout + SILENCE)
        sent = self.sender.receive(timeout)
        sender_cpu = self.sender.cpu() - sent['cpu']
        usage.end()

        arrived_at = result['last_at'] or time.monotonic_ns()
        elapsed = (arrived_at - sent['started']) / 1e9
        # Once more, for the duplicates that come behind.
        verdict = self.clients.ask('verdict', group=group, linger=LINGER)
        arrived = (verdict['wanted'] - result['lost']) / verdict['wanted']
        each = 1e6 / count
        # What was lost on the way has cost the receiver nothing, and must
        # not make it look cheap.
        received = each / arrived if arrived else each
        return Measurement(
            throughput=count * arrived / elapsed,
            emit_throughput=count / (sent['ended'] - sent['started']) * 1e9,
            sender_cpu=sender_cpu * each, pace_cpu=pace_cpu,
            receiver_cpu=usage.receiver * received,
            redis_cpu=usage.redis * each,
            clients_cpu=usage.clients * each,
            clients_load=usage.clients / elapsed,
            latency_median=milliseconds(result['latency_median']),
            latency_p99=milliseconds(result['latency_p99']),
            session_writes=usage.session_writes / count,
            lost=verdict['lost'], duplicates=verdict['duplicates'],
            disorder=verdict['disorder'], strays=verdict['strays'],
            closed=verdict['closed'])

    def _measure_connects(self, scenario: Scenario) -> Measurement:
        """Let clients come to the receiver; nothing is emitted."""
        count, group = scenario.count, f'{self.kind}-many'
        sender_cpu = self.sender.cpu()
        usage = Usage(self.redis, self.clients, self.receiver)
        started = time.monotonic()
        self.clients.ask('connect', group=group, port=self.port, count=count)
        elapsed = time.monotonic() - started
        usage.end()
        sender_cpu = self.sender.cpu() - sender_cpu
        verdict = self.clients.ask('verdict', group=group, linger=LINGER)
        self.clients.ask('close', groups=[group])
        each = 1e6 / count
        return Measurement(
            throughput=count / elapsed, emit_throughput=count / elapsed,
            sender_cpu=sender_cpu * each, pace_cpu=None,
            receiver_cpu=usage.receiver * each, redis_cpu=usage.redis * each,
            clients_cpu=usage.clients * each,
            clients_load=usage.clients / elapsed,
            latency_median=None, latency_p99=None,
            session_writes=usage.session_writes / count,
            lost=0, duplicates=0, disorder=0, strays=verdict['strays'],
            closed=verdict['closed'])

    def _pace_cpu(self, scenario: Scenario) -> float:
        """Return what keeping the pace costs, in microseconds a message."""
        count = int(scenario.rate * CALIBRATION)
        self.sender.send('pace', to=None, first=0, count=count,
                         rate=scenario.rate)
        started = float(self.sender.receive(WAIT_TIMEOUT)['cpu'])
        return (self.sender.cpu() - started) * 1e6 / count


def milliseconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6
