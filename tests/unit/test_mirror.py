"""The tests mirror the package, as far as the names and imports of files show
it."""
import ast
import configparser
import re
from pathlib import Path
from typing import Iterator, Set

import pytest

import redis_streams_adapter

PACKAGE = Path(redis_streams_adapter.__file__).parent
UNIT = Path(__file__).parent
TESTS = UNIT.parent

#: The maximum number of lines of a test file.
MAX_LINES = 600

#: Modules without their own unit test.
UNTESTED = {
    # It runs the command, see test_cli.
    '__main__',
    # Interfaces without code.
    'runtime/delivery',
}

#: Tests of the package as a whole, and of code that only tests use.
OF_NO_MODULE = {
    'test_architecture', 'test_architecture_page', 'test_chaos',
    'test_dependencies', 'test_errors', 'test_exports', 'test_mirror',
    'test_option_docs', 'test_command_docs', 'test_redis_binaries',
    'testing/test_documentation',
    # Calls of a manager and of recovery's sessions, struck by an exception at
    # every point.
    'test_struck_anywhere', 'recovery/test_struck_sessions',
    'test_troubleshooting',
}

#: Modules that start or need a Redis.
NEEDS_REDIS = {
    'redis_binary', 'redis_server', 'make_redis', 'make_proxy',
    'start_nodes', 'RedisServer', 'RedisCluster', 'Sentinels', 'Proxy',
    'NodeProcess', 'free_port'}


def modules() -> Iterator[str]:
    """The paths of the modules, without the extension. The demo and the
    commands are tested as a whole, see tests/demo and tests/commands."""
    for path in PACKAGE.rglob('*.py'):
        name = path.relative_to(PACKAGE).with_suffix('').as_posix()
        if path.name != '__init__.py' and not name.startswith(
                ('demo/', 'commands/')):
            yield name


def unit_tests() -> Iterator[Path]:
    return UNIT.rglob('test_*.py')


def name_of(path: Path) -> str:
    return path.relative_to(UNIT).with_suffix('').as_posix()


def names_for(module: str) -> Set[str]:
    """The names of a module's tests: one file, further files for its parts,
    or a directory."""
    package, _, name = module.rpartition('/')
    prefix = f'{package}/' if package else ''
    return {name_of(path) for path in unit_tests()
            if name_of(path).startswith((
                f'{prefix}test_{name}_', f'{prefix}{name}/test_'))
            or name_of(path) == f'{prefix}test_{name}'}


@pytest.mark.parametrize('module', sorted(set(modules()) - UNTESTED))
def test_each_module_has_its_tests(module: str) -> None:
    package, _, name = module.rpartition('/')
    assert (UNIT / package / f'test_{name}.py').exists() \
        or (UNIT / package / name / '__init__.py').exists()


def test_each_unit_test_has_its_module() -> None:
    expected = set(OF_NO_MODULE)
    for module in modules():
        expected |= names_for(module)
    assert {name_of(path) for path in unit_tests()} == expected


@pytest.mark.parametrize('path', [
    path for path in UNIT.rglob('*.py') if path != Path(__file__)],
    ids=lambda path: path.relative_to(UNIT).as_posix())
def test_unit_tests_need_no_redis(path: Path) -> None:
    """They import no helper that needs Redis, and use no fixture that does."""
    tree = ast.parse(path.read_text('utf-8'))
    used: Set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level \
                and 'support' in str(node.module):
            used.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not str(node.module).startswith('tests')
        elif isinstance(node, ast.FunctionDef):
            used.update(each.arg for each in node.args.args)
    assert not used & NEEDS_REDIS


@pytest.mark.parametrize('path', sorted(TESTS.rglob('*.py')),
                         ids=lambda path: path.relative_to(TESTS).as_posix())
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text('utf-8').splitlines()) <= MAX_LINES


def test_each_directory_of_tests_is_run() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(TESTS.parent / 'tox.ini')
    commands = ' '.join(tox[section].get('commands', '')
                        for section in tox.sections())
    named = {re.sub(r'[/.]', '.', each)
             for each in re.findall(r'tests[/.]\w+', commands)}
    assert named == {f'tests.{path.name}' for path in TESTS.iterdir()
                     if list(path.glob('test_*.py')) or list(path.glob(
                         '__main__.py'))}
