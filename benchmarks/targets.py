"""The targets that the figures have to reach."""
import operator
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from .measuring import Measurement

RECOVERY_SHARE = 1.3
"""What recovery may cost, as a multiple of the same without it."""

FALLBACK_SHARE = 1.4
"""How much further a ratio may be without the optional parser."""

Rounds = Sequence[dict[str, Measurement]]
"""Measurements of one scenario, per round by kind."""

_COMBINE: dict[str, Callable[[float, float], float]] = {
    'ratio': operator.truediv,
    'difference': operator.sub,
    'value': lambda ours, base: ours,
}


@dataclass(frozen=True)
class Target:
    """What a metric has to reach.

    :param metric: the name of a field of :class:`.measuring.Measurement`.
    :param bound: at least this if ``least``, else at most.
    :param base: the kind that is compared with.
    :param ours: the kind that is compared.
    :param how: ``ratio`` and ``difference`` compare the two kinds within
                a round; ``value`` takes ours alone. The median over the
                rounds decides.
    """
    metric: str
    bound: float
    base: str = 'redis'
    least: bool = False
    ours: str = 'streams'
    how: str = 'ratio'

    def values(self, rounds: Rounds) -> list[float]:
        """Return what the metric reached, in order of size."""
        base = self.ours if self.how == 'value' else self.base
        pairs = figures(rounds, self.metric, self.ours, base)
        if self.how == 'ratio':
            pairs = [pair for pair in pairs if pair[1]]
        return sorted(_COMBINE[self.how](*pair) for pair in pairs)

    def judge(self, rounds: Rounds) -> dict[str, Any]:
        """Return the target, and whether it is reached: ``None`` if it was
        not measured."""
        bound = self.bound
        result = {**asdict(self), 'value': None, 'lowest': None,
                  'highest': None, 'reached': None}
        values = self.values(rounds)
        if values:
            value = median(values)
            result.update(
                value=value, lowest=values[0], highest=values[-1],
                reached=value >= bound if self.least else value <= bound)
        return result


def figures(rounds: Rounds, metric: str, ours: str,
            base: str) -> list[tuple[float, float]]:
    """Return a metric's ``(ours, base)`` of the rounds that have both."""
    pairs = [(getattr(each[ours], metric), getattr(each[base], metric))
             for each in rounds if base in each and ours in each]
    return [pair for pair in pairs if None not in pair]


def _against(metric: str, redis: float | None = None,
             nodejs: float | None = None,
             least: bool = False) -> tuple[Target, ...]:
    """Return the targets of a metric, as multiples of those of the peers.

    With recovery it may be :data:`RECOVERY_SHARE` times as bad as without.
    Without the optional parser it may be :data:`FALLBACK_SHARE` times as far
    from the peers.
    """
    def times(bound: float, share: float) -> float:
        return bound / share if least else bound * share

    bounds = {base: bound for base, bound in (
        ('redis', redis), ('nodejs', nodejs)) if bound is not None}
    return (
        *(Target(metric, bound, base, least)
          for base, bound in bounds.items()),
        Target(metric, times(1, RECOVERY_SHARE), 'streams', least,
               'recovery'),
        *(Target(metric, times(bound, FALLBACK_SHARE), base, least,
                 'fallback') for base, bound in bounds.items()))


_FANOUT = _against('client_cpu', redis=0.2, nodejs=0.2)

TARGETS: dict[str, tuple[Target, ...]] = {
    'single': (*_against('throughput', 7, 1.8, least=True),
               *_against('sender_cpu', 0.10, 0.4),
               *_against('receiver_cpu', 0.12, 0.5)),
    'greenlets': _against('throughput', 4, least=True),
    'nobody': _against('receiver_cpu', 0.10),
    'fanout': _FANOUT,
    'fanout1000': _FANOUT,
    'fanout50': _against('client_cpu', 0.4, 0.7),
    'simple': _against('client_cpu', 0.12),
    'deflate': _against('client_cpu', 0.12),
    'paced': (*_against('sender_cpu', 0.75, 0.9),
              *_against('receiver_cpu', 0.75, 0.9),
              *_against('latency_median', 1.0, 0.5),
              *_against('latency_p99', 1.0, 0.5)),
    '10kb': _against('throughput', 3, 2.3, least=True),
    '100kb': _against('throughput', 4, 3.5, least=True),
    'binary': _against('receiver_cpu', 0.15, 0.4),
    'memory': (Target('memory_start', 6.0, how='difference'),
               Target('memory_client', 1.05)),
}

_NO_WRITES = Target('session_writes', 0.0, ours='recovery', how='value')
_ONE_STREAM = (Target('throughput', 0.8, 'streams', True, 'recovery'),
               _NO_WRITES)

RECOVERY_TARGETS: dict[str, tuple[Target, ...]] = {
    # A session is written when its client connects, and never for an event.
    # Renewing its expiry is not a write.
    'own': (Target('latency_median', 1.0, 'streams', ours='recovery',
                   how='difference'), _NO_WRITES),
    'single': _ONE_STREAM,
    'greenlets': _ONE_STREAM,
    'connects': (Target('session_writes', 1.0, ours='recovery',
                        how='value'),),
}
"""For the cost of connection state recovery."""
