"""The cluster that goes through the faults: nodes, processes that only emit,
and clients."""
import contextlib
from typing import Dict, Iterator, List, NamedTuple

from ..conftest import running
from ..faults.load import check_pairs, LOSSES
from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN, numbers
from ..support.account import account, EXACT
from ..support.client import Client, close_all
from ..support.node_process import NodeProcess, RemoteError
from ..support.proxy import Proxy
from ..support.ports import free_port
from ..support.redis_server import RedisServer
from ..support.wait import wait_until

#: Seconds between two messages of one emitter. There are five of them.
INTERVAL = 0.01

#: Seconds in which all messages have to arrive after the last fault.
ARRIVE_WITHIN = 60.0

#: How many of the missing numbers are shown.
EXAMPLES = 10


class Source(NamedTuple):
    """A process that emits 0, 1, 2, … to all clients.

    :param node: the process.
    :param target: its server, or its write-only manager.
    """

    node: NodeProcess
    event: str
    target: str


class Cluster:
    """Three members, two of which connect to Redis through a proxy each; two
    processes that only emit, through one of these proxies each; and a fourth
    member, which can be killed.

    :param mode: how the processes run their tasks.
    """

    def __init__(self, mode: str, stack: contextlib.ExitStack) -> None:
        self._mode = mode
        self._stack = stack
        self.redis = stack.enter_context(RedisServer(append_only=True))
        self.redis.start()
        self.proxies: List[Proxy] = []
        for _ in range(2):
            proxy = Proxy(free_port(), self.redis.port)
            self.proxies.append(stack.enter_context(proxy))
            proxy.open()
        urls = [self.redis.url, *(proxy.url for proxy in self.proxies)]
        self.members = self._start(*urls)
        emitters = self._start(*urls[1:])
        self.victim = self._start(self.redis.url)[0]
        start_managers([*self.members, self.victim])
        for emitter, publish in zip(emitters, ('background', 'sync')):
            emitter.make_emitter(publish=publish)
        self.clients: List[Client] = []
        stack.callback(close_all, self.clients)
        for node in self.members:
            self.clients.append(Client(node.url))
        #: How many malformed entries every member has to count.
        self.malformed = 0
        self.sources = [
            *(Source(node, f'member {number}', 'server')
              for number, node in enumerate(self.members)),
            *(Source(node, f'emitter {number}', 'emitter')
              for number, node in enumerate(emitters))]
        for source in self.sources:
            source.node.start_pulse(source.event, INTERVAL, source.target)

    def _start(self, *urls: str) -> List[NodeProcess]:
        return self._stack.enter_context(running([
            NodeProcess(self._mode, url, STEADY) for url in urls]))

    def replace_victim(self) -> None:
        """Kill the fourth member, and start another one."""
        self.victim.kill()
        self.victim = self._start(self.redis.url)[0]
        self.victim.start_manager()

    # -- the end ------------------------------------------------------------

    def settle(self) -> Dict[str, int]:
        """Stop emitting, and wait until all messages have arrived, or for as
        long as they may take.

        :return: how many were emitted, by event.
        """
        emitted = {source.event: source.node.stop_pulse(source.event)
                   for source in self.sources}

        def all_arrived() -> bool:
            return all(client.count(event) >= count
                       for client in self.clients
                       for event, count in emitted.items())

        with contextlib.suppress(AssertionError):
            # The account reports what is missing.
            wait_until(all_arrived, ARRIVE_WITHIN)
        # No other message can come after these.
        for number, source in enumerate(self.sources):
            source.node.invoke(source.target, 'emit', f'end {number}', None)
        for client in self.clients:
            for number in range(len(self.sources)):
                client.wait_for(f'end {number}', timeout=BACK_WITHIN)
        return emitted

    def violations(self, emitted: Dict[str, int]) -> Iterator[str]:
        """The violations, in words."""
        for number, client in enumerate(self.clients):
            if not client.is_connected():
                yield f'client {number} has lost its connection'
            for event, count in emitted.items():
                received = numbers(client, event)
                found = account(received, count)
                if found != EXACT:
                    missing = sorted(set(range(count)) - set(received))
                    yield (f'client {number}, {event}, {count} messages: '
                           f'{found}; missing {missing[:EXAMPLES]}')
        for number, node in enumerate(self.members):
            try:
                node.wait_health('ok', BACK_WITHIN)
                check_pairs(node, node.stats()['outages'])
            except (AssertionError, RemoteError) as exc:
                yield f'member {number}: {exc}'
            stats = node.stats()
            wrong = {name: stats[name] for name in LOSSES if stats[name]}
            if wrong:
                yield f'member {number} counts {wrong}'
            if stats['malformed'] != self.malformed:
                yield (f'member {number} counts {stats["malformed"]} '
                       f'malformed entries, not {self.malformed}')
