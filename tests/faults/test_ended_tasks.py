"""Tasks of a server are ended by exceptions that nobody catches: others take
their place, which is counted and logged, and nothing is lost."""
import contextlib
import logging
from typing import List

import pytest

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN, numbers
from ..support import modes
from ..support.node_process import NodeProcess, RemoteError
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .fixtures import Connect, StartNodes, Unique

#: The exceptions that end a task, by mode. A signal handler raises the first
#: one, and gevent and eventlet end green threads with the other.
EXCEPTIONS = {'threading': ['SystemExit'],
              'gevent': ['SystemExit', 'GreenletExit'],
              'eventlet': ['SystemExit', 'GreenletExit']}

#: The tasks of a server, by the transport of requests. What stands for a
#: namespace or a stream is left out.
TASKS = ['heartbeat', 'reader', 'session writer', 'sessions', 'writer']
REQUEST_TASKS = {'stream': ['inbox', 'inbox writer', 'listener'],
                 'pubsub': ['listener', 'publisher']}

#: How long a read waits for entries, in seconds. A thread is struck when it
#: returns.
BLOCK_TIME = 0.2


def kind_of(name: str) -> str:
    """The kind of a task."""
    return name.partition(' of ')[0]


def ask_all(node: NodeProcess, nodes: List[NodeProcess]) -> None:
    """A request from one node to all."""
    assert sorted(node.server_side_call('name')) == sorted(
        each.name for each in nodes if each is not node)


def end_all_tasks(node: NodeProcess, names: List[str], exception: str,
                  nodes: List[NodeProcess]) -> None:
    """End each of the tasks of a node, one after the other."""
    for name in names:
        before, start = node.stats(), len(node.control('logs'))
        node.end_task(name, exception)

        def is_replaced() -> bool:
            # What it waits for wakes a thread. That may be an answer, of this
            # node or to it, which is lost then.
            for each in nodes:
                with contextlib.suppress(RemoteError):
                    each.fetch_sockets(timeout=0.2)
            node.save_session(node.connected()[0]['sid'], {'of': name})
            return bool(node.stats()['task_deaths']
                        > before['task_deaths'])

        wait_until(is_replaced, what=f'{name} to be replaced')
        node.wait_health('ok', BACK_WITHIN)
        assert node.stats()['task_deaths'] == before['task_deaths'] + 1, name
        lines = node.logs(logging.ERROR, start)
        assert len(lines) == 1, lines
        assert lines[0].startswith(f'{name} has ended without being asked')
        assert exception in lines[0]
        for each in nodes:
            ask_all(each, nodes)


@pytest.mark.parametrize('transport', REQUEST_TASKS)
@pytest.mark.parametrize('mode', modes.MODES)
def test_each_task_is_replaced(mode: str, redis: RedisServer,
                               start_nodes: StartNodes, connect: Connect,
                               unique: Unique, transport: str) -> None:
    for module in modes.REQUIREMENTS[mode]:
        pytest.importorskip(module)
    nodes = start_nodes(2, redis.url, **STEADY, goes_on=True,
                        block_time=BLOCK_TIME, request_transport=transport,
                        connection_state_recovery=True)
    start_managers(nodes)
    for node in nodes:
        node.handle_server_side('name', node.name)
    clients = [connect(node) for node in nodes]
    for node in nodes:
        ask_all(node, nodes)
    struck = nodes[0]
    names = sorted(struck.control('tasks'))
    assert [kind_of(name) for name in names] == sorted(
        TASKS + REQUEST_TASKS[transport])
    events = [unique('event') for _ in nodes]
    for node, event in zip(nodes, events):
        node.start_pulse(event, 0.005)
    for exception in EXCEPTIONS[mode]:
        end_all_tasks(struck, names, exception, nodes)
    emitted = [node.stop_pulse(event) for node, event in zip(nodes, events)]
    for client in clients:
        for event, count in zip(events, emitted):
            client.wait_for(event, count, timeout=BACK_WITHIN)
            assert numbers(client, event) == list(range(count))
