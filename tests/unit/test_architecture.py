"""The design, as far as the source shows it."""
import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Set, Tuple

import pytest

import redis_streams_adapter

ROOT = Path(redis_streams_adapter.__file__).parent
PACKAGE = ROOT.name

#: The modules and packages at the top level, floor by floor. Each may import
#: those on lower floors.
TOP = [
    ['errors', 'log_events', 'losses', 'nodes', 'parsing', 'rules',
     'version'], ['options'],
    ['configuration'], ['protocol'], ['concurrency'],
    ['stream'], ['runtime'], ['clients'], ['recovery'], ['cluster'],
    ['kinds'], ['tracing'], ['composition', 'streams_url'], ['manager'],
    ['observer', 'shutdown', 'testing'],
    ['flask_test_client', 'termination'],
    ['flask_socketio', 'gunicorn', 'monitoring'],
    ['commands'], ['dashboard'], ['demo'], ['cli'], ['__main__'],
]

#: The same for the modules within each package. Two modules of one floor do
#: not import each other: that could become an import cycle.
WITHIN = {
    'protocol': [
        ['application', 'joining', 'json_encoder', 'json_parser', 'position',
         'requests', 'routing', 'server_stats'],
        ['presence'],
        ['discovery', 'flow_control', 'messages', 'sequences', 'transport',
         'values'],
        ['addressing', 'content_parts', 'events', 'servers'],
        ['request_content'],
        ['content'],
        ['announcements', 'event_bytes', 'pending_requests'],
        ['event_text'],
        ['codec'],
        ['membership', 'sender'],
        ['arrivals', 'languages', 'plain_events'],
        ['node']],
    'concurrency': [
        ['locks', 'log_context'],
        ['availability', 'eventlet_events', 'wakeup'],
        ['engines', 'log_limiter'], ['limiter', 'tasks']],
    'stream': [
        ['latency', 'masking', 'pages', 'scripts', 'versions'],
        ['cluster_mode', 'eviction', 'library', 'loss_detection', 'outbox',
         'read_back', 'reconcile', 'refusals', 'url'],
        ['backpressure', 'reader', 'topology', 'waiters'],
        ['driver'],
        ['writer'],
        ['connection', 'resp'],
        ['optional'],
        ['link', 'listener', 'publisher', 'servers'],
        ['inbox', 'session_store', 'sharded_listeners'], ['inbox_writer']],
    'runtime': [
        ['processes', 'tasks'], ['delivery'], ['channel'],
        ['membership', 'streams', 'watchdog'], ['status'], ['node_events'],
        ['runtime'], ['lifecycle']],
    'clients': [
        ['closing', 'frames', 'receipts', 'registry'],
        ['connections', 'disconnecting', 'encoding', 'frame_socket'],
        ['eventlet_queue', 'gevent_queue', 'websocket'],
        ['queueing', 'send_queue'],
        ['delivery'],
        ['descriptions', 'direct_delivery', 'hooks', 'tracking']],
    'recovery': [
        ['client_lists', 'position_waits', 'session', 'states'],
        ['client_session', 'replay', 'session_codec'],
        ['local_sessions', 'resend', 'waiting_events'],
        ['stream_follower'], ['stream_order'],
        ['stored_sessions'],
        ['session_writer'],
        ['deliveries'],
        ['local_clients'],
        ['claims', 'handover'],
        ['backlog'],
        ['admission'],
        ['tracker']],
    'cluster': [
        ['local_stats', 'members', 'remote_socket', 'server_side', 'steps',
         'subscriptions'],
        ['inboxes', 'pubsub'],
        ['requester'],
        ['outgoing', 'pages', 'survey'],
        ['incoming'],
        ['calls']],
    'commands': [
        ['errors', 'entries', 'findings', 'output', 'reading'],
        ['clock', 'history', 'place'],
        ['observed'],
        ['checks', 'rights', 'running'],
        ['asking', 'emit', 'lag', 'sessions', 'tail'],
        ['differences', 'exporter'],
        ['call', 'doctor', 'nodes', 'rooms', 'sockets', 'stats'],
        ['top'],
        ['catalogue']],
    'dashboard': [
        ['access', 'feed', 'server', 'snapshot'],
        ['timeline', 'watcher'], ['source'], ['app'], ['command']],
    'testing': [
        ['client', 'faults', 'pubsub'], ['link'], ['stream'],
        ['local_redis'],
        ['cluster']],
    'monitoring': [
        ['metrics', 'source'], ['admin_ui', 'checks', 'prometheus'],
        ['blueprint', 'cluster', 'wsgi']],
}

