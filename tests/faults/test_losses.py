"""Redis loses entries that a node has not read: every loss is noticed, with
the right numbers."""
import logging
import time
from typing import Any, List

import pytest

from redis_streams_adapter import RedisStreamsManager

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN, numbers
from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .fixtures import Connect, MakeProxy, MakeRedis, StartNodes, Unique


STREAM = 'socket.io'

#: A stream that is trimmed soon. Trimming works in blocks of 100 entries.
SHORT = {'max_len': 200, 'on_loss': 'record', **STEADY}

#: How many messages are emitted while a reader is away: several times as
#: many as the stream keeps.
MANY = 1500


@pytest.fixture
def redis(make_redis: MakeRedis) -> RedisServer:
    """A server that loses its data when it is killed."""
    return make_redis().start()


def emit_range(node: NodeProcess, event: str, start: int, stop: int,
               flush: bool = True) -> None:
    """Emit these numbers, and wait until Redis has them."""
    node.script(*(('server', 'emit', [event, number], {})
                  for number in range(start, stop)))
    if flush:
        assert node.flush()


def emit_numbers(node: NodeProcess, event: str, count: int) -> None:
    """Emit 0, 1, 2, …, and wait until Redis has them."""
    emit_range(node, event, 0, count)


def added(server: RedisServer) -> int:
    """The number of entries ever added to the stream. Redis 6.2 does not
    count them, and answers 0 here."""
    with server.client() as admin:
        return int(admin.xinfo_stream(STREAM).get('entries-added', 0))


def check_gap(client: Client, event: str, emitted: int) -> int:
    """Some numbers have arrived, in order, and some are missing.

    :return: how many are missing.
    """
    arrived = numbers(client, event)
    assert arrived == sorted(set(arrived))
    assert len(arrived) < emitted
    return emitted - len(arrived)


def wait_lost(node: NodeProcess, count: int,
              counter: str = 'messages_lost') -> None:
    """Wait until a node has counted this number of losses."""
    wait_for_value(lambda: node.stats()[counter], count, BACK_WITHIN,
                   f'{counter} of {node.name}')


def losses(node: NodeProcess) -> List[Any]:
    """The losses that ``on_loss`` got: kind, stream, count, uid."""
    return [tuple(loss) for loss in node.recorded('loss')]


def errors(node: NodeProcess, words: str) -> List[str]:
    """The lines of a node's log at level ERROR with these words."""
    return [text for text in node.logs(logging.ERROR) if words in text]


# -- entries are trimmed while a reader is away -----------------------------

@pytest.mark.parametrize('how', ['frozen', 'cut off'])
def test_reader_counts_trimmed_messages(redis: RedisServer, proxy: Proxy,
                                        start_nodes: StartNodes,
                                        connect: Connect, unique: Unique,
                                        how: str) -> None:
    """The reader counts exactly the messages that its client did not get."""
    nodes = (start_nodes(1, redis.url, **SHORT)
             + start_nodes(1, proxy.url, **SHORT))
    start_managers(nodes)
    emitter, reader = nodes
    client = connect(reader)
    event, marker = unique('event'), unique('marker')
    if how == 'frozen':
        reader.freeze()
    else:
        proxy.cut()
    emit_numbers(emitter, event, MANY)
    if how == 'frozen':
        reader.thaw()
    else:
        proxy.open()
    emitter.emit(marker)
    client.wait_for(marker, timeout=BACK_WITHIN)

    missing = check_gap(client, event, MANY)
    wait_lost(reader, missing)
    assert reader.health()['messages_lost'] == missing
    # A reader that reads all the time misses nothing.
    assert emitter.stats()['messages_lost'] == 0
    _, uid = emitter.identify()
    reported = [loss for loss in losses(reader) if loss[0] != 'trimmed']
    assert {(kind, stream, sender) for kind, stream, _, sender in reported} \
        == {('missing', STREAM, uid)}
    assert sum(count for _, _, count, _ in reported) == missing
    (line,) = errors(reader, 'messages are missing')
    assert f'{reported[0][2]} of process {uid}' in line
    assert losses(emitter) == []


