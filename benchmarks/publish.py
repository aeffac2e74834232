"""Writes the figures of a run into the documentation.

Run as ``python -m benchmarks.publish RESULT.json --calls CALLS.json``, with
what ``benchmarks.compare --json`` and ``benchmarks.calls --json`` have
written. It replaces

- what stands between ``.. begin: NAME`` and ``.. end: NAME`` in ``README.rst``
  and ``docs/performance.rst``,
- the pictures beside that page,
- ``benchmarks/published.json``: the medians, with which
  ``benchmarks.capacity`` calculates.
"""
import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

from . import capacity, plot
from .calls import Calls, CASES
from .costs import checks, fit, OURS, published, PUBLISHED
from .peers import NAMES
from .report import number
from .scenarios import SCENARIOS

ROOT = Path(__file__).parent.parent
README = ROOT / 'README.rst'
PAGE = ROOT / 'docs' / 'performance.rst'
PICTURES = {ROOT / 'docs' / 'performance.png': plot.draw,
            ROOT / 'docs' / 'capacity.png': plot.draw_capacity}


class Row(NamedTuple):
    """A line of the tables.

    :param title: how it is presented.
    :param scenario: where its figures come from.
    :param metric: which they are.
    """
    title: str
    scenario: str
    metric: str


ROWS = (
    Row('throughput, one emitter, messages/s', 'single', 'throughput'),
    Row('the same from 50 greenlets', 'greenlets', 'throughput'),
    Row('CPU, sending, µs', 'single', 'sender_cpu'),
    Row('CPU, receiving, one client, µs', 'single', 'receiver_cpu'),
    Row('CPU, receiving, no client here, µs', 'nobody', 'receiver_cpu'),
    Row('CPU for each of 100 clients, in a burst, µs', 'fanout',
        'client_cpu'),
    Row('CPU for each of 1,000 clients, in a burst, µs', 'fanout1000',
        'client_cpu'),
    Row('CPU for each of 100 clients, at 50/s, µs', 'fanout50',
        'client_cpu'),
    Row('CPU for each of 100 clients, simple-websocket, µs', 'simple',
        'client_cpu'),
    Row('the same, clients offer compression, µs', 'deflate', 'client_cpu'),
    Row('at 500/s: CPU, sending, µs', 'paced', 'sender_cpu'),
    Row('at 500/s: CPU, receiving, µs', 'paced', 'receiver_cpu'),
    Row('at 500/s: median latency, ms', 'paced', 'latency_median'),
    Row('at 500/s: 99th percentile, ms', 'paced', 'latency_p99'),
    Row('10,000 characters: messages/s', '10kb', 'throughput'),
    Row('100,000 characters: messages/s', '100kb', 'throughput'),
    Row('binary: CPU, receiving, µs', 'binary', 'receiver_cpu'),
    Row('memory at start, MiB', 'memory', 'memory_start'),
    Row('memory of an idle client, KiB', 'memory', 'memory_client'),
)

SHORT = ('single', 'greenlets', 'nobody', 'fanout', 'fanout50', 'paced',
         '10kb')
"""Scenarios that the README shows."""

KINDS = ('redis', 'nodejs', 'xadd', 'streams', 'recovery', 'fallback')

TITLES = {'redis': '``RedisManager``', 'nodejs': 'Node.js',
          'xadd': 'XADD alone', 'streams': 'Streams',
          'recovery': 'Streams, recovery', 'fallback': 'Streams, no msgspec'}