#: Imports that point upwards. This set must stay empty.
UPWARDS: Set[Tuple[str, str]] = set()

#: Modules without I/O, clock, threads and logging.
CORE = ['errors', 'configuration', 'nodes', 'options', 'parsing', 'rules',
        'losses', 'protocol', 'recovery.session',
        'recovery.replay', 'recovery.states', 'monitoring.metrics',
        'dashboard.access', 'dashboard.snapshot', 'dashboard.timeline']

#: The packages that each module may import besides the standard library. The
#: demo has its own test.
FOREIGN = {
    'protocol.json_parser': {'msgspec'}, 'protocol.values': {'msgpack'},
    'stream.library': {'redis', 'valkey'},
    'stream.resp': {'hiredis'},
    'concurrency.engines': {'gevent', 'eventlet'},
    'concurrency.eventlet_events': {'eventlet'},
    'concurrency.wakeup': {'gevent', 'eventlet'},
    'clients.closing': {'engineio'}, 'clients.queueing': {'engineio'},
    'clients.disconnecting': {'socketio'},
    'clients.encoding': {'socketio'}, 'clients.frames': {'engineio'},
    'clients.gevent_queue': {'gevent'},
    'clients.hooks': {'flask', 'socketio'}, 'clients.receipts': {'engineio'},
    'clients.registry': {'bidict', 'socketio'},
    'manager': {'socketio'}, 'flask_socketio': {'flask_socketio'},
    'flask_test_client': {'engineio', 'flask_socketio'},
    'monitoring.blueprint': {'flask'},
    'monitoring.cluster': {'prometheus_client'},
    'monitoring.prometheus': {'prometheus_client'},
    'testing.client': {'engineio', 'socketio'}, 'tracing': {'opentelemetry'},
    'commands.exporter': {'prometheus_client'},
    'commands.output': {'rich'}, 'commands.top': {'rich'},
}

#: Modules that core modules must not import.
IMPURE = {'threading', 'time', 'logging', 'socket', 'os', 'random',
          'subprocess', 'select', 'queue', 'asyncio'}

#: The maximum number of lines of a module.
MAX_LINES = 400

#: Modules that are longer, with their limits. Their docstrings say why.
LONGER = {'manager': 800}

#: The maximum number of lines by which such a module may stay below its limit.
#: A module that has become shorter gets a lower limit.
SLACK = 40

#: The functions that catch any exception: around the work of a task, around
#: the effects of an entry, and around the application's functions, disconnect
#: handlers, log handlers and spans.
CATCH_ALL = {('concurrency.tasks', '_run'),
             ('concurrency.tasks', '_repeat'),
             ('concurrency.availability', 'log_safely'),
             ('stream.reader', '_take'), ('stream.listener', '_hand_on'),
             ('runtime.status', '_call_back'),
             ('runtime.runtime', 'can_carry'),
             ('cluster.server_side', '_run'),
             ('recovery.admission', '_accepts'),
             ('recovery.local_clients', 'flask_session'),
             ('recovery.session_writer', '_value'),
             ('recovery.session_codec', 'copy'),
             ('recovery.resend', 'encode'),
             ('clients.hooks', '_trigger_event'),
             ('clients.disconnecting', '_disconnect'),
             ('tracing', '__enter__'), ('tracing', '__exit__')}

#: The functions that may call sleep(), to let other tasks run.
SLEEP = {('concurrency.engines', 'pause'),
         ('concurrency.engines', 'switch'),
         ('concurrency.engines', '_let_gevent_poll')}