@pytest.mark.parametrize('known', [True, False])
@pytest.mark.parametrize('lives', [True, False])
def test_reader_counts_trimmed_messages_of_emitter(
        redis: RedisServer, proxy: Proxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique, known: bool, lives: bool) -> None:
    """A process that only writes is known by its emits alone.

    :param known: the reader has read one of them before it is cut off.
    :param lives: the emitter continues when the reader is back.
    """
    (reader,) = start_nodes(1, proxy.url, **SHORT)
    reader.start_manager()
    client = connect(reader)
    event, marker = unique('event'), unique('marker')
    emitter = RedisStreamsManager(redis.url, write_only=True, max_len=200,
                                  publish='background')
    with emitter:
        emitted = 0
        if known:
            emitter.emit(event, emitted)
            emitted += 1
            client.wait_for(event)
        proxy.cut()
        for number in range(emitted, MANY):
            emitter.emit(event, number)
        assert emitter.flush(BACK_WITHIN)
        if not lives:
            emitter.close()
        proxy.open()
        if lives:
            emitter.emit(marker, None)
            client.wait_for(marker, timeout=BACK_WITHIN)
    if not lives:
        # Its last entries are still there.
        wait_for_value(lambda: numbers(client, event)[-1:], [MANY - 1],
                       BACK_WITHIN, 'the last that the client got')

    wait_lost(reader, check_gap(client, event, MANY))
    (line,) = errors(reader, 'messages are missing')
    assert 'process emitter' in line


def test_unknown_emitter_counts_as_trimmed_entries(
        redis: RedisServer, proxy: Proxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique) -> None:
    """While the reader is away, an emitter starts and ends, and all of its
    entries are trimmed.

    The reader does not know the emitter. It reports how many entries are
    missing if Redis counts entries. Redis 6.2 does not; the loss is not
    noticed there.
    """
    # A reader asks for the count after a read without entries.
    options = {**SHORT, 'block_time': 0.2}
    nodes = (start_nodes(1, proxy.url, **options)
             + start_nodes(1, redis.url, **options))
    # The reader starts first: it reads from the beginning.
    start_managers(nodes)
    reader, witness = nodes
    client = connect(reader)
    event, marker = unique('event'), unique('marker')
    proxy.cut()
    with RedisStreamsManager(redis.url, write_only=True,
                             max_len=200) as emitter:
        for number in range(50):
            emitter.emit(event, number)
    emit_numbers(witness, unique('other'), MANY)
    proxy.open()
    witness.emit(marker)
    client.wait_for(marker, timeout=BACK_WITHIN)
    assert client.received(event) == []
    if not redis.binary.counts_entries:
        assert reader.stats()['entries_trimmed'] == 0
        return
    # All entries that were ever added were read or are counted.
    wait_until(lambda: added(redis) == sum(map(
        reader.stats().get, ('received', 'entries_trimmed'))),
        what='all entries to be accounted for')
    stats = reader.stats()
    # The witness has lost messages, and heartbeats besides.
    assert stats['entries_trimmed'] >= 50 + stats['messages_lost']
    reported = [loss for loss in losses(reader) if loss[0] == 'trimmed']
    assert reported == [('trimmed', STREAM, stats['entries_trimmed'], None)]
    (line,) = errors(reader, 'entries of stream')
    assert str(stats['entries_trimmed']) in line
    assert witness.stats()['entries_trimmed'] == 0


def test_earlier_emitter_counts_as_trimmed_entries(
        redis: RedisServer, proxy: Proxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique) -> None:
    """The emitter starts before the reader, which is cut off before it reads
    one of its messages: their numbers do not show how many are missing, but
    the count of entries does."""
    with RedisStreamsManager(redis.url, write_only=True, max_len=200,
                             publish='background') as emitter:
        emitter.emit(unique('before'), None)
        assert emitter.flush(BACK_WITHIN)
        earlier = added(redis)
        (reader,) = start_nodes(1, proxy.url, **{**SHORT, 'block_time': 0.2})
        reader.start_manager()
        client = connect(reader)
        event = unique('event')
        proxy.cut()
        for number in range(MANY):
            emitter.emit(event, number)
        assert emitter.flush(BACK_WITHIN)
        proxy.open()
        wait_for_value(lambda: numbers(client, event)[-1:], [MANY - 1],
                       BACK_WITHIN, 'the last that the client got')
    missing = check_gap(client, event, MANY)
    assert reader.stats()['messages_lost'] == 0
    if redis.binary.counts_entries:
        # Besides the messages, heartbeats are missing, and what the emitter
        # asked its readers.
        wait_until(lambda: added(redis) - earlier == sum(map(
            reader.stats().get, ('received', 'entries_trimmed'))),
            BACK_WITHIN, 'all entries to be accounted for')
        assert reader.stats()['entries_trimmed'] >= missing
        assert errors(reader, 'entries of stream')


