"""The scenarios that are measured."""
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from . import payload
from .peers import GEVENT_WEBSOCKET

WARM_UP = 200
"""Messages sent and received before a scenario is measured: connections are
open then, and the interpreter has specialised the code that runs."""

LINGER = 0.3
"""Seconds in which a duplicate would show."""

QUICK_SHARE = 20
"""A quick run divides the numbers of messages and clients by this."""

QUICK_COUNT = 20
"""It has at least this many messages, and as many for the warm-up."""

QUICK_LINGER = 0.05
"""Seconds for which it waits for duplicates."""

QUICK_RECOVERY = ('single', 'fanout')
"""Scenarios in which it compares nodes with recovery, and without the optional
parser, too."""

QUICK_OMITTED = ('nodes2', 'nodes8', 'paced2', 'paced4', 'paced8')
"""Scenarios that it leaves out: most of their time goes into starting nodes,
and nothing in them is new."""


@dataclass(frozen=True)
class Scenario:
    """One thing to measure.

    :param name: how it is chosen on the command line.
    :param what: how it is presented; fields stand in braces.
    :param kinds: which kinds of nodes take part.
    :param count: messages.
    :param greenlets: how many of them emit at once.
    :param rate: messages per second; as fast as they go if 0.
    :param clients: how many clients of the other node get each; if 0, none
                    does, and one message to a client follows.
    :param own: it is the client of the emitting node that gets them.
    :param size: characters of a message.
    :param binary: they are sent as bytes.
    :param hide: modules that the nodes must not find.
    :param deflate: the clients offer compression, as browsers do.
    :param nodes: how many there are in the cluster.
    :param everywhere: each node has one client that gets the messages.
    :param unit: what there are ``count`` of. With ``connect`` it is clients
                 that come, one after the other; with ``client`` it is idle
                 clients, whose memory counts. Then nothing is emitted.
    :param warm_up: messages before it.
    :param linger: seconds after it, for duplicates.
    """
    name: str
    what: str
    kinds: Sequence[str]
    count: int
    greenlets: int = 1
    rate: float = 0
    clients: int = 1
    own: bool = False
    size: int = payload.SIZE
    binary: bool = False
    hide: Sequence[str] = ()
    deflate: bool = False
    nodes: int = 2
    everywhere: bool = False
    unit: str = 'message'
    warm_up: int = WARM_UP
    linger: float = LINGER

    @property
    def title(self) -> str:
        return self.what.format(**asdict(self))

    @property
    def alone(self) -> bool:
        """Whether it needs nodes that nothing else has run on."""
        return self.everywhere or self.unit == 'client' or bool(self.hide)

    def quick(self) -> 'Scenario':
        """Return a shortened scenario, for a run that only tries it."""
        return replace(
            self, count=max(QUICK_COUNT, self.count // QUICK_SHARE),
            clients=min(self.clients, max(2, self.clients // QUICK_SHARE)),
            warm_up=QUICK_COUNT, linger=QUICK_LINGER,
            kinds=[kind for kind in self.kinds
                   if kind not in ('recovery', 'fallback')
                   or 'redis' not in self.kinds
                   or self.name in QUICK_RECOVERY])


ALL = ('redis', 'nodejs', 'recovery', 'fallback', 'streams')
SENDERS = ('redis', 'nodejs', 'xadd', 'recovery', 'fallback', 'streams')
PYTHON = ('redis', 'recovery', 'fallback', 'streams')
PUBLISHED = ('redis', 'nodejs', 'streams')

SCENARIOS = (
    Scenario('single', '{count:,} messages from one greenlet to a client of '
             'the other node', SENDERS, 20_000),
    Scenario('greenlets', '{count:,} messages from {greenlets} greenlets to '
             'a client of the other node', PYTHON, 20_000, greenlets=50),
    Scenario('nobody', '{count:,} messages to a room without clients on the '
             'other node', ALL, 20_000, clients=0),
    Scenario('fanout', '{count:,} messages to {clients} clients of the other '
             'node', ALL, 2_000, clients=100),
    Scenario('fanout1000', '{count:,} messages to {clients:,} clients of the '
             'other node', ALL, 200, clients=1000),
    Scenario('fanout50', '{rate} messages a second to {clients} clients of '
             'the other node, {count} in all', ALL, 500, clients=100,
             rate=50),
    Scenario('simple', '{count:,} messages to {clients} clients of the other '
             'node, with simple-websocket', PYTHON, 2_000, clients=100,
             hide=(GEVENT_WEBSOCKET,)),
    Scenario('deflate', '{count:,} messages to {clients} clients of the other '
             'node that offer compression, with simple-websocket', PYTHON,
             1_000, clients=100, hide=(GEVENT_WEBSOCKET,), deflate=True),
    Scenario('paced', '{rate} messages a second to a client of the other '
             'node, {count:,} in all', ALL, 5_000, rate=500),
    Scenario('10kb', '{count:,} messages of {size:,} characters', SENDERS,
             5_000, size=10_000),
    # All of them fit into the manager's outbox, which holds 64 MiB. While it
    # is more than half full, emit() waits for Redis.
    Scenario('100kb', '{count:,} messages of {size:,} characters', SENDERS,
             500, size=100_000),
    Scenario('binary', '{count:,} binary messages of {size} bytes', ALL,
             10_000, binary=True),
    Scenario('memory', 'memory, with {count:,} idle clients', ALL, 1_000,
             unit='client'),
    *(Scenario(f'nodes{nodes}', '{count:,} messages to one client of each '
               'node, {nodes} in the cluster', PUBLISHED, 5_000, nodes=nodes,
               everywhere=True) for nodes in (1, 2, 4, 8)),
    *(Scenario(f'paced{nodes}', '{rate} messages a second to one client of '
               'each node, {nodes} in the cluster, {count:,} in all',
               ('streams',), 1_000, rate=500, nodes=nodes, everywhere=True)
      for nodes in (1, 2, 4, 8)),
    Scenario('paced5000', '{rate:,} messages a second to a client of the '
             'other node, {count:,} in all', ('streams',), 10_000, rate=5000),
)

RECOVERY_SCENARIOS = (
    Scenario('own', '{rate} messages a second to a client of the emitting '
             'node, {count:,} in all', ('streams', 'recovery'), 5_000,
             rate=500, own=True),
    *(replace(scenario, kinds=('streams', 'recovery'))
      for scenario in SCENARIOS[:2]),
    Scenario('connects', '{count} clients come, one after the other',
             ('streams', 'recovery'), 500, unit='connect'),
)
"""For the cost of connection state recovery."""


def quick(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Return them shortened."""
    return [scenario.quick() for scenario in scenarios
            if scenario.name not in QUICK_OMITTED]
