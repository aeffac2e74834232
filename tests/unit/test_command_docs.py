"""The documentation of the commands that the package sends."""
import re
from pathlib import Path

import redis_streams_adapter

from ..support.commands import PAGE, page, ROWS

PACKAGE = Path(redis_streams_adapter.__file__).parent


def test_table_is_generated() -> None:
    text = PAGE.read_text('utf-8')
    assert page(text) == text


def test_each_command_is_in_the_table() -> None:
    """A command that the source begins with its name."""
    named = {part.upper() for row in ROWS for each in row.commands
             for part in each.split('|')}
    sent = set()
    for path in (PACKAGE / 'stream').glob('*.py'):
        sent.update(re.findall(r"\(b'([A-Z]+)',", path.read_text('utf-8')))
    # Options of XADD and XREAD, and the answer to a moved slot.
    assert sent - named <= {'MAXLEN', 'MINID', 'BLOCK', 'ASKING'}
    assert {'XADD', 'XREAD', 'EVAL'} <= sent
