"""A server refuses a command, as managed services and proxies do. The rows are
those of docs/compatibility.rst."""
from typing import Any, Callable, Iterator, List, Mapping

import pytest
import socketio

from redis_streams_adapter import RedisStreamsError, RedisStreamsManager

from ..conftest import skip_incapable
from ..support.commands import GOES_ON, ROWS, shown, WAITS
from ..support.redis_server import RedisServer
from ..support.refusing import RefusingProxy, WORDS
from ..support.wait import wait_for_value, wait_until
from .fixtures import Unique

#: How many events are sent.
EVENTS = 50

#: These are not sent where nothing goes wrong: a script has done in their
#: place, no connection has broken, nobody returns, or nothing asks for them.
SPARED = {'xinfo|stream', 'client|kill', 'client|setinfo', 'get', 'set', 'del',
          'xrange', 'xrevrange', 'unsubscribe', 'sunsubscribe', 'ping',
          'xtrim'}

#: Without these there are no answers over PUB/SUB.
ASKING = {'subscribe', 'publish', 'pubsub|numsub', 'ssubscribe', 'spublish',
          'pubsub|shardnumsub'}

Make = Callable[..., RedisStreamsManager]


def cases(effect: str) -> List[Any]:
    """Each command that has this effect, refused in each way. Each
    connection is tried with PING, so there is none if that closes it."""
    return [pytest.param(command, row.options, words,
                         id=f'{shown(command)}-{words}')
            for row in ROWS if row.effect == effect
            for command in row.commands for words in WORDS
            if WORDS[words] or effect == GOES_ON and command != 'ping']


@pytest.fixture(scope='module')
def master(redis_binary: str) -> Iterator[RedisServer]:
    """A server with a replica."""
    with RedisServer() as master, RedisServer() as replica:
        master.start()
        replica.start('--replicaof', '127.0.0.1', str(master.port))
        with replica.client() as admin:
            wait_until(lambda: admin.info('replication')[
                'master_link_status'] == 'up', what='the replica')
        yield master


@pytest.fixture
def make(unique: Unique) -> Iterator[Make]:
    """Makes a server in this process, with threads."""
    made: List[RedisStreamsManager] = []
    name = unique('refused')

    def make(url: str, **options: Any) -> RedisStreamsManager:
        manager = RedisStreamsManager(
            url, name, channel_prefix=name, heartbeat_interval=0.5,
            heartbeat_timeout=60.0, **options)
        made.append(manager)
        socketio.Server(client_manager=manager, async_mode='threading',
                        namespaces=['/'])
        return manager

    yield make
    for manager in made:
        manager.close(timeout=0)


@pytest.mark.parametrize('command, options, words', cases(GOES_ON))
def test_events_go_on(master: RedisServer, make: Make, command: str,
                      options: Mapping[str, Any], words: str) -> None:
    if 'sharded-pubsub' in options.values() \
            and not master.binary.has_sharded_channels:
        skip_incapable('no sharded channels')
    with RefusingProxy(master.port, command.replace('|', ' '),
                       words) as proxy:
        sender, other = (make(f'redis://127.0.0.1:{proxy.port}/0', **options)
                         for _ in range(2))
        received: List[int] = []
        other.on_server_side('event', received.append)
        other.on_server_side('name', lambda: 'other')
        for manager in sender, other:
            manager.start()
        for number in range(EVENTS):
            sender.server_side_emit('event', number)
        # Each handler runs on a task of its own, in any order.
        wait_for_value(lambda: sorted(received), list(range(EVENTS)))
        if command in ASKING:
            with pytest.raises(RedisStreamsError):
                sender.server_side_call('name', timeout=1.0)
        else:
            assert sender.server_side_call('name') == ['other']
        if command not in SPARED:
            wait_until(lambda: proxy.count, what='the command')
        for manager in sender, other:
            wait_until(lambda: manager.health()['connected'])
            assert manager.stats()['messages_lost'] == 0


@pytest.mark.parametrize('command, options, words', cases(WAITS))
def test_events_wait(master: RedisServer, make: Make, command: str,
                     options: Mapping[str, Any], words: str) -> None:
    with RefusingProxy(master.port, command, words) as proxy:
        sender = make(f'redis://127.0.0.1:{proxy.port}/0', **options)
        other = make(f'redis://127.0.0.1:{master.port}/0')
        received: List[int] = []
        other.on_server_side('event', received.append)
        for manager in other, sender:
            manager.start()
        for number in range(EVENTS):
            sender.server_side_emit('event', number)

        def is_reported() -> bool:
            health = sender.health()
            return health['status'] == 'degraded' \
                and command in (health['last_error'] or '').lower()

        wait_until(is_reported, what=lambda: f'error: {sender.health()}')
        proxy.refuses = False
        wait_until(lambda: sender.health()['status'] == 'ok',
                   what=lambda: f'recovery: {sender.health()}')
        assert sender.flush(10)
        wait_until(lambda: len(received) >= EVENTS)
        assert sorted(received) == list(range(EVENTS))
