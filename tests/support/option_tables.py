"""The places in the documentation that repeat the table of options.

``python -m tests.support.option_tables`` generates them from the table. The
unit tests compare them with it. The constructor's signature is written by
hand, and compared, too.
"""
import textwrap
from pathlib import Path
from typing import Callable, List, NamedTuple, Sequence

from redis_streams_adapter.options import Option, RECOVERY, TABLE

ROOT = Path(__file__).parents[2]


def shown_default(option: Option) -> str:
    """The default as the documentation shows it."""
    if option.shown:
        return option.shown
    if isinstance(option.default, (bool, str, type(None))):
        return f'``{option.default!r}``'
    return f'{option.default:,} {option.unit}'.rstrip()


def docstring(options: Sequence[Option]) -> str:
    """The ``:param:`` entries of a docstring."""
    return ''.join(textwrap.fill(
        f':param {option.name}: {option.text} Default: '
        f'{shown_default(option)}.',
        79, initial_indent=' ' * 4,
        subsequent_indent=' ' * 8, break_long_words=False,
        break_on_hyphens=False) + '\n' for option in options)


def table(options: Sequence[Option]) -> str:
    """A table in reStructuredText."""
    lines: List[str] = [
        '.. list-table::', '   :header-rows: 1', '   :widths: 22 18 40 20',
        '']
    rows = [['Name', 'Default', 'Meaning', 'In Node.js'],
            *([f'``{option.name}``', shown_default(option), option.text,
               node_name(option)] for option in options)]
    for row in rows:
        for number, cell in enumerate(row):
            bullet = '   * - ' if number == 0 else '     - '
            lines.append(textwrap.fill(
                cell, 79, initial_indent=bullet, subsequent_indent=' ' * 7,
                break_long_words=False, break_on_hyphens=False)
                or bullet.rstrip())
    return '\n'.join(lines) + '\n'


def node_name(option: Option) -> str:
    """The name in Node.js, as code unless it is a description."""
    return f'``{option.node}``' if option.node.isalnum() else option.node


class Place(NamedTuple):
    """A generated text in a file, between two fixed lines.

    :param before: the text starts after the first occurrence of this line.
    :param after: the text ends before the next occurrence of this line.
    :param expected: generates the text.
    """

    path: str
    before: str
    after: str
    expected: Callable[[], str]

    @property
    def text(self) -> str:
        """The current text in the file."""
        return self._parts()[1]

    def write(self) -> None:
        """Replace the text by the expected one."""
        start, _, end = self._parts()
        (ROOT / self.path).write_text(
            start + self.expected() + end, encoding='utf-8')

    def _parts(self) -> List[str]:
        content = (ROOT / self.path).read_text(encoding='utf-8')
        start = content.index(self.before) + len(self.before)
        end = content.index(self.after, start)
        return [content[:start], content[start:end], content[end:]]


PLACES = [
    Place('redis_streams_adapter/manager.py',
          'back; the clients of this server get it at once.\n\n',
          '    :raises ConfigurationError:', lambda: docstring(TABLE)),
    Place('README.rst', '.. The table of options, written by '
          'tests/support/option_tables.py.\n\n', '\n**Several streams.**',
          lambda: table(TABLE)),
    Place('docs/recovery.rst', '.. The table of options, written by '
          'tests/support/option_tables.py.\n\n', '\n**All servers of a ',
          lambda: table(RECOVERY)),
]

if __name__ == '__main__':
    for each in PLACES:
        each.write()
