"""The design, as far as a program can read it from the source."""
import ast
import graphlib
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Set

import pytest

import redis_streams_adapter

ROOT = Path(redis_streams_adapter.__file__).parent
PACKAGE = ROOT.name

#: A module may import from its own floor and from those below.
FLOORS = [
    ['errors', 'locks'],
    ['options', 'messages', 'transport', 'addressing', 'losses', 'routing',
     'application'],
    ['values', 'codec', 'membership', 'recovery', 'sequences', 'pace',
     'registry', 'requests', 'tasks', 'knowledge', 'signature',
     'redis_streams', 'redis_streams.connect', 'redis_streams.read_back',
     'redis_streams.courier',
     'redis_streams.discovery', 'redis_streams.doubt', 'redis_streams.link',
     'redis_streams.listener', 'redis_streams.outbox', 'redis_streams.reader',
     'redis_streams.servers', 'redis_streams.sessions', 'redis_streams.wire',
     'redis_streams.writer'],
    ['missed', 'node', 'delivery', 'channel', 'own_sockets', 'remote_socket',
     'server_side', 'side_channel', 'subscriptions', 'loss_report', 'flow',
     'asking', 'hooks', 'receipts', 'stay', 'keeper', 'timeline', 'gate',
     'connections', 'websocket', 'client_queue'],
    ['runtime', 'own_clients', 'claims', 'catching_up', 'outcomes',
     'admission', 'returning',
     'life', 'dispatch', 'cluster', 'manager', 'shutdown'],
    ['flask_socketio', 'gunicorn', 'cli', 'demo', '__main__'],
]

#: No I/O, no clock, no threads, no logging.
CORE = ['errors', 'options', 'messages', 'transport', 'addressing', 'losses',
        'routing', 'application', 'values', 'codec', 'membership',
        'recovery', 'missed', 'sequences', 'pace', 'requests', 'knowledge',
        'signature', 'node']

#: Who may import what, besides the standard library; the demo apart.
FOREIGN = {
    'values': {'msgpack'}, 'redis_streams.connect': {'redis', 'valkey'},
    'tasks': {'gevent', 'eventlet'}, 'delivery': {'engineio', 'socketio'},
    'hooks': {'flask', 'socketio'}, 'receipts': {'engineio'},
    'registry': {'bidict', 'socketio'},
    'flask_socketio': {'flask_socketio'},
}

#: What core modules have no business with.
WORLD = {'threading', 'time', 'logging', 'socket', 'os', 'random',
         'subprocess', 'select', 'queue', 'asyncio'}

#: Where an exception of any kind is caught: around the work of a task, around
#: what an entry makes happen, and around functions, disconnect handlers and
#: the log's handlers of the application's.
CATCH_ALL = {('tasks', '_run'), ('tasks', '_go_round'),
             ('redis_streams.reader', '_hand_on'),
             ('loss_report', '_tell'), ('runtime', 'can_carry'),
             ('server_side', '_run'), ('redis_streams.listener', '_hand_on'),
             ('tasks', '_log'), ('admission', '_accepts'),
             ('own_clients', 'flask_session'), ('keeper', '_value'),
             ('keeper', 'copy'), ('timeline', 'deliver_again'),
             ('timeline', 'admit'), ('hooks', '_trigger_event'),
             ('delivery', '_disconnect')}

#: Where a task sleeps: never, it only lets others run.
SLEEP = {('tasks', 'pause'), ('tasks', '_let_gevent_poll')}