def table(widths: Sequence[int], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in reStructuredText; the first row is its head."""
    lines = ['.. list-table::', '   :header-rows: 1',
             f'   :widths: {" ".join(map(str, widths))}', '']
    for row in rows:
        for place, cell in enumerate(row):
            lines.append(f'   {" " if place else "*"} - {cell}'.rstrip())
    return '\n'.join(lines)


def figure(result: dict[str, Any], row: Row, kind: str) -> str:
    """Return a figure of a run as text; empty if there is none."""
    found = result['summary'].get(row.scenario, {}).get('metrics', {}).get(
        row.metric, {}).get('median', {}).get(kind)
    return '' if found is None else number(found)


def about(result: dict[str, Any]) -> str:
    """Return what was measured, and with what."""
    found = result['environment']
    packages = ', '.join(
        f'{name} {version}' for name, version in found.items()
        if name not in ('python', 'machine', 'cpus', 'redis-server', 'node')
        and version != 'none')
    return paragraph(
        f'Rounds: {result["repeated"]}, on a virtual machine with '
        f'{found["cpus"]} cores ({found["machine"]}), Redis '
        f'{found["redis-server"]}, Python {found["python"]}, Node.js '
        f'{found["node"]}, {packages}.')


def paragraph(text: str) -> str:
    """Return text in lines."""
    return fill(text, 79, break_long_words=False, break_on_hyphens=False)


def delivery(result: dict[str, Any]) -> str:
    """Return what was wrong with the delivery of messages."""
    found = [f'with {NAMES[kind]}, of {each["title"]}: {"; ".join(faults)}'
             for each in result['summary'].values()
             for kind, faults in each['faults'].items() if faults]
    return paragraph('Every message arrived once and in order'
                     + (f', except {", and ".join(found)}' if found else '')
                     + '.')


def figures(result: dict[str, Any]) -> str:
    """Return the table of all medians."""
    kinds = [kind for kind in KINDS if any(
        figure(result, row, kind) for row in ROWS)]
    return table((34, *(11,) * len(kinds)), [
        ('', *(TITLES[kind] for kind in kinds)),
        *((row.title, *(figure(result, row, kind) for kind in kinds))
          for row in ROWS)])


def short(result: dict[str, Any]) -> str:
    """Return the table of the README."""
    kinds = ('redis', 'nodejs', 'streams')
    return table((40, 15, 15, 15, 15), [
        ('', *(TITLES[kind] for kind in kinds), 'ratio'),
        *((row.title, *(figure(result, row, kind) for kind in kinds),
           _ratio(result, row)) for row in ROWS if row.scenario in SHORT)])


def _ratio(result: dict[str, Any], row: Row) -> str:
    found = result['summary'].get(row.scenario, {}).get('metrics', {}).get(
        row.metric, {}).get('ratio', {}).get(f'{OURS}/redis')
    return '' if found is None else number(found)


COLUMNS = ((OURS, 'redis'), (OURS, 'nodejs'), ('recovery', OURS),
           ('fallback', 'redis'), ('fallback', 'nodejs'))
"""The kinds that are compared in the table of targets."""


def targets(result: dict[str, Any]) -> str:
    """Return the table of targets, and how many are met."""
    judged = [each for each in result['targets']
              if each['reached'] is not None]
    met = sum(each['reached'] for each in judged)
    columns = [pair for pair in COLUMNS if any(
        (each['ours'], each['base']) == pair for each in judged)]
    rows = [('', *(f'{TITLES[ours]} to {TITLES[base]}'
                   for ours, base in columns))]
    for row in ROWS:
        cells = [_target(judged, row, *pair) for pair in columns]
        if any(cells):
            rows.append((row.title, *cells))
    return (f'{met} of {len(judged)} targets are met.\n\n'
            + table((30, *(14,) * len(columns)), rows))


def _target(judged: Sequence[dict[str, Any]], row: Row, ours: str,
            base: str) -> str:
    for each in judged:
        if (each['scenario'], each['metric'], each['ours'], each['base']) \
                == (row.scenario, row.metric, ours, base):
            sign = '≥' if each['least'] else '≤'
            unit = ' more' if each['how'] == 'difference' else ''
            value = number(each['value'])
            return (value if each['reached'] else f'**{value}**') \
                + f'{unit} ({sign} {each["bound"]:.3g})'
    return ''


def check(result: dict[str, Any]) -> str:
    """Return the table that compares the model with the measurements."""
    summary = result['summary']
    return table((20, 20, 20, 20, 20), [
        ('nodes', 'Redis, µs', 'Redis sends, bytes', 'sender, µs',
         'receiver, µs'),
        *((each.what, *(
            '' if pair is None else
            f'{number(pair[0])} / {number(pair[1])}' for pair in (
                each.redis, each.output, each.sender, each.receiver)))
          for each in checks(summary, fit(summary)))])


def model(result: dict[str, Any]) -> str:
    """Return the table of the model's costs."""
    costs = fit(result['summary'])
    rows = [('µs of CPU', 'busy', 'alone')]
    for title, cost in (
            ('a node emits an event', costs.send),
            ('a node reads an event that no local client gets',
             costs.ignore),
            ('and delivers it to a local client', costs.first),
            ('and to each further one', costs.client),
            ('Redis stores an event', costs.write),
            ('Redis gives it to a node', costs.read)):
        rows.append((title, number(cost.busy), number(cost.alone)))
    for title, value in (
            ('1,000 bytes of data, for a node', costs.node_kilobyte),
            ('and for Redis, in or out', costs.redis_kilobyte)):
        rows.append((title, number(value), number(value)))
    return table((60, 20, 20), rows)


def calls(result: dict[str, Any]) -> str:
    """Return the table of function calls."""
    kinds = [kind for kind in KINDS if kind in result['calls']]
    return table((40, 15, 15, 15), [
        ('of the package / of all', *(TITLES[kind] for kind in kinds),
         'target'),
        *((case.title, *(_calls(Calls(**result['calls'][kind][name]))
                         for kind in kinds), _calls(case.target))
          for name, case in CASES.items())])


def _calls(figures: Calls) -> str:
    return ' / '.join(number(figure) for figure in figures
                      if figure < float('inf'))


CLUSTERS = (
    ('8 nodes, 1,000 clients', dict(
        rate=500, nodes=8, size=200, reached=20, clients=1_000)),
    ('20 nodes, 100,000 clients', dict(
        rate=1_000, nodes=20, size=200, reached=50, clients=100_000)),
    ('100 nodes, 1,000,000 clients', dict(
        rate=1_000, nodes=100, size=200, reached=50, clients=1_000_000)),
    ('the same, ten times the events', dict(
        rate=10_000, nodes=100, size=200, reached=50, clients=1_000_000)),
    ('the same, 8 streams on 8 masters', dict(
        rate=10_000, nodes=100, size=200, reached=50, clients=1_000_000,
        masters=8)),
    ('100 nodes, one event for all clients', dict(
        rate=1, nodes=100, size=200, reached=1_000_000, clients=1_000_000)),
)
"""What the page calculates."""


def clusters(result: dict[str, Any]) -> str:
    """Return the table of clusters on paper."""
    costs = fit(result['summary'])
    rows: list[Sequence[str]] = [(
        '', 'events/s', 'CPU of a Redis', 'Redis sends, MB/s',
        'CPU of a node', 'memory of a node, MiB',
        'at most, events/s: Redis; nodes')]
    for title, options in CLUSTERS:
        load = capacity.Load(**options)
        found = capacity.needs(load, costs)
        rows.append((
            title, f'{load.rate:,.0f}', f'{found.redis_cpu:.0%}',
            f'{found.output:,.0f}', f'{found.node_cpu:.0%}',
            f'{found.node_memory:,.0f}', '; '.join(
                f'{most:,.0f}' for most in capacity.limit(load, costs))))
    return table((28, 10, 10, 12, 10, 12, 18), rows)


BLOCKS = {README: {'speed': short, 'environment': about,
                   'delivery': delivery},
          PAGE: {'environment': about, 'figures': figures,
                 'delivery': delivery, 'targets': targets, 'calls': calls,
                 'costs': model, 'check': check, 'clusters': clusters}}
"""What each page shows."""


def replaced(text: str, name: str, body: str) -> str:
    """Return a page with another block.

    :raises ValueError: the page has no such block.
    """
    begin, end = f'.. begin: {name}\n', f'.. end: {name}\n'
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f'no block {name!r}')
    return f'{head}{begin}\n{body}\n\n{end}{tail}'


