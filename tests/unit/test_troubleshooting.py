"""The page about errors has an entry for each that an application can get."""
import ast
import re
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import pytest

import redis_streams_adapter

ROOT = Path(redis_streams_adapter.__file__).parent
PAGE = (ROOT.parent / 'docs' / 'troubleshooting.rst').read_text('utf-8')

#: The errors that reach an application; those of options explain themselves.
KINDS = {'RuntimeError', 'ValueError', 'TypeError', 'ImportError',
         'RedisStreamsError', 'OutboxFullError', 'EventTooLargeError',
         'NotStoredError'}

#: Packages whose errors end within a command, or in a test.
ELSEWHERE = ('cli.py', 'commands', 'dashboard', 'demo', 'testing',
             'monitoring/checks.py')

#: Errors that the package catches itself, by file.
CAUGHT = {
    'clients/hooks.py': ('a session of Flask', 'it holds itself',
                         'it is none that Flask'),
    'parsing.py': ('',), 'protocol/json_parser.py': ('',),
    'recovery/session_codec.py': ('',), 'stream/url.py': ('',),
    'recovery/tracker.py': ('a client connects without the server',),
}

#: Texts that have a name.
NAMED = ('does not know all members', 'was lost before this server had read')


def texts(node: ast.Call) -> List[str]:
    """The parts of an error's text that are always the same."""
    if not node.args:
        return []
    return [each.value for each in ast.walk(node.args[0])
            if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def raised() -> Iterator[Tuple[str, List[str]]]:
    """Where errors are made, and their texts."""
    for path in sorted(ROOT.rglob('*.py')):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(ELSEWHERE):
            continue
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            if isinstance(node, (ast.Raise, ast.Return)) \
                    and isinstance(node.__dict__.get('exc', None)
                                   or node.__dict__.get('value'), ast.Call):
                call = node.exc if isinstance(node, ast.Raise) else node.value
                assert isinstance(call, ast.Call)
                if isinstance(call.func, ast.Name) and call.func.id in KINDS:
                    parts = texts(call)
                    if parts and not any(
                            each in parts[0] if each else True
                            for each in CAUGHT.get(name, ())):
                        yield name, parts


ERRORS = list(raised())

#: The words by which the page names errors.
ENTRIES = re.findall(r'^   \* - ``([^`]+)``$', PAGE, re.MULTILINE)


def test_errors_are_found() -> None:
    assert len(ERRORS) > 20


@pytest.mark.parametrize('name, parts', ERRORS, ids=[
    f'{name}-{number}' for number, (name, _) in enumerate(ERRORS)])
def test_page_has_each_error(name: str, parts: List[str]) -> None:
    text = '…'.join(parts)
    assert any(each in text for each in ENTRIES), (name, text)


def test_page_has_no_other_errors() -> None:
    source: Dict[str, str] = {
        '…'.join(parts): name for name, parts in ERRORS}
    unknown = [each for each in ENTRIES
               if not any(each in text for text in source)]
    constants = '\n'.join(path.read_text('utf-8')
                          for path in ROOT.rglob('*.py'))
    # Of ClusterTimeoutError, whose texts are put together.
    assert [each for each in unknown if each not in constants] == []
    assert set(NAMED) <= {
        each[:len(name)] for each in ENTRIES for name in NAMED}


def test_links_lead_somewhere() -> None:
    for target in re.findall(r'<([a-z-]+\.rst)>`_', PAGE):
        assert (ROOT.parent / 'docs' / target).is_file(), target