class Module(NamedTuple):
    """A module's name within the package, and its source."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def top(self) -> str:
        """The name that stands in the table of floors."""
        return 'demo' if self.name.startswith('demo') else self.name


class Import(NamedTuple):
    """One import: the absolute name, and the function it stands in."""

    name: str
    function: str


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(part for part in parts
                    if part != '__init__') or '__init__'


MODULES = [Module(name_of(path), path, ast.parse(path.read_text('utf-8')))
           for path in sorted(ROOT.rglob('*.py'))]
LIBRARY = [module for module in MODULES if module.top != 'demo']


def nodes(module: Module) -> Iterator[object]:
    """Each node with the name of the function it stands in."""
    def walk(node: ast.AST, function: str) -> Iterator[object]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and isinstance(
                    child.test, ast.Name) and child.test.id == 'TYPE_CHECKING':
                continue
            yield child, function
            inner = function
            if isinstance(child, ast.FunctionDef):
                inner = child.name
            yield from walk(child, inner)

    return walk(module.tree, '')


def imports(module: Module) -> Iterator[Import]:
    """All that a module imports, by absolute names."""
    package = [PACKAGE, *module.name.split('.')]
    if module.path.name != '__init__.py':
        package.pop()
    elif module.name == '__init__':
        package = [PACKAGE]
    for node, function in nodes(module):  # type: ignore[misc]
        if isinstance(node, ast.Import):
            for each in node.names:
                yield Import(each.name, function)
        elif isinstance(node, ast.ImportFrom):
            base = [] if not node.level else package[
                :len(package) - node.level + 1]
            start = '.'.join([*base, *filter(None, [node.module])])
            for each in node.names:
                yield Import(f'{start}.{each.name}', function)


def own_imports(module: Module) -> Set[str]:
    """The modules of this package that a module imports, by their names in
    the table."""
    names = {each.name for each in MODULES}
    found = set()
    for each in imports(module):
        if each.name.split('.')[0] == PACKAGE:
            inner = each.name[len(PACKAGE) + 1:]
            while inner and inner not in names:
                inner = inner.rpartition('.')[0]
            found.add(inner or '__init__')
    return {'demo' if name.startswith('demo') else name for name in found}


def ids(modules: List[Module]) -> List[str]:
    return [module.name for module in modules]


FLOOR: Dict[str, int] = {name: number for number, floor in enumerate(FLOORS)
                         for name in floor}


def test_every_module_has_its_floor() -> None:
    assert {module.top for module in MODULES} - {'__init__'} == set(FLOOR)
    assert set(CORE) <= set(FLOOR)


@pytest.mark.parametrize('module', MODULES, ids=ids(MODULES))
def test_imports_point_downwards(module: Module) -> None:
    if module.name == '__init__':
        # Its names are those of the errors and of the manager.
        assert own_imports(module) == {'errors'}
        return
    for name in own_imports(module) - {'__init__', module.top}:
        assert FLOOR[name] <= FLOOR[module.top], name


def test_imports_make_no_circle() -> None:
    graph = {module.top: set() for module in MODULES}  # type: Dict[str, set]
    for module in MODULES:
        graph[module.top] |= own_imports(module) - {module.top, '__init__'}
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize('module', LIBRARY, ids=ids(LIBRARY))
def test_foreign_imports(module: Module) -> None:
    foreign = {each.name.split('.')[0] for each in imports(module)} - {
        PACKAGE, *sys.stdlib_module_names}
    assert foreign == FOREIGN.get(module.name, set())


def test_redis_is_imported_in_one_place() -> None:
    for module in MODULES:
        for each in imports(module):
            if each.name.split('.')[0] in ('redis', 'valkey'):
                assert module.name == 'redis_streams.connect'
                # The twin may be missing, and neither is needed before.
                assert each.function


def test_green_threads_are_imported_when_they_are_used() -> None:
    for module in MODULES:
        for each in imports(module):
            if each.name.split('.')[0] in ('gevent', 'eventlet'):
                assert each.function


@pytest.mark.parametrize('name', CORE)
def test_the_core_knows_nothing_of_the_world(name: str) -> None:
    module, = (each for each in MODULES if each.name == name)
    assert not {each.name.split('.')[0] for each in imports(module)} & WORLD
    called = {node.func.id for node, _ in nodes(module)  # type: ignore
              if isinstance(node, ast.Call)
              and isinstance(node.func, ast.Name)}
    assert not called & {'open', 'print', 'input'}


@pytest.mark.parametrize('statement', [
    'import redis_streams_adapter',
    'from redis_streams_adapter import RedisStreamsManager',
    'import redis_streams_adapter.cli'])
def test_what_an_import_imports(statement: str) -> None:
    code = (f'import sys\n{statement}\n'
            'sys.exit(", ".join({"gevent", "eventlet", "flask", '
            '"flask_socketio", "gunicorn", "valkey"} & set(sys.modules)) '
            'or 0)')
    done = subprocess.run([sys.executable, '-c', code],
                          stderr=subprocess.PIPE, text=True)
    assert done.stderr == ''
    assert done.returncode == 0


@pytest.mark.parametrize('module', MODULES, ids=ids(MODULES))
def test_no_assertions(module: Module) -> None:
    """They are no validation: python -O leaves them out."""
    assert [node.lineno for node, _ in nodes(module)  # type: ignore[misc]
            if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize('module', LIBRARY, ids=ids(LIBRARY))
def test_what_catches_everything(module: Module) -> None:
    for node, function in nodes(module):  # type: ignore[misc]
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, 'a bare except'
            caught = ast.unparse(node.type)
            assert 'BaseException' not in caught
            if 'Exception' in caught.split('.')[-1].split('(')[-1].split(
                    ', '):
                assert (module.name, function) in CATCH_ALL


@pytest.mark.parametrize('module', LIBRARY, ids=ids(LIBRARY))
def test_nobody_sleeps(module: Module) -> None:
    for node, function in nodes(module):  # type: ignore[misc]
        if isinstance(node, ast.Call) and isinstance(
                node.func, ast.Attribute) and node.func.attr == 'sleep':
            assert (module.name, function) in SLEEP
            assert ast.unparse(node.args[0]) == '0'


def test_nothing_is_left_out_of_the_coverage() -> None:
    for module in MODULES:
        assert 'pragma: no cover' not in module.path.read_text('utf-8')