# -- the stream is deleted --------------------------------------------------

@pytest.mark.parametrize('command', ['delete', 'flushall'])
def test_stream_deletion_is_reported_once(redis: RedisServer, proxy: Proxy,
                                          start_nodes: StartNodes,
                                          connect: Connect, unique: Unique,
                                          command: str) -> None:
    """A connected reader and one that is cut off report the deletion once.
    """
    nodes = (start_nodes(1, redis.url, on_loss='record', **STEADY)
             + start_nodes(1, proxy.url, on_loss='record', **STEADY))
    start_managers(nodes)
    emitter, away = nodes
    clients = [connect(node) for node in nodes]
    event = unique('event')
    emitter.start_pulse(event)
    clients[1].wait_for(event, 100)
    proxy.cut()
    clients[0].wait_for(event, len(clients[0].received(event)) + 100)
    with redis.client() as admin:
        assert getattr(admin, command)(
            *([STREAM] if command == 'delete' else [])) == 1
    # More entries than the reader last saw in the stream.
    clients[0].wait_for(event, len(clients[0].received(event)) + 50)
    proxy.open()
    noticed = redis.binary.counts_entries
    for node in nodes if noticed else []:
        wait_lost(node, 1, 'streams_deleted')
    emitted = emitter.stop_pulse(event)
    marker = unique('marker')
    emitter.emit(marker)
    for client in clients:
        client.wait_for(marker, timeout=BACK_WITHIN)

    # Redis 6.2 shows only that messages are missing.
    wait_lost(away, check_gap(clients[1], event, emitted))
    assert numbers(clients[0], event) == list(range(emitted))
    assert emitter.stats()['messages_lost'] == 0
    for node in nodes:
        reported = [loss for loss in losses(node) if loss[0] == 'deleted']
        assert reported == [('deleted', STREAM, None, None)] * noticed
        assert node.stats()['streams_deleted'] == noticed
        assert node.stats()['stream_setbacks'] == 0
        assert len(errors(node, 'was deleted')) == noticed


def test_restart_without_data_is_reported(redis: RedisServer, proxy: Proxy,
                                          start_nodes: StartNodes,
                                          connect: Connect,
                                          unique: Unique) -> None:
    """Every reader reports that the stream was deleted. One that had not
    read it all reports how much is missing. Nothing that is emitted later
    is lost."""
    nodes = (start_nodes(1, redis.url, on_loss='record', **STEADY)
             + start_nodes(1, proxy.url, on_loss='raise', **STEADY))
    start_managers(nodes)
    emitter, away = nodes
    clients = [connect(node) for node in nodes]
    event = unique('event')
    emitter.emit(event, 0)
    clients[1].wait_for(event)
    proxy.cut()
    # Acknowledged.
    emit_range(emitter, event, 1, 100)
    redis.kill()
    emit_range(emitter, event, 100, 150, flush=False)
    redis.start()
    proxy.open()
    clients[1].wait_for(event, 51, timeout=BACK_WITHIN)
    assert numbers(clients[1], event) == [0, *range(100, 150)]
    assert numbers(clients[0], event) == list(range(150))
    wait_lost(away, 99)
    assert emitter.stats()['messages_lost'] == 0
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
    # To its writer, the stream was not set back.
    assert emitter.stats()['messages_vanished'] == 0
    _, uid = emitter.identify()
    deleted = ('deleted', STREAM, None, None)
    missing = ('missing', STREAM, 99, uid)
    if redis.binary.counts_entries:
        for node, expected in ((emitter, [deleted]),
                               (away, [deleted, missing])):
            wait_lost(node, 1, 'streams_deleted')
            assert len(errors(node, 'was deleted')) == 1
            assert losses(node) == expected
    else:
        # To a late reader the stream looks as if it had been trimmed.
        assert missing in losses(away)
    # The node's on_loss raised each time.
    wait_for_value(lambda: len(errors(away, 'on_loss failed')),
                   len(losses(away)), what='errors of on_loss')
    event = unique('event')
    away.emit(event, 'later')
    for client in clients:
        client.wait_for(event)


