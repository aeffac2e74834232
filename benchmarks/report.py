"""From measurements to figures, ratios and targets."""
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .scenarios import Measurement, Scenario


@dataclass(frozen=True)
class Target:
    """What a metric has to reach.

    :param metric: the name of a field of :class:`Measurement`.
    :param how: ``ratio`` and ``difference`` compare the two kinds within
                a round; ``value`` takes ours alone. The median over the
                rounds decides.
    :param bound: at least this where ``least``, else at most.
    """
    metric: str
    how: str
    bound: float
    least: bool = False

    def value(self, pairs: Sequence[tuple[float, float]]) -> float:
        """Return the median over rounds of ``(base, ours)``."""
        combine = _COMBINE[self.how]
        return median(combine(ours, base) for base, ours in pairs)

    def reached(self, value: float) -> bool:
        return value >= self.bound if self.least else value <= self.bound

    def __str__(self) -> str:
        sign = '>=' if self.least else '<='
        return f'{self.how} {sign} {self.bound:g}'


@dataclass(frozen=True)
class Comparison:
    """What is compared with what.

    :param base: the kind of node that is compared with.
    :param ours: the kind that is compared.
    :param names: how they are called, by kind.
    :param heads: the same, in few letters.
    :param targets: what is to be reached, by scenario.
    """
    base: str
    ours: str
    names: dict[str, str]
    heads: dict[str, str]
    targets: dict[str, tuple[Target, ...]]


_COMBINE: dict[str, Callable[[float, float], float]] = {
    'ratio': operator.truediv,
    'difference': operator.sub,
    'value': lambda ours, base: ours,
}

_BURST = (Target('throughput', 'ratio', 3.0, least=True),
          Target('sender_cpu', 'ratio', 0.3),
          Target('receiver_cpu', 'ratio', 0.35))

MANAGERS = Comparison('redis', 'streams', {
    'redis': 'RedisManager', 'streams': 'RedisStreamsManager',
}, {'redis': 'Redis', 'streams': 'Streams'}, {
    'single': _BURST,
    'greenlets': _BURST,
    'paced': (Target('sender_cpu', 'ratio', 1.5),
              Target('receiver_cpu', 'ratio', 1.5),
              Target('latency_median', 'difference', 0.4)),
    'fanout': (),
    'nobody': (Target('receiver_cpu', 'value', 12.0),),
})
"""python-socketio's own manager, and the package's."""

RECOVERY = Comparison('plain', 'recovery', {
    'plain': 'without recovery', 'recovery': 'with recovery',
}, {'plain': 'without', 'recovery': 'with'}, {
    # A session is written when its client comes, and never for an event.
    # What the heartbeat renews is no writing of the session.
    'own': (Target('latency_median', 'difference', 1.0),
            Target('session_writes', 'value', 0.0)),
    'single': (Target('throughput', 'ratio', 0.8, least=True),
               Target('session_writes', 'value', 0.0)),
    'greenlets': (Target('throughput', 'ratio', 0.8, least=True),
                  Target('session_writes', 'value', 0.0)),
    'connects': (Target('session_writes', 'value', 1.0),),
})
"""The package's manager without connection state recovery, and with it."""

METRICS = {
    'throughput': 'throughput, {unit}s/s',
    'sender_cpu': 'CPU of the sender, us/{unit}',
    'pace_cpu': '  the pace itself, of that',
    'receiver_cpu': 'CPU of the receiver, us/{unit}',
    'redis_cpu': 'CPU of Redis, us/{unit}',
    'latency_median': 'latency, median, ms',
    'latency_p99': 'latency, p99, ms',
    'clients_load': 'load of the clients, of one CPU',
    'session_writes': 'writes of sessions, per {unit}',
}

Rounds = Sequence[dict[str, Measurement]]
"""Measurements of one scenario, per round by manager."""


def figures(rounds: Rounds, compared: Comparison,
            metric: str) -> list[tuple[float, float]]:
    """Return a metric's ``(base, ours)`` of the rounds that have both."""
    base, ours = compared.base, compared.ours
    pairs = [(getattr(each[base], metric), getattr(each[ours], metric))
             for each in rounds if base in each and ours in each]
    return [pair for pair in pairs if None not in pair]


def alone(rounds: Rounds, kind: str, metric: str) -> list[float]:
    """Return a metric of one kind over the rounds."""
    values = [getattr(each[kind], metric) for each in rounds if kind in each]
    return [value for value in values if value is not None]


def summary(scenario: Scenario, rounds: Rounds,
            compared: Comparison) -> dict[str, Any]:
    """Return medians, ratios and targets of a scenario."""
    metrics: dict[str, Any] = {}
    targeted = {target.metric for target in compared.targets[scenario.name]}
    for metric in METRICS:
        values = {kind: median(found) for kind in compared.names
                  if (found := alone(rounds, kind, metric))}
        if not any(values.values()) and metric not in targeted:
            continue
        metrics[metric] = {'median': values}
        pairs = figures(rounds, compared, metric)
        if pairs:
            ratios = sorted(ours / base for base, ours in pairs if base)
            metrics[metric]['ratio'] = {
                'median': median(ratios), 'least': ratios[0],
                'most': ratios[-1]} if ratios else None
    targets = []
    for target in compared.targets[scenario.name]:
        pairs = figures(rounds, compared, target.metric)
        if pairs:
            value = target.value(pairs)
            targets.append({'metric': target.metric, 'target': str(target),
                            'value': value,
                            'reached': target.reached(value)})
    faults = {kind: [each[kind].faults for each in rounds
                     if kind in each and each[kind].faults]
              for kind in compared.names}
    return {'title': scenario.title, 'unit': scenario.unit,
            'metrics': metrics, 'targets': targets, 'faults': faults}


def text(result: dict[str, Any], compared: Comparison) -> str:
    """Return a scenario's summary as lines for a terminal."""
    kinds = list(compared.names)
    heads = ''.join(f'{compared.heads[kind]:>10}' for kind in kinds)
    lines = [result['title'],
             f'  {"":33}{heads}{"ratio":>8}  (least - most)']
    title = {metric: name.format(unit=result['unit'])
             for metric, name in METRICS.items()}
    for metric, entry in result['metrics'].items():
        cells = ''.join(
            f'{number(entry["median"].get(kind)):>10}' for kind in kinds)
        ratio = entry.get('ratio')
        spread = '' if not ratio else (
            f'{ratio["median"]:>8.2f}  '
            f'({ratio["least"]:.2f} - {ratio["most"]:.2f})')
        lines.append(f'  {title[metric]:33}{cells}{spread}')
    for target in result['targets']:
        mark = 'reached' if target['reached'] else 'MISSED'
        lines.append(f'  {mark:8} {title[target["metric"]]}: '
                     f'{target["target"]}, is {number(target["value"])}')
    for kind, faults in result['faults'].items():
        if faults:
            lines.append(f'  {compared.names[kind]}: {"; ".join(faults)}')
        elif any(kind in entry['median']
                 for entry in result['metrics'].values()):
            lines.append(f'  {compared.names[kind]}: ' + (
                'every message once, in order'
                if result['unit'] == 'message' else 'nothing wrong'))
    return '\n'.join(lines)


def number(value: float | None) -> str:
    """Return a value with about three figures that mean something."""
    if value is None:
        return '-'
    if abs(value) >= 100:
        return f'{value:,.0f}'
    return f'{value:.1f}' if abs(value) >= 10 else f'{value:.2f}'
