"""Nothing is trimmed before every server has read it, however fast servers
emit, and however little CPU time a reader gets: the writers wait for it."""
import subprocess
import sys
import threading
import time
from typing import Any, Iterator, List

import pytest

from ..integration.conftest import STEADY, start_managers
from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .fixtures import Connect, StartNodes, Unique
from .load import LOSSES

#: Seconds: three storms on a busy machine take 43 s alone, and seldom over a
#: minute each: the writers wait for readers that get no CPU. What is tested is
#: that nothing is lost, not how fast it is.
DELIVERED_WITHIN = 150.0

pytestmark = pytest.mark.timeout(480)

#: How many tasks of a node emit at once, and how many messages each.
TASKS, EACH = 50, 400

#: For how long a server gets no CPU time, in seconds: less than the two for
#: which it is waited for, and longer than it takes to write what the stream
#: keeps.
STARVED = 1.6


@pytest.fixture
def burner() -> Iterator[None]:
    """Other processes that burn CPU time, as many as the machine has CPUs."""
    burners = [subprocess.Popen([sys.executable, '-c', 'while True: pass'])
               for _ in range(2)]
    yield
    for each in burners:
        each.kill()
        each.wait()


def storm(nodes: List[NodeProcess], event: str) -> List[threading.Thread]:
    """Emit from many tasks of each of these nodes at once."""
    def emit(number: int, node: NodeProcess) -> None:
        accepted = node.storm(f'{event}-{number}', TASKS, EACH, padding=100)
        assert sum(map(len, accepted)) == TASKS * EACH

    threads = [threading.Thread(target=emit, args=each)
               for each in enumerate(nodes)]
    for thread in threads:
        thread.start()
    return threads


def check(nodes: List[NodeProcess], clients: List[Client], event: str,
          senders: int) -> None:
    """Each client gets every message once, those of a task in order."""
    names = [f'{event}-{number}' for number in range(senders)]
    total = TASKS * EACH

    def missing() -> Any:
        return {name: [total - client.count(name) for client in clients]
                for name in names}, [
                    (node.stats()['messages_lost'], node.recorded('loss'))
                    for node in nodes]

    wait_until(lambda: all(client.count(name) >= total
                           for client in clients for name in names),
               DELIVERED_WITHIN, missing)
    for client in clients:
        for name in names:
            numbers: List[List[int]] = [[] for _ in range(TASKS)]
            for task, number, _ in client.received(name):
                numbers[task].append(number)
            assert numbers == [list(range(EACH))] * TASKS
    for node in nodes:
        stats = node.stats()
        assert {name: stats[name] for name in LOSSES} == dict.fromkeys(
            LOSSES, 0)


def start(start_nodes: StartNodes, redis: RedisServer, count: int,
          max_len: int) -> List[NodeProcess]:
    nodes = start_nodes(count, redis.url, on_loss='record', max_len=max_len,
                        **STEADY)
    start_managers(nodes)
    return nodes


@pytest.mark.parametrize('max_len', [1_000, 10_000])
def test_starved_server_misses_nothing(
        redis: RedisServer, start_nodes: StartNodes, connect: Connect,
        unique: Unique, max_len: int) -> None:
    """It is stopped in the middle of a storm, again and again."""
    sender, receiver = nodes = start(start_nodes, redis, 2, max_len)
    client = connect(receiver)
    for _ in range(3):
        event = unique('storm')
        threads = storm([sender], event)
        client.wait_for(f'{event}-0', 100, 20)
        receiver.freeze()
        time.sleep(STARVED)
        receiver.thaw()
        for thread in threads:
            thread.join()
        check(nodes, [client], event, 1)


@pytest.mark.parametrize('max_len', [1_000, 10_000])
@pytest.mark.parametrize('senders', [1, 3])
def test_busy_machine(
        redis: RedisServer, start_nodes: StartNodes, connect: Connect,
        unique: Unique, burner: None, max_len: int, senders: int) -> None:
    nodes = start(start_nodes, redis, 3 if senders > 1 else 2, max_len)
    clients = [connect(nodes[-1])]
    for _ in range(3):
        event = unique('storm')
        for thread in storm(nodes[:senders], event):
            thread.join()
        check(nodes, clients, event, senders)
