"""What commands print: tables for people, lines for programs.

A record is a mapping. With ``--json`` each is an object on a line. Otherwise
each is a row of a table: drawn by rich, if that is installed and the output
is a terminal, and in plain lines if not.

Names of rooms, of hosts and the like come from other processes. What is not
printable in them is escaped: it could move the cursor, or end a line.
"""
from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
import importlib.util
import json
from typing import Any, NamedTuple, TextIO

#: Seconds in a minute, an hour and a day, with the unit below each and what is
#: still shown in that unit.
_TIMES = ((86_400.0, 'd'), (3_600.0, 'h'), (60.0, 'min'))

#: From how many of a unit on it is used: 90 s are clearer than 1.5 min.
_MANY = 2

_SIZES = ((2**30, 'GiB'), (2**20, 'MiB'), (2**10, 'KiB'))

#: What stands for a value that is not known.
UNKNOWN = '-'

Record = Mapping[str, Any]


class Column(NamedTuple):
    """A column of a table.

    :param key: of a record.
    :param title: its heading; without it, the key.
    :param show: a value as people read it.
    :param right: whether it is aligned to the right, as numbers are.
    """

    key: str
    title: str = ''
    show: Callable[[Any], str] | None = None
    right: bool = False

    @property
    def heading(self) -> str:
        return (self.title or self.key.replace('_', ' ')).upper()

    def text(self, record: Record) -> str:
        """The cell of a record."""
        value = record.get(self.key)
        if value is None:
            return UNKNOWN
        return printable(str(value) if self.show is None
                         else self.show(value))


class Output:
    """The output of a command.

    :param as_json: print JSON.
    """

    def __init__(self, out: TextIO, err: TextIO,
                 as_json: bool = False) -> None:
        self.out = out
        self._err = err
        self.as_json = as_json

    @property
    def is_drawn(self) -> bool:
        """Whether rich draws tables."""
        return not self.as_json and self.out.isatty() and has_rich()

    def table(self, records: Iterable[Record], columns: Sequence[Column],
              empty: str) -> None:
        """Print records.

        :param empty: what is said to people if there are none.
        """
        rows = list(records)
        if self.as_json:
            for each in rows:
                self.object(each)
        elif not rows:
            self.line(empty)
        elif self.is_drawn:
            self._draw(rows, columns)
        else:
            self._write_table(rows, columns)

    def object(self, record: Record) -> None:
        """Print a record as JSON."""
        self._print(as_json(record))

    def line(self, text: str) -> None:
        """Print a line for people."""
        self._print(printable(text))

    def note(self, text: str) -> None:
        """Print a line that is no part of the result."""
        print(printable(text), file=self._err, flush=True)

    def _print(self, text: str) -> None:
        print(text, file=self.out, flush=True)

    def _write_table(self, rows: Sequence[Record],
                     columns: Sequence[Column]) -> None:
        cells = [[each.heading for each in columns], *(
            [each.text(row) for each in columns] for row in rows)]
        widths = [max(len(row[index]) for row in cells)
                  for index in range(len(columns))]
        for row in cells:
            self._print('  '.join(
                text.rjust(width) if column.right else text.ljust(width)
                for text, width, column in zip(row, widths, columns)
            ).rstrip())

    def _draw(self, rows: Sequence[Record],
              columns: Sequence[Column]) -> None:
        from rich.console import Console
        Console(file=self.out).print(rich_table(rows, columns))


def rich_table(rows: Iterable[Record], columns: Sequence[Column],
               style: Callable[[Record, Column], str] | None = None) -> Any:
    """A table that rich draws.

    :param style: the style of a cell.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text
    table = Table(box=box.SIMPLE_HEAD, header_style='bold')
    for column in columns:
        table.add_column(column.heading,
                         justify='right' if column.right else 'left',
                         overflow='fold')
    for row in rows:
        # As text: a name may look like markup.
        table.add_row(*(
            Text(column.text(row), style(row, column) if style else '')
            for column in columns))
    return table


def has_rich() -> bool:
    """Whether rich is installed."""
    try:
        return importlib.util.find_spec('rich') is not None
    except ValueError:
        # It has been replaced by something that is no module.
        return False


def printable(text: str) -> str:
    """The text on one line, with nothing that a terminal would obey."""
    if text.isprintable():
        return text
    return ''.join(each if each.isprintable() else
                   each.encode('unicode_escape', 'surrogatepass').decode()
                   for each in text)


def as_json(record: Record) -> str:
    """A record on one line. Bytes become ``{"base64": …}``."""
    return json.dumps(record, default=_default, ensure_ascii=True)


def _default(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {'base64': base64.b64encode(bytes(value)).decode()}
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def seconds(value: float) -> str:
    """A time: ``0.4 s``, ``12 s``, ``5.3 h``."""
    for length, unit in _TIMES:
        if value >= _MANY * length:
            return f'{value / length:.1f} {unit}'
    return f'{value:.1f} s' if value < 10 else f'{value:.0f} s'


def size(value: float) -> str:
    """A number of bytes: ``512 B``, ``1.5 MiB``."""
    for length, unit in _SIZES:
        if value >= length:
            return f'{value / length:.1f} {unit}'
    return f'{value:.0f} B'


def number(value: float) -> str:
    """A number: ``12,345``, ``0.25``."""
    if isinstance(value, int) or value >= 100 or value == int(value):
        return f'{value:,.0f}'
    return f'{value:.3g}'


def names(values: Iterable[Any]) -> str:
    """Several names, as of rooms."""
    return ', '.join(map(str, values)) or UNKNOWN
