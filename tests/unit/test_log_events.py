"""The kinds of records, and their documentation."""
import ast
import logging
import re
from pathlib import Path
from typing import Dict, List, Set, Tuple

import redis_streams_adapter
from redis_streams_adapter import log_events
from redis_streams_adapter.log_events import COMMON, EVENTS, REDIS_AWAY
from redis_streams_adapter.stream.masking import SECRET_OPTION

from ..support.log_records import ATTRIBUTES

ROOT = Path(redis_streams_adapter.__file__).parent
PAGE = Path(__file__).parents[2] / 'docs' / 'logging.rst'

Rows = Dict[str, Tuple[List[str], List[str]]]


def documented() -> Rows:
    """Of each event, the levels and fields that the page names."""
    rows: Rows = {}
    for cells in re.findall(
            r'   \* - ``(\w+)``\n     - (.*)\n     - (.*)\n     - (.*)\n',
            PAGE.read_text('utf-8')):
        name, levels, fields, meaning = cells
        assert name not in rows and meaning
        rows[name] = levels.split(', '), re.findall(r'``(\w+)``', fields)
    return rows


def test_each_event_is_documented() -> None:
    assert documented() == {
        event.name: ([logging.getLevelName(level).lower()
                      for level in event.levels], list(event.fields))
        for event in EVENTS.values()}


def test_each_field_is_documented() -> None:
    text = PAGE.read_text('utf-8')
    named = set(re.findall(r'^``(\w+)``  ', text, re.MULTILINE))
    assert named == {*COMMON, *(
        field for event in EVENTS.values() for field in event.fields)}


def test_each_kind_has_a_name() -> None:
    names = {name: value for name, value in vars(log_events).items()
             if isinstance(value, log_events.LogEvent)}
    assert {value.name: name.lower() for name, value in names.items()} \
        == {name: name for name in EVENTS}


def test_no_field_is_an_attribute_of_records() -> None:
    """Logging would refuse the record."""
    for event in EVENTS.values():
        fields = {*COMMON, *event.fields}
        assert not fields & ATTRIBUTES
        assert len(fields) == len(COMMON) + len(event.fields)


def test_no_field_is_a_secret() -> None:
    for event in EVENTS.values():
        assert not [field for field in event.fields
                    if field == 'pid' or SECRET_OPTION.search(field)]


def test_fields_that_do_not_apply_are_none() -> None:
    assert REDIS_AWAY(service='streams', task='t', reason='r') == {
        'event': 'redis_away', 'node': None, 'stream': None,
        'namespace': None, 'service': 'streams', 'task': 't', 'reason': 'r'}


def test_each_event_is_used_with_its_fields() -> None:
    """Also by lines that no test reaches."""
    used: Set[str] = set()
    for path in ROOT.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            if not isinstance(node, ast.Call) \
                    or not isinstance(node.func, ast.Name) \
                    or node.func.id.lower() not in EVENTS:
                continue
            event = EVENTS[node.func.id.lower()]
            used.add(event.name)
            given = {each.arg for each in node.keywords} - set(COMMON)
            assert given == set(event.fields), (path, node.lineno)
    # Passed on by name.
    of_members = {name for name in EVENTS if name.startswith('node_')}
    assert used == set(EVENTS) - of_members


#: The methods of a logger.
METHODS = {'debug', 'info', 'warning', 'error', 'exception', 'log'}


def test_each_line_has_an_event() -> None:
    """Each call of a logger has the argument ``extra``."""
    found = 0
    for path in ROOT.rglob('*.py'):
        if path.name in ('log_context.py', 'queueing.py'):
            # They pass on what others log.
            continue
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            if not isinstance(node, ast.Call):
                continue
            # "log_safely(logger().info, ...)", "logger().info(...)"
            for each in (node.func, *node.args[:1]):
                if isinstance(each, ast.Attribute) and each.attr in METHODS \
                        and 'logger' in ast.unparse(each.value):
                    found += 1
                    text = ast.unparse(node)
                    assert 'extra=' in text or text.startswith('Line('), text
    assert found > 40
