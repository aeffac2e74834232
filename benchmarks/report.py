"""From measurements to medians, ratios and tables."""
from collections.abc import Sequence
from statistics import median
from typing import Any

from .peers import HEADS, NAMES
from .scenarios import Scenario
from .targets import Rounds, Target, figures

METRICS = {
    'throughput': 'throughput, {unit}s/s',
    'sender_cpu': 'CPU of the sender, us/{unit}',
    'pace_cpu': '  the pace itself, of that',
    'receiver_cpu': 'CPU of the receiver, us/{unit}',
    'client_cpu': '  for each client',
    'redis_cpu': 'CPU of Redis, us/{unit}',
    'redis_input': '  bytes in, a {unit}',
    'redis_output': '  bytes out, a {unit}',
    'latency_median': 'latency, median, ms',
    'latency_p99': 'latency, p99, ms',
    'idle_cpu': 'CPU of an idle node, ms/s',
    'memory_start': 'memory at start, MiB',
    'memory_client': 'memory of a client, KiB',
    'clients_load': 'load of the clients, of one CPU',
    'session_writes': 'writes of sessions, per {unit}',
}

LONG = {'client_cpu': 'CPU for each client'}
"""Titles for the table of targets, if those above need their context."""

RATIOS = (('streams', 'redis'), ('streams', 'nodejs'),
          ('recovery', 'streams'), ('fallback', 'streams'))
"""The pairs of kinds that are compared."""

SIGNS = {'ratio': ' x', 'difference': ' more', 'value': ''}


def title(metric: str, unit: str = 'message') -> str:
    """Return the title of a metric."""
    return METRICS[metric].format(unit=unit)


def alone(rounds: Rounds, kind: str, metric: str) -> list[float]:
    """Return a metric of one kind in all rounds."""
    values = [getattr(each[kind], metric) for each in rounds if kind in each]
    return [value for value in values if value is not None]


def summary(scenario: Scenario, rounds: Rounds) -> dict[str, Any]:
    """Return medians and ratios of a scenario."""
    kinds = [kind for kind in scenario.kinds
             if any(kind in each for each in rounds)]
    metrics: dict[str, Any] = {}
    for metric in METRICS:
        values = {kind: median(found) for kind in kinds
                  if (found := alone(rounds, kind, metric))}
        if not any(values.values()) or (
                metric == 'session_writes' and 'redis' in scenario.kinds):
            continue
        ratios = {}
        for ours, base in RATIOS:
            pairs = figures(rounds, metric, ours, base)
            found = [mine / other for mine, other in pairs if other]
            if found:
                ratios[f'{ours}/{base}'] = median(found)
        metrics[metric] = {'median': values, 'ratio': ratios}
    faults = {kind: [each[kind].faults for each in rounds
                     if kind in each and each[kind].faults]
              for kind in kinds}
    return {'title': scenario.title, 'unit': scenario.unit, 'kinds': kinds,
            'nodes': scenario.nodes, 'metrics': metrics, 'faults': faults}


def judge(scenario: Scenario, rounds: Rounds,
          targets: Sequence[Target]) -> list[dict[str, Any]]:
    """Return the targets of a scenario, and which are reached."""
    return [{'scenario': scenario.name, **target.judge(rounds)}
            for target in targets]


def text(result: dict[str, Any]) -> str:
    """Return a scenario's summary as lines for a terminal."""
    kinds = result['kinds']
    pairs = [(ours, base) for ours, base in RATIOS
             if ours in kinds and base in kinds]
    lines = [result['title'],
             f'  {"":33}' + ''.join(f'{HEADS[kind]:>10}' for kind in kinds)
             + ''.join(f'{HEADS[ours] + "/" + HEADS[base]:>18}'
                       for ours, base in pairs)]
    for metric, entry in result['metrics'].items():
        cells = ''.join(f'{number(entry["median"].get(kind)):>10}'
                        for kind in kinds)
        cells += ''.join(f'{number(entry["ratio"].get(f"{a}/{b}")):>18}'
                         for a, b in pairs)
        lines.append(f'  {title(metric, result["unit"]):33}{cells}')
    for kind, faults in result['faults'].items():
        if faults:
            lines.append(f'  {NAMES[kind]}: {"; ".join(faults)}')
        elif kind != 'xadd':
            lines.append(f'  {NAMES[kind]}: ' + (
                'every message once, in order'
                if result['unit'] == 'message' else 'nothing wrong'))
    return '\n'.join(lines)


def targets_text(targets: Sequence[dict[str, Any]]) -> str:
    """Return the table of targets as lines for a terminal."""
    marks = {True: 'met', False: 'MISSED', None: '-'}
    met = sum(target['reached'] is True for target in targets)
    measured = sum(target['reached'] is not None for target in targets)
    lines = [f'targets: {met} met of {measured} that were measured, '
             f'{len(targets)} in all', f'  {"":8}{"":12}{"":34}{"":18}'
             f'{"target":>14}{"is":>9}  (lowest - highest)']
    for each in targets:
        metric = LONG.get(each['metric']) or title(each['metric'])
        of = HEADS[each['ours']] if each['how'] == 'value' \
            else f'{HEADS[each["ours"]]}/{HEADS[each["base"]]}'
        bound = (f'{">=" if each["least"] else "<="} '
                 f'{each["bound"]:.3g}{SIGNS[each["how"]]}')
        line = (f'  {marks[each["reached"]]:8}{each["scenario"]:12}'
                f'{metric:34}{of:18}{bound:>14}{number(each["value"]):>9}')
        if each['value'] is not None:
            line += (f'  ({number(each["lowest"])} - '
                     f'{number(each["highest"])})')
        lines.append(line)
    return '\n'.join(lines)


def number(value: float | None) -> str:
    """Return a value with about three significant figures."""
    if value is None:
        return '-'
    if abs(value) >= 100:
        return f'{value:,.0f}'
    return f'{value:.1f}' if abs(value) >= 10 else f'{value:.2f}'
