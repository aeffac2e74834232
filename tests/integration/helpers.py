"""Checks of nodes after a disturbance."""
import contextlib
import logging
from typing import Any, Callable, Iterator, List

from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.wait import wait_for_value, wait_until

#: Seconds within which a node has recovered. The longest pause between two
#: attempts is a second in the first minute.
BACK_WITHIN = 15.0

#: Seconds that emits may take while Redis is away, on a busy machine.
PROMPT = 3.0


def numbers(client: Client, event: str) -> List[Any]:
    """The first arguments of all events of this name."""
    return [args[0] for args in client.received(event)]


def check_working(nodes: List[NodeProcess], clients: List[Client],
                  unique: Callable[[str], str]) -> None:
    """Every task of every node runs: events pass both ways, each node
    counts the others, and none logs a complaint."""
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
        node.wait_server_count(len(nodes), timeout=BACK_WITHIN)
    event = unique('working')
    for node in nodes:
        node.emit(event)
    for client in clients:
        client.wait_for(event, len(nodes))
    for node in nodes:
        assert node.flush()
        assert node.logs(logging.ERROR) == []


def outage_lines(node: NodeProcess, start: int = 0) -> List[str]:
    """What a node has logged about outages of Redis at warning level.

    :param start: skip this many of all its records.
    """
    return [text for text in node.logs(logging.WARNING, start)
            if 'Redis cannot be used' in text or 'Redis is back' in text]


def wait_for_outage(nodes: List[NodeProcess],
                    starts: List[int]) -> None:
    """Wait until each node has reported that Redis cannot be used, which it
    does when a second attempt has failed too."""
    for node, start in zip(nodes, starts):
        wait_for_value(lambda: len(outage_lines(node, start)), 1,
                       what=f'the number of complaints of {node.name}')
        assert node.health()['status'] == 'degraded'


def log_lengths(nodes: List[NodeProcess]) -> List[int]:
    """How many records each node has logged."""
    return [len(node.control('logs')) for node in nodes]


def check_outage_lines(nodes: List[NodeProcess],
                       starts: List[int]) -> None:
    """Each node has reported the outage and its end, once each."""
    for node, start in zip(nodes, starts):
        lines = outage_lines(node, start)
        assert len(lines) == 2, lines
        assert 'cannot be used' in lines[0]
        assert 'is back' in lines[1]


@contextlib.contextmanager
def no_open_requests_after(node: NodeProcess) -> Iterator[None]:
    """Requests made within the block are not open any more afterwards, even
    if earlier tests have left some in a shared node."""
    before = node.open_calls()

    def is_clean() -> bool:
        return all(now <= then
                   for now, then in zip(node.open_calls(), before))

    yield
    wait_until(is_clean, what='requests and acknowledgements to be forgotten')
