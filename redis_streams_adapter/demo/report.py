"""The report of a run of the demo, in plain text.

The table has one line for each event and one column for each client, with
the worker that the client is connected to above it.
"""
from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
import os
from statistics import median
from typing import TextIO

from .scenario import CLIENTS, Cell, Step

#: Characters for the number and the title of a line, and for each client.
#: With a last column of three this fits into a terminal of 80 columns.
TITLE_WIDTH = 34
CELL_WIDTH = 7

#: SGR codes, used at a terminal only.
GREEN, RED, BOLD, DIM = '32', '31', '1', '2'


class Report:
    """Writes the report, line by line.

    :param out: the output. Colours are used if it is a terminal and
                ``NO_COLOR`` is not set.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colours = (out.isatty() and not os.environ.get('NO_COLOR')
                         and os.environ.get('TERM') != 'dumb')

    def title(self, text: str) -> None:
        self._write(self._paint(text, BOLD))
        self._write('')

    def fact(self, name: str, *lines: str) -> None:
        """Write a fact, in one or more lines."""
        for line in lines or ('',):
            self._write(f'  {name:<10}{line}')
            name = ''

    def gap(self) -> None:
        """Write an empty line."""
        self._write('')

    def happening(self, line: str) -> None:
        """Write what happens while the page is served. Any task may."""
        # The output may be closed: the demo goes on.
        with suppress(OSError):
            self._write(f'  {line}')

    def table_head(self) -> None:
        workers = ''
        for number in sorted(set(CLIENTS.values())):
            width = CELL_WIDTH * list(CLIENTS.values()).count(number)
            workers += f'worker {number}'.center(width)
        names = ''.join(name.rjust(CELL_WIDTH) for name in CLIENTS)
        self._write('')
        self._write(' ' * (TITLE_WIDTH + 1) + workers.rstrip())
        self._write('  ms from emit to client'.ljust(TITLE_WIDTH) + names)
        self._write('  ' + '-' * (TITLE_WIDTH + len(names) - 2))

    def line(self, step: Step, cells: Sequence[Cell]) -> None:
        """Write one line of the table."""
        good = not any(cell.problem for cell in cells)
        self._write(
            f'{step.number:>3} {step.title:<{TITLE_WIDTH - 4}}'
            + ''.join(self._cell(cell) for cell in cells)
            + (self._paint(' ok', GREEN) if good
               else self._paint(' !!', RED)))

    def table_foot(self) -> None:
        self._write('')
        self._write(self._paint('  -  not meant for this client, and did '
                                'not reach it', DIM))

    def problems(self, problems: Sequence[str]) -> None:
        if problems:
            self._write('')
        for problem in problems:
            self._write('  ' + self._paint(problem, RED))

    def summary(self, events: int, cells: Sequence[Cell],
                good: bool) -> None:
        """Write the last line.

        :param events: how many were emitted.
        :param cells: all cells of the table.
        :param good: whether everything was as it should be.
        """
        due = [cell for cell in cells if cell.expected]
        right = [cell.seconds * 1000 for cell in due
                 if cell.seconds is not None and cell.problem is None]
        stray = sum(cell.problem == 'STRAY' for cell in cells)
        text = (f'{events} events, {len(right)} of {len(due)} deliveries '
                f'exactly once, {stray} misdelivered')
        if right:
            text += f'; median {median(right):.1f} ms'
        self.verdict(text, good)

    def verdict(self, text: str, good: bool) -> None:
        """Write the last line.

        :param good: whether everything was as it should be.
        """
        self._write('')
        self._write((self._paint('PASS', GREEN) if good
                     else self._paint('FAIL', RED)) + f'  {text}')

    def _cell(self, cell: Cell) -> str:
        if cell.problem is not None:
            return self._paint(cell.problem.rjust(CELL_WIDTH), RED)
        if cell.seconds is None:
            return self._paint('-'.rjust(CELL_WIDTH), DIM)
        return f'{cell.seconds * 1000:.1f}'.rjust(CELL_WIDTH)

    def _paint(self, text: str, code: str) -> str:
        return f'\x1b[{code}m{text}\x1b[0m' if self._colours else text

    def _write(self, line: str) -> None:
        print(line, file=self._out, flush=True)
