"""The medians of a run, and what follows from them, as pictures.

Run as ``python -m benchmarks.plot FILE.json FILE.png`` to draw what
``--json`` has written.
"""
import importlib.util
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from . import capacity
from .costs import fit, OURS, SIZES
from .peers import NAMES

COLOURS = {'redis': '#8d8d8d', 'nodejs': '#5a9e6f', 'xadd': '#d9b44a',
           'recovery': '#7fb0dd', 'fallback': '#b493c9', 'streams': '#1f5fa8'}

THROUGHPUT = ('single', 'greenlets', '10kb', '100kb')
CPU = {'sending': ('single', 'sender_cpu'),
       'receiving': ('single', 'receiver_cpu'),
       'nobody': ('nobody', 'receiver_cpu'),
       'binary,\nreceiving': ('binary', 'receiver_cpu'),
       '500/s,\nsending': ('paced', 'sender_cpu'),
       '500/s,\nreceiving': ('paced', 'receiver_cpu')}
CLIENT_CPU = {'100, burst': ('fanout', 'client_cpu'),
              '1,000, burst': ('fanout1000', 'client_cpu'),
              '100 at 50/s': ('fanout50', 'client_cpu'),
              'simple-\nwebsocket': ('simple', 'client_cpu'),
              'compression\noffered': ('deflate', 'client_cpu')}
LATENCY = {'median': ('paced', 'latency_median'),
           'p99': ('paced', 'latency_p99')}


def obstacle() -> str | None:
    """Return why nothing can be drawn, ``None`` if it can."""
    if importlib.util.find_spec('matplotlib') is None:
        return 'matplotlib is not installed (the extra "benchmarks")'
    return None


def draw(results: dict[str, Any], path: str) -> None:
    """Draw the medians.

    :param results: what ``--json`` writes.
    :param path: of the PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 9), layout='constrained')
    axes = figure.subplots(2, 3)
    summary = results['summary']
    _bars(axes[0][0], summary, 'throughput, messages/s',
          {name: (name, 'throughput') for name in THROUGHPUT}, log=True)
    _bars(axes[0][1], summary, 'CPU of a node, µs/message', CPU, log=True)
    _bars(axes[0][2], summary, 'fan-out: CPU for each client, µs/message',
          CLIENT_CPU, log=True)
    _bars(axes[1][0], summary, 'latency at 500/s, ms', LATENCY)
    _lines(axes[1][1], summary, 'sender_cpu', 'CPU of the sender, µs/message')
    _lines(axes[1][2], summary, 'receiver_cpu',
           'CPU of each receiver, µs/message')
    labels: dict[str, Any] = {}
    for each in axes.flat:
        labels.update(zip(*reversed(each.get_legend_handles_labels())))
    figure.legend(labels.values(), labels.keys(), loc='outside lower center',
                  ncols=len(labels) or 1)
    figure.savefig(path, format='png', dpi=70)


def draw_capacity(results: dict[str, Any], path: str) -> None:
    """Draw what the model says: next to measurements, and beyond them.

    :param results: of a run with all scenarios.
    :param path: of the PNG file.
    """
    from matplotlib.figure import Figure

    summary = results['summary']
    costs = fit(summary)
    figure = Figure(figsize=(13, 4.2), layout='constrained')
    axes = figure.subplots(1, 3)
    for place, prefix, rate, title in (
            (axes[0], 'nodes', math.inf, 'CPU of Redis in a burst, µs/event'),
            (axes[1], 'paced', 500, 'CPU of Redis at 500/s, µs/event')):
        place.plot(
            SIZES,
            [summary[f'{prefix}{nodes}']['metrics']['redis_cpu']['median'][
                OURS] for nodes in SIZES],
            'o', label='measured', color=COLOURS['streams'])
        place.plot(
            SIZES,
            [costs.write.at(rate, costs.batch)
             + nodes * costs.read.at(rate, costs.batch)
             for nodes in SIZES],
            label='model', color=COLOURS['recovery'])
        place.set_ylim(bottom=0)
        place.set_xticks(SIZES)
        place.set_xlabel('nodes in the cluster')
        place.set_title(title)
        place.legend()
    sizes = (1, 2, 4, 8, 16, 32, 64, 100, 200)
    limits = [capacity.limit(capacity.Load(rate=1, nodes=nodes,
                                           reached=nodes), costs)
              for nodes in sizes]
    for name, most, kind in zip(('Redis', 'each node'), zip(*limits),
                                ('redis', 'streams')):
        axes[2].plot(sizes, most, marker='o', label=name,
                     color=COLOURS[kind])
    axes[2].set(xscale='log', yscale='log', xlabel='nodes in the cluster',
                title=f'events/s with {capacity.SHARE:.0%} of a core,\n'
                'a client of each node gets each')
    axes[2].xaxis.set_major_formatter('{x:,g}')
    axes[2].yaxis.set_major_formatter('{x:,g}')
    axes[2].grid(which='both', alpha=0.3)
    axes[2].legend()
    figure.savefig(path, format='png', dpi=70)


def _bars(axes: Any, summary: dict[str, Any], title: str,
          places: dict[str, tuple[str, str]], log: bool = False) -> None:
    """Draw a group of bars for each place, one for each kind.

    :param places: scenario and metric, by label.
    """
    groups = {label: _medians(summary, *place)
              for label, place in places.items()}
    groups = {label: found for label, found in groups.items() if found}
    kinds = [kind for kind in NAMES
             if any(kind in found for found in groups.values())]
    width = 0.8 / (len(kinds) or 1)
    for index, kind in enumerate(kinds):
        here = [(place + index * width, found[kind])
                for place, found in enumerate(groups.values())
                if kind in found]
        axes.bar(*zip(*here), width, align='edge', label=NAMES[kind],
                 color=COLOURS[kind])
    axes.set_xticks([place + 0.4 for place in range(len(groups))],
                    list(groups))
    axes.set_title(title)
    if log and groups:
        least = min(min(found.values()) for found in groups.values())
        axes.set_yscale('log')
        # Whole powers of ten: a bar's length means nothing otherwise.
        axes.set_ylim(bottom=10 ** math.floor(math.log10(least)))
        axes.yaxis.set_major_formatter('{x:,g}')
        axes.yaxis.set_minor_formatter('')
        axes.grid(axis='y', which='both', alpha=0.3)


def _lines(axes: Any, summary: dict[str, Any], metric: str,
           title: str) -> None:
    """Draw a metric as the cluster grows."""
    sizes = {found['nodes']: found['metrics'].get(metric, {}).get(
        'median', {}) for name, found in summary.items()
        if name.startswith('nodes')}
    for kind in NAMES:
        points = [(nodes, found[kind]) for nodes, found in sizes.items()
                  if kind in found]
        if points:
            axes.plot(*zip(*points), marker='o', label=NAMES[kind],
                      color=COLOURS[kind])
    axes.set_ylim(bottom=0)
    axes.set_xticks(list(sizes))
    axes.set_xlabel('nodes in the cluster, each with a client')
    axes.set_title(title)


def _medians(summary: dict[str, Any], scenario: str,
             metric: str) -> dict[str, float]:
    found: dict[str, float] = summary.get(scenario, {}).get(
        'metrics', {}).get(metric, {}).get('median', {})
    return found


def main(arguments: Sequence[str]) -> int:
    """Draw; return the exit status."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    with open(arguments[0], encoding='utf-8') as file:
        draw(json.load(file), arguments[1])
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