def pages(result: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the pages as they should be."""
    for path, blocks in BLOCKS.items():
        text = path.read_text('utf-8')
        for name, make in blocks.items():
            text = replaced(text, name, make(result))
        yield path, text


def main(arguments: Sequence[str] | None = None) -> int:
    """Write; return the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.publish',
        description='Write the figures of a run into the documentation.')
    parser.add_argument('result', type=Path, nargs='?',
                        default=PUBLISHED,
                        help='what "benchmarks.compare --json" has written '
                             '(default: the run that is published)')
    parser.add_argument('--calls', type=Path, metavar='FILE',
                        help='what "benchmarks.calls --json" has written '
                             '(default: what is published)')
    options = parser.parse_args(arguments)
    if fault := plot.obstacle():
        parser.error(fault)
    result = json.loads(options.result.read_text('utf-8'))
    missing = [scenario.name for scenario in SCENARIOS
               if scenario.name not in result['summary']]
    if missing:
        parser.error(f'not measured: {", ".join(missing)}')
    if options.calls:
        result['calls'] = json.loads(options.calls.read_text('utf-8'))
    elif 'calls' not in result:
        result['calls'] = published()['calls']
    # The medians suffice to draw and to calculate.
    result.pop('rounds', None)
    for path, text in pages(result):
        path.write_text(text, 'utf-8')
        print(path, file=sys.stderr)
    for path, draw in PICTURES.items():
        draw(result, str(path))
        print(path, file=sys.stderr)
    with open(PUBLISHED, 'w', encoding='utf-8') as file:
        json.dump(result, file, indent=1)
        file.write('\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