# -- a lagging replica takes over -------------------------------------------

def test_failover_to_lagging_replica_is_reported(
        make_redis: MakeRedis, make_proxy: MakeProxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique) -> None:
    """The writer reports how many messages have vanished, a node that had
    read them that the stream was set back, and a node that had not read them
    how many are missing."""
    master, replica = make_redis().start(), make_redis().start()
    # The address of the master for most nodes, for a node that is cut off
    # earlier, and for the replica.
    address, early, replication = (
        make_proxy(master.port) for _ in range(3))
    for proxy in (address, early, replication):
        proxy.open()
    nodes = (start_nodes(2, address.url, on_loss='record', **STEADY)
             + start_nodes(1, early.url, on_loss='record', **STEADY))
    start_managers(nodes)
    writer, ahead, away = nodes
    clients = [connect(node) for node in nodes]
    event = unique('event')
    emit_range(writer, event, 0, 100)
    for client in clients:
        client.wait_for(event, 100)
    replica.follow(replication.port)
    replication.cut()
    early.cut()
    for start in range(100, 400, 100):
        emit_range(writer, event, start, start + 100)
    clients[1].wait_for(event, 400)

    address.cut()
    replica.promote()
    for proxy in (address, early):
        proxy.target_port = replica.port
        proxy.open()
    emit_range(writer, event, 400, 450, flush=False)
    for client, lost in zip(clients, (0, 0, 300)):
        client.wait_for(event, 450 - lost, timeout=BACK_WITHIN)
    everything = list(range(450))
    assert numbers(clients[0], event) == everything
    assert numbers(clients[1], event) == everything
    assert numbers(clients[2], event) == everything[:100] + everything[400:]

    _, uid = writer.identify()
    vanished = ('vanished', STREAM, 300, None)
    set_back = ('set-back', STREAM, None, None)
    for node, expected in ((writer, [set_back, vanished]),
                           (ahead, [set_back]),
                           (away, [('missing', STREAM, 300, uid)])):
        wait_for_value(lambda: sorted(losses(node)), expected, BACK_WITHIN,
                       f'the losses of {node.name}')
        kinds = [kind for kind, *_ in expected]
        stats = node.stats()
        assert stats['stream_setbacks'] == kinds.count('set-back')
        assert stats['messages_vanished'] == 300 * kinds.count('vanished')
        assert stats['messages_lost'] == 300 * kinds.count('missing')
        assert stats['streams_deleted'] == 0
        assert len(node.logs(logging.ERROR)) == len(expected)
    assert '300 messages of this process' in ''.join(
        writer.logs(logging.ERROR))
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)


# -- the log ----------------------------------------------------------------

def test_losses_are_logged_once_in_ten_seconds(
        redis: RedisServer, start_nodes: StartNodes) -> None:
    """Each loss is counted and reported, but the log is not flooded."""
    (node,) = start_nodes(1, redis.url, on_loss='record', **STEADY)
    node.start_manager()
    with redis.client() as admin:
        # The writer begins later than the node.
        now, _ = admin.time()
        started = time.monotonic()
        for number in range(1, 101):
            # As its writer would add them, with every second one missing.
            admin.xadd(STREAM, {
                'uid': 'f' * 16, 'nsp': '/', 'type': '3',
                'data': '{"opts":{"rooms":[],"except":[],"flags":{}},'
                        '"packet":{"type":2,"data":["event"],"nsp":"/"}}',
                'wid': 'e' * 16, 'seq': str(2 * number),
                'since': f'{now + 1}000-0'})
        wait_lost(node, 100)
    lines = errors(node, 'messages are missing')
    reported = losses(node)
    assert time.monotonic() - started < 10.0, 'too slow to show anything'
    assert reported == [('missing', STREAM, 1, 'f' * 16)] * 100
    (line,) = lines
    assert '1 of process ffffffffffffffff' in line
    assert 'messages_lost: 1 in all' in line
    # Losses that were not logged yet are logged at the end.
    node.close_manager()
    assert ['messages_lost: 100 in all' in each for each
            in node.logs(logging.ERROR)] == [False, True]
