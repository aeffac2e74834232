"""The faults. Each ends by itself; the cluster has to recover from it while
the next one begins."""
import random
import threading
import time
from typing import Callable, List, NamedTuple

from ..support.entries import add_entry, entry, MALFORMED
from ..support.proxy import Proxy
from .cluster import Cluster

#: Seconds for which a trap stays set.
TRAP_TIMEOUT = 3.0

Chance = random.Random


class Fault(NamedTuple):
    """One kind of fault.

    :param work: begins and ends it.
    """

    name: str
    work: Callable[[Cluster, Chance], None]


# The length of a fault is random: the sleeps here wait for no condition.

def _killed(cluster: Cluster, chance: Chance) -> None:
    cluster.redis.kill()
    time.sleep(chance.uniform(0.2, 4.0))
    cluster.redis.start()


def _frozen(cluster: Cluster, chance: Chance) -> None:
    cluster.redis.freeze()
    time.sleep(chance.uniform(0.2, 7.0))
    cluster.redis.thaw()


def _connections_killed(cluster: Cluster, chance: Chance) -> None:
    with cluster.redis.client() as admin:
        for _ in range(chance.randint(1, 8)):
            admin.execute_command('CLIENT', 'KILL', 'TYPE', 'normal',
                                  'SKIPME', 'yes')
            time.sleep(chance.uniform(0.0, 0.3))


def _cut_off(cluster: Cluster, chance: Chance) -> None:
    proxy = chance.choice(cluster.proxies)
    proxy.cut()
    time.sleep(chance.uniform(0.1, 3.0))
    proxy.open()


def _for_a_while(begin: Callable[[Proxy, Chance], object],
                 longest: float) -> Callable[[Cluster, Chance], None]:
    """Make a fault of one proxy that is healed afterwards."""
    def work(cluster: Cluster, chance: Chance) -> None:
        proxy = chance.choice(cluster.proxies)
        begin(proxy, chance)
        time.sleep(chance.uniform(0.1, longest))
        proxy.heal()

    return work


def _trapped(set_trap: Callable[[Proxy, Chance, bytes], threading.Event]
             ) -> Callable[[Cluster, Chance], None]:
    """Make a fault that strikes the next command of a kind, or its reply."""
    def work(cluster: Cluster, chance: Chance) -> None:
        proxy = chance.choice(cluster.proxies)
        command = chance.choice([b'XADD', b'XREAD', b'EXEC', b'XINFO'])
        set_trap(proxy, chance, command).wait(TRAP_TIMEOUT)
        proxy.heal()

    return work


def _malformed(cluster: Cluster, chance: Chance) -> None:
    with cluster.redis.client() as admin:
        for fields in chance.sample(list(MALFORMED.values()), 5):
            add_entry(admin, 'socket.io', fields)
            cluster.malformed += 1
        # Their sender counts as a node until it sends ADAPTER_CLOSE.
        add_entry(admin, 'socket.io', entry(kind=13))


def _node_killed(cluster: Cluster, chance: Chance) -> None:
    cluster.replace_victim()


FAULTS: List[Fault] = [
    Fault('Redis is killed', _killed),
    Fault('Redis is frozen', _frozen),
    Fault('all connections are killed', _connections_killed),
    Fault('a node is cut off', _cut_off),
    Fault('replies are swallowed', _for_a_while(
        lambda proxy, chance: proxy.swallow_replies(), 2.0)),
    Fault('commands are swallowed', _for_a_while(
        lambda proxy, chance: proxy.swallow_commands(), 2.0)),
    Fault("a reader's replies are swallowed", _for_a_while(
        lambda proxy, chance: proxy.swallow_replies(to=b'BLOCK'), 2.0)),
    Fault('replies are late', _for_a_while(
        lambda proxy, chance: proxy.delay_replies(
            chance.uniform(0.01, 0.5)), 2.0)),
    Fault('commands are late', _for_a_while(
        lambda proxy, chance: proxy.delay_commands(
            chance.uniform(0.01, 0.5)), 2.0)),
    Fault('the commands end', _for_a_while(
        lambda proxy, chance: proxy.end_commands(), 0.5)),
    Fault('the replies end', _for_a_while(
        lambda proxy, chance: proxy.end_replies(), 0.5)),
    Fault('a reply is lost', _trapped(
        lambda proxy, chance, command: proxy.lose_reply_to(command))),
    Fault('a command is torn', _trapped(
        lambda proxy, chance, command: proxy.tear_command(
            command, chance.random()))),
    Fault('a reply is torn', _trapped(
        lambda proxy, chance, command: proxy.tear_reply_to(
            command, chance.random()))),
    Fault('malformed entries', _malformed),
    Fault('a node is killed', _node_killed),
]
