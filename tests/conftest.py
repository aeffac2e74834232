"""What the directories of tests share: loggers, and fixtures for real
processes."""
import contextlib
import importlib.util
import itertools
import logging
import os
import signal
import uuid
from typing import Any, Callable, Generator, Iterator, List, Sequence

import pytest

from .support import log_records, modes
from .support.redis_binaries import chosen_binary, default_binary, NoServer

# Before the module is imported.
pytest.register_assert_rewrite('tests.support.sessions_contract',
                               'tests.support.transport_contract')

#: ``CI=true`` makes a failure of what at home is skipped.
IN_CI = os.environ.get('CI') == 'true'


def skip_or_fail(reason: str) -> None:
    """Leave a test out for want of something: at home, never in CI."""
    if IN_CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def skip_incapable(reason: str) -> None:
    """Leave a test out because no redis-server supports what it needs: also
    in CI if ``REDIS_SERVER`` chose the server."""
    chosen = chosen_binary()
    if chosen is not None:
        pytest.skip(f'{chosen.name}: {reason}')
    skip_or_fail(reason)


def pytest_configure(config: pytest.Config) -> None:
    """Start no test if the chosen redis-server is not there."""
    # A shell that runs the tests in the background has it ignored, and so
    # would the processes that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        chosen_binary()
    except NoServer as exc:
        raise pytest.UsageError(str(exc)) from None


def pytest_report_header(config: pytest.Config) -> List[str]:
    """Name the redis-server, if one was chosen."""
    chosen = chosen_binary()
    if chosen is None:
        return []
    version = '.'.join(map(str, chosen.version))
    return [f'redis-server: {chosen.product} {version}, {chosen.path}']


@pytest.fixture(autouse=True)
def records_have_fields() -> Iterator[None]:
    """Fails a test during which the package has logged a record without the
    fields of its kind."""
    with log_records.watching() as problems:
        yield
    assert problems == []


@pytest.fixture
def logger() -> Callable[[], logging.Logger]:
    """What the package's classes take: a function that gives a logger.

    It is not the package's own, so that ``caplog`` sees it whatever a
    manager does.
    """
    return lambda: logging.getLogger('tests')


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[int], List[str]]:
    """The lines that were logged so far at a level: ``logged(ERROR)``."""
    caplog.set_level(logging.DEBUG)
    return lambda level: [record.getMessage() for record in caplog.records
                          if record.levelno == level]


class Log:
    """Remembers what it is called with."""

    def __init__(self) -> None:
        self.calls: List[Any] = []

    def __call__(self, *args: Any) -> None:
        self.calls.append(args[0] if len(args) == 1 else args)


@pytest.fixture
def log() -> Log:
    """A function that remembers: ``log.calls``."""
    return Log()


@pytest.fixture(scope='session')
def mode() -> str:
    """How server processes run their tasks: ``ASYNC_MODE``."""
    value = os.environ.get('ASYNC_MODE', 'threading')
    if value not in modes.MODES:
        pytest.fail(f'ASYNC_MODE must be one of {modes.MODES}, '
                    f'not {value!r}', pytrace=False)
    for module in modes.REQUIREMENTS[value]:
        if importlib.util.find_spec(module) is None:
            skip_or_fail(f'{value} needs {module}, which is not installed')
    return value


@pytest.fixture(scope='session')
def redis_binary() -> str:
    """The path of a redis-server."""
    try:
        return default_binary().path
    except NoServer as exc:
        skip_or_fail(str(exc))
        raise


@pytest.fixture(scope='session')
def redis_server(redis_binary: str) -> Iterator[Any]:
    """A Redis that all tests share, and none disturbs."""
    from .support.redis_server import RedisServer

    with RedisServer() as server:
        yield server.start()


@pytest.fixture
def make_redis(redis_binary: str) -> Iterator[Callable[..., Any]]:
    """Makes a Redis for one test, which starts it itself."""
    from .support.redis_server import RedisServer

    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(RedisServer(**options))


@pytest.fixture
def make_proxy() -> Iterator[Callable[[int], Any]]:
    """Makes a proxy to a port; a node behind it has to be made later, so
    that it is ended before."""
    from .support.proxy import Proxy
    from .support.ports import free_port

    with contextlib.ExitStack() as stack:
        yield lambda port: stack.enter_context(Proxy(free_port(), port))


@contextlib.contextmanager
def running(nodes: Sequence[Any]) -> Generator[List[Any], None, None]:
    """Start nodes side by side; stop them at the end."""
    try:
        for node in nodes:
            node.launch()
        yield [node.wait_ready() for node in nodes]
    finally:
        for node in nodes:
            node.stop()


@pytest.fixture
def start_nodes(mode: str) -> Iterator[Callable[..., List[Any]]]:
    """Starts nodes for one test: ``start_nodes(count, url, **options)``."""
    from .support.node_process import NodeProcess

    with contextlib.ExitStack() as stack:
        def start(count: int, url: str, flask: bool = False,
                  **options: Any) -> List[Any]:
            return stack.enter_context(running([
                NodeProcess(mode, url, options, flask)
                for _ in range(count)]))

        yield start


@contextlib.contextmanager
def connecting(make_client: Callable[..., Any],
               ) -> Generator[Callable[..., Any], None, None]:
    """Yield a function that connects clients to a server or a URL; close
    the clients at the end.

    :param make_client: called with a URL, namespaces and options.
    """
    clients: List[Any] = []

    def connect_to(server: Any, *namespaces: str, **options: Any) -> Any:
        client = make_client(getattr(server, 'url', server), *namespaces,
                             **options)
        clients.append(client)
        # The reply to CONNECT is sent a moment before the server counts the
        # client as connected. The acknowledgement of an event comes later.
        for namespace in namespaces or ('/',):
            client.call('echo', namespace=namespace)
        return client

    yield connect_to
    for client in clients:
        client.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Any]]:
    """Connects a client for one test: ``connect(node, *namespaces)``."""
    from .support.client import Client

    with connecting(Client) as connect_to:
        yield connect_to


def make_unique() -> Callable[[str], str]:
    """A function that makes names, of events and rooms, that nothing else
    has."""
    token, numbers = uuid.uuid4().hex[:8], itertools.count(1)
    return lambda name: f'{name}-{token}-{next(numbers)}'


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Makes names that no other test has."""
    return make_unique()


@pytest.fixture
def start_gunicorn_process(mode: str) -> Iterator[Callable[..., Any]]:
    """Starts a gunicorn for one test, with the arguments of
    :class:`.gunicorn_process.GunicornProcess` after the mode."""
    from .support.gunicorn_process import GunicornProcess, WORKERS

    if mode not in WORKERS:
        pytest.skip(f'gunicorn has no worker for {mode}')
    if importlib.util.find_spec('gunicorn') is None:
        skip_or_fail('gunicorn is not installed')
    servers: List[Any] = []

    def start(*args: Any, **kwargs: Any) -> Any:
        servers.append(GunicornProcess(mode, *args, **kwargs))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    """Show what the nodes printed, and do, where a test failed."""
    report = yield
    if report.failed:
        from .support.controlled import ControlledProcess

        for node in ControlledProcess.running:
            report.sections.append((f'output of {node.name}',
                                    node.process.tail()))
            report.sections.append((f'state of {node.name}', node.state()))
    return report