class Module(NamedTuple):
    """A module's name within the package, and its source."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def top(self) -> str:
        """Its name in the table of floors."""
        return top_of(self.name)


class Import(NamedTuple):
    """An import: the absolute name, and the function that contains it."""

    name: str
    function: str


def top_of(name: str) -> str:
    return name.partition('.')[0]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(part for part in parts
                    if part != '__init__') or '__init__'


MODULES = [Module(name_of(path), path, ast.parse(path.read_text('utf-8')))
           for path in sorted(ROOT.rglob('*.py'))]
LIBRARY = [module for module in MODULES if module.top != 'demo']


def nodes(module: Module) -> Iterator[object]:
    """Each node with the name of the function that contains it."""
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
    """The imports of a module, by absolute names."""
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
    return found


def ids(modules: List[Module]) -> List[str]:
    return [module.name for module in modules]


def floors_of(floors: List[List[str]]) -> Dict[str, int]:
    return {name: number for number, floor in enumerate(floors)
            for name in floor}


FLOOR = floors_of(TOP)
FLOOR_WITHIN = {
    f'{package}.{name}': number for package, floors in WITHIN.items()
    for name, number in floors_of(floors).items()}


def test_every_module_has_its_floor() -> None:
    assert {module.top for module in MODULES} - {'__init__'} == set(FLOOR)
    assert {module.name for module in LIBRARY if '.' in module.name} \
        == set(FLOOR_WITHIN)


def test_every_package_describes_itself() -> None:
    for name in WITHIN:
        package, = (each for each in MODULES if each.name == name)
        text = ast.get_docstring(package.tree) or ''
        for part in ('Imports :mod:', 'reading at'):
            assert part in ' '.join(text.split()), name
        # It contains nothing else, so the import of one module runs no other.
        # The packages that applications import are exceptions.
        assert len(package.tree.body) == 1 or name in (
            'dashboard', 'testing')


@pytest.mark.parametrize('module', MODULES, ids=ids(MODULES))
def test_no_module_is_long(module: Module) -> None:
    lines = len(module.path.read_text('utf-8').splitlines())
    limit = LONGER.get(module.name, MAX_LINES)
    assert lines <= limit
    if module.name in LONGER:
        assert lines > max(MAX_LINES, limit - SLACK), 'lower its limit'


def test_only_composition_asks_whether_recovery_is_on() -> None:
    """``configuration`` checks the option against others. Commands show it.
    """
    assert {module.name for module in MODULES if module.top != 'commands'
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and node.attr == 'recovery'
            } == {'composition', 'configuration'}


#: Words that have plainer ones.
QUAINT = re.compile(
    r'\b(whoever|shall|merely|likewise|own clients?|takes its leave|'
    r'of no account|in good weather|as ever)\b', re.IGNORECASE)


@pytest.mark.parametrize('folder', ['redis_streams_adapter', 'docs'])
def test_words_are_plain(folder: str) -> None:
    files = [path for path in (Path(__file__).parents[2] / folder).rglob('*')
             if path.suffix in ('.py', '.rst')]
    assert files
    # Across the ends of lines.
    assert {path.name: found for path in files if (found := QUAINT.findall(
        ' '.join(path.read_text('utf-8').split())))} == {}


def points_upwards(importer: str, imported: str) -> bool:
    if importer in WITHIN and top_of(imported) == importer:
        # A package is above its own modules.
        return False
    if top_of(importer) != top_of(imported):
        return FLOOR[top_of(importer)] <= FLOOR[top_of(imported)]
    return FLOOR_WITHIN[importer] <= FLOOR_WITHIN[imported]


@pytest.mark.parametrize('module', LIBRARY, ids=ids(LIBRARY))
def test_imports_point_downwards(module: Module) -> None:
    if module.name == '__init__':
        # The names of the package are the errors and the manager.
        assert own_imports(module) == {'errors', 'nodes', 'version'}
        return
    upwards = {name for name in own_imports(module) - {'__init__', module.name}
               if points_upwards(module.name, name)}
    assert {(module.name, name) for name in upwards} == {
        each for each in UPWARDS if each[0] == module.name}


@pytest.mark.parametrize('module', [
    each for each in MODULES if each.top == 'demo'])
def test_imports_of_the_demo(module: Module) -> None:
    for name in own_imports(module) - {'__init__'}:
        assert top_of(name) == 'demo' or FLOOR[top_of(name)] < FLOOR['demo']


@pytest.mark.parametrize('module', LIBRARY, ids=ids(LIBRARY))
def test_foreign_imports(module: Module) -> None:
    foreign = {each.name.split('.')[0] for each in imports(module)} - {
        PACKAGE, *sys.stdlib_module_names}
    assert foreign == FOREIGN.get(module.name, set())


def test_one_client_manager() -> None:
    """The manager gets its parts as arguments. They are not base classes."""
    found = {(module.name, node.name)
             for module in LIBRARY for node in ast.walk(module.tree)
             if isinstance(node, ast.ClassDef)
             for base in node.bases if 'Manager' in ast.unparse(base)}
    # The observer only switches an option on.
    assert found == {('manager', 'RedisStreamsManager'),
                     ('observer', '_Watching')}


def test_redis_is_imported_in_one_place() -> None:
    for module in MODULES:
        for each in imports(module):
            if each.name.split('.')[0] in ('redis', 'valkey'):
                assert module.name == 'stream.library'
                # valkey may be missing, and neither is needed earlier.
                assert each.function


def test_green_threads_are_imported_when_they_are_used() -> None:
    for module in MODULES:
        for each in imports(module):
            if each.name.split('.')[0] in ('gevent', 'eventlet'):
                assert each.function


@pytest.mark.parametrize('module', [
    each for each in LIBRARY if {each.name, each.top} & set(CORE)])
def test_core_is_pure(module: Module) -> None:
    assert not {each.name.split('.')[0] for each in imports(module)} & IMPURE
    called = {node.func.id for node, _ in nodes(module)  # type: ignore
              if isinstance(node, ast.Call)
              and isinstance(node.func, ast.Name)}
    assert not called & {'open', 'print', 'input'}


@pytest.mark.parametrize('statement', [
    'import redis_streams_adapter',
    'from redis_streams_adapter import RedisStreamsManager',
    'import redis_streams_adapter.cli'])
def test_import_loads_no_optional_package(statement: str) -> None:
    # python-socketio itself imports valkey where that is installed.
    code = ('import sys, socketio\nbefore = set(sys.modules)\n'
            f'{statement}\n'
            'sys.exit(", ".join({"gevent", "eventlet", "flask", '
            '"flask_socketio", "gunicorn", "opentelemetry", '
            '"prometheus_client", "rich", "valkey"} '
            '& set(sys.modules) - before) or 0)')
    done = subprocess.run([sys.executable, '-c', code],
                          stderr=subprocess.PIPE, text=True)
    assert done.stderr == ''
    assert done.returncode == 0


@pytest.mark.parametrize('module', MODULES, ids=ids(MODULES))
def test_no_assertions(module: Module) -> None:
    """An assert statement does not validate: python -O removes it."""
    assert [node.lineno for node, _ in nodes(module)  # type: ignore[misc]
            if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize('module', LIBRARY, ids=ids(LIBRARY))
def test_broad_exception_handlers(module: Module) -> None:
    for node, function in nodes(module):  # type: ignore[misc]
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, 'a bare except'
            caught = ast.unparse(node.type)
            assert 'BaseException' not in caught
            if 'Exception' in caught.split('.')[-1].split('(')[-1].split(
                    ', '):
                assert (module.name, function) in CATCH_ALL


@pytest.mark.parametrize('module', LIBRARY, ids=ids(LIBRARY))
def test_no_module_sleeps(module: Module) -> None:
    for node, function in nodes(module):  # type: ignore[misc]
        if isinstance(node, ast.Call) and isinstance(
                node.func, ast.Attribute) and node.func.attr == 'sleep':
            assert (module.name, function) in SLEEP
            assert ast.unparse(node.args[0]) == '0'


def test_nothing_is_excluded_from_coverage() -> None:
    for module in MODULES:
        assert 'pragma: no cover' not in module.path.read_text('utf-8')
