"""The commands that the package sends, what needs them, and what happens where
a server refuses them.

The table in docs/compatibility.rst is generated from this list:
``python -m tests.support.commands``. The tests of rights take their commands
from it, and tests/faults/test_refused_commands.py refuses each one.
"""
import textwrap
from pathlib import Path
from types import MappingProxyType
from typing import Any, List, Mapping, NamedTuple, Tuple

PAGE = Path(__file__).parents[2] / 'docs' / 'compatibility.rst'
BEGIN, END = '.. begin: commands\n', '.. end: commands\n'

#: Events are sent and received in spite of the refusal.
GOES_ON = 'goes on'

#: Events wait until the command is permitted, and none is lost.
WAITS = 'waits'

#: A server of another kind is needed, see tests/faults/topologies.
ELSEWHERE = 'elsewhere'

_WAIT = ('Events wait in the outbox. ``health()`` is ``degraded``, and '
         '``last_error`` names the command.')


class Row(NamedTuple):
    """A row of the table.

    :param commands: as an access control list names them.
    :param needed_by: what needs them.
    :param without: what happens without them.
    :param effect: what the tests expect of events.
    :param options: with these options of a manager they are used.
    """

    commands: Tuple[str, ...]
    needed_by: str
    without: str
    effect: str
    options: Mapping[str, Any] = MappingProxyType({})


ROWS = [
    Row(('xadd', 'xread'), 'everything', _WAIT, WAITS),
    Row(('xread|block',), 'a server: reads that wait',
        'The stream is read a few times a second, so events are late by up to '
        'a quarter of a second. One warning says so.', GOES_ON),
    Row(('xinfo|stream',), 'everything',
        'A script (``EVAL``) asks in its place, if the server permits the '
        'command there. Else events wait in the outbox, and ``last_error`` '
        'names the command.', GOES_ON),
    Row(('time',), 'a server', 'As with ``XINFO STREAM``.', GOES_ON),
    Row(('multi', 'exec'), 'batches of events',
        'Events are written one by one, each with a round trip: a few '
        'thousand a second. One warning says so.', GOES_ON),
    Row(('eval',), 'entries that are larger than a buffer limit of the '
        'server; positions in the stream without the entries there',
        'A server cannot get past such an entry. Large entries are sent with '
        'the positions, which are asked for less often then.', GOES_ON),
    Row(('client|info', 'client|kill'),
        'ending a broken connection on the server\'s side, too',
        'The stream may get a second copy of an event. Readers drop it.',
        GOES_ON),
    Row(('client|setinfo',), 'nothing: it is sent only if ``redis_options`` '
        'name a library', 'Nothing changes.', GOES_ON),
    Row(('xdel', 'pexpire'), 'answers to requests',
        'The answers go into the stream, and push events out of it.',
        GOES_ON),
    Row(('xtrim',), '``retention``; a Redis whose memory is full', _WAIT,
        WAITS, {'retention': 60.0}),
    Row(('wait',), '``min_replicas``', _WAIT, WAITS, {'min_replicas': 1}),
    Row(('get', 'set', 'del', 'xrange', 'xrevrange'), 'recovery',
        'A client that returns is a new one.', GOES_ON,
        {'connection_state_recovery': True}),
    Row(('subscribe', 'unsubscribe', 'publish', 'pubsub|numsub', 'ping'),
        "``request_transport='pubsub'``",
        'Requests to other servers end with an error.', GOES_ON,
        {'request_transport': 'pubsub'}),
    Row(('ssubscribe', 'sunsubscribe', 'spublish', 'pubsub|shardnumsub'),
        "``request_transport='sharded-pubsub'``",
        'Requests to other servers end with an error.', GOES_ON,
        {'request_transport': 'sharded-pubsub'}),
    Row(('select',), 'a database other than 0', _WAIT, ELSEWHERE),
    Row(('cluster|slots',), 'a Redis Cluster', _WAIT, ELSEWHERE),
    Row(('sentinel|master',), 'Sentinels', _WAIT, ELSEWHERE),
]


def table() -> str:
    """The table in reStructuredText."""
    lines: List[str] = ['.. list-table::', '   :header-rows: 1',
                        '   :widths: 24 30 46', '']
    rows = [('Command', 'Needed by', 'Without it'), *(
        (', '.join(f'``{shown(each)}``' for each in row.commands),
         row.needed_by, row.without) for row in ROWS)]
    for row in rows:
        for number, cell in enumerate(row):
            lines.append(textwrap.fill(
                cell, 79, initial_indent='     - ' if number else '   * - ',
                subsequent_indent=' ' * 7, break_long_words=False,
                break_on_hyphens=False))
    return '\n'.join(lines) + '\n'


def shown(command: str) -> str:
    """A command as people write it."""
    return command.replace('|', ' ').upper()


def page(text: str) -> str:
    """The page of the documentation with the table of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f'{before}{BEGIN}\n{table()}\n{END}{after}'


def row_of(command: str) -> Tuple[str, ...]:
    """The commands of the row that has this one."""
    row, = (row for row in ROWS if command in row.commands)
    return row.commands


if __name__ == '__main__':
    PAGE.write_text(page(PAGE.read_text('utf-8')), 'utf-8')
