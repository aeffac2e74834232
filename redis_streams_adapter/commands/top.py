"""``top``: the servers of the cluster, live in the terminal."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import itertools
import os
import select
import sys
import time
from typing import Any

from .asking import Answer, observing
from .clock import wait
from .errors import UsageError
from .output import Column, has_rich, number, Output, Record, rich_table, \
    seconds, size
from .place import as_count, as_seconds, Place
from .stats import flat

HELP = 'watch the servers of the cluster, live'

#: Seconds between two questions.
INTERVAL = 2.0

#: The figures of which a rate is shown.
RATES = ('sent', 'received', 'delivered', 'cpu_seconds')

COLUMNS = [
    Column('uid', 'server'), Column('language'), Column('host'),
    Column('pid', 'process', str, True), Column('status'),
    Column('clients', '', number, True),
    Column('sent_rate', 'sent/s', number, True),
    Column('received_rate', 'received/s', number, True),
    Column('delivered_rate', 'delivered/s', number, True),
    Column('reader_lag', 'lag', seconds, True),
    Column('outbox', '', number, True),
    Column('cpu', '', '{:.0%}'.format, True),
    Column('memory', '', size, True),
    Column('lost', '', number, True)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        '--interval', metavar='SECONDS', type=as_seconds, default=INTERVAL,
        help='how often the servers are asked (default: %(default)g)')
    parser.add_argument(
        '--count', metavar='N', type=as_count,
        help='end after so many times')


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    if not output.as_json and not has_rich():
        raise UsageError("rich is not installed, which draws the table; run: "
                         "pip install 'redis-streams-adapter[cli]', or use "
                         "--json")
    if not output.as_json and not output.out.isatty():
        raise UsageError('the output is no terminal: use stats, or --json')
    try:
        with observing(place) as observer:
            top = Top(lambda: observer.cluster_stats(place.timeout))
            if output.as_json:
                _print(top, given, output)
            else:
                _draw(top, given, output)
    except KeyboardInterrupt:
        # How one ends it.
        return 0
    return 0


class Top:
    """The state of the servers, with rates."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask
        #: The last figures, and their time, by uid.
        self._before: dict[str, tuple[float, Record]] = {}
        #: What is wrong with the last answers.
        self.problem: str | None = None

    def look(self) -> list[dict[str, Any]]:
        """Ask the servers."""
        answer = Answer(self._ask)
        self.problem = answer.problem
        now = time.monotonic()
        rows = [self._with_rates(flat(each), now) for each in answer.values]
        self._before = {each['uid']: (now, each) for each in rows}
        return sorted(rows, key=lambda each: (
            each['host'] or '', each['pid'] or 0, each['uid']))

    def _with_rates(self, row: dict[str, Any],
                    now: float) -> dict[str, Any]:
        at, before = self._before.get(row['uid'], (now, {}))
        for name in RATES:
            new, old = row[name], before.get(name)
            row[f'{name}_rate'] = None if new is None or old is None \
                or now <= at or new < old else round((new - old)
                                                     / (now - at), 3)
        # Of one processor: a process that keeps two busy has 2.
        row['cpu'] = row.pop('cpu_seconds_rate')
        return row


def _print(top: Top, given: argparse.Namespace, output: Output) -> None:
    for round_number in _times(given.count):
        if round_number:
            wait(given.interval)
        for each in top.look():
            output.object({'time': round(time.time(), 3), **each})
        if top.problem:
            output.note(top.problem)


def _draw(top: Top, given: argparse.Namespace, output: Output) -> None:
    from rich.console import Console
    from rich.live import Live
    console = Console(file=output.out)
    with _keys() as pressed, Live(
            console=console, screen=True, auto_refresh=False) as live:
        for _ in _times(given.count):
            live.update(_screen(top.look(), top.problem), refresh=True)
            if pressed(given.interval):
                return


def _screen(rows: Sequence[Record], problem: str | None) -> Any:
    from rich.console import Group
    from rich.text import Text
    known = [each['clients'] for each in rows if each['clients'] is not None]
    head = f'{len(rows)} servers, {sum(known):,} clients   ' \
        f'{time.strftime("%H:%M:%S")}   q: quit'
    return Group(Text(head, 'bold'), rich_table(rows, COLUMNS, _style),
                 Text(problem or '', 'red'))


def _style(row: Record, column: Column) -> str:
    """Red: something is lost, or wrong."""
    bad = {'lost': bool(row['lost']),
           'status': row['status'] not in (None, 'ok'),
           'outbox': (row['outbox'] or 0) > 1_000,
           'reader_lag': (row['reader_lag'] or 0) > 1}
    return 'bold red' if bad.get(column.key) else ''


def _times(count: int | None) -> Iterator[int]:
    """0, 1, 2, …

    :param count: how many; ``None``: for ever.
    """
    return itertools.count() if count is None else iter(range(count))


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Read single keys from the terminal.

    :return: waits for so many seconds; returns whether ``q`` was pressed.
    """
    if not sys.stdin.isatty():
        yield _wait
        return
    import termios
    import tty
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        # Ctrl-C remains a signal.
        tty.setcbreak(terminal)
        yield _pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _wait(interval: float) -> bool:
    wait(interval)
    return False


def _pressed(interval: float) -> bool:
    deadline = time.monotonic() + interval
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if select.select([sys.stdin], [], [], left)[0]:
            # Not read(), whose buffer select() does not see.
            key = os.read(sys.stdin.fileno(), 1)
            if key in (b'q', b'Q', b''):
                return True
