"""Redis forgets what somebody had not read: is that noticed, and are the
numbers right?"""
import logging
import time
from typing import Any, Callable, List

import pytest

from redis_streams_adapter import RedisStreamsManager

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN, numbers
from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]
MakeRedis = Callable[..., RedisServer]
MakeProxy = Callable[[int], Proxy]

STREAM = 'socket.io'

#: So short that it is overrun at once. Trimming works in blocks of 100.
SHORT = {'max_len': 200, 'on_loss': 'record', **STEADY}

#: What is emitted while somebody is away: several times what is kept.
MANY = 1500


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


def check_gap(client: Client, event: str, emitted: int) -> int:
    """What has arrived is in order, and it is not everything.

    :return: how many are missing.
    """
    arrived = numbers(client, event)
    assert arrived == sorted(set(arrived))
    assert len(arrived) < emitted
    return emitted - len(arrived)


def wait_lost(node: NodeProcess, count: int,
              counter: str = 'messages_lost') -> None:
    """Wait until a node has counted so many losses, and no more."""
    wait_for_value(lambda: node.stats()[counter], count, BACK_WITHIN,
                   f'{counter} of {node.name}')


def losses(node: NodeProcess) -> List[Any]:
    """What a node's ``on_loss`` was told: kind, stream, count, uid."""
    return [tuple(loss) for loss in node.recorded('loss')]


def complaints(node: NodeProcess, words: str) -> List[str]:
    """The lines of a node's log at level error with these words."""
    return [text for text in node.logs(logging.ERROR) if words in text]


# -- entries are trimmed under a reader that is away ------------------------

@pytest.mark.parametrize('how', ['frozen', 'cut off'])
def test_reader_counts_trimmed_messages(make_redis: MakeRedis,
                                        make_proxy: MakeProxy,
                                        start_nodes: StartNodes,
                                        connect: Connect, unique: Unique,
                                        how: str) -> None:
    """It counts exactly what its client did not get."""
    redis = make_redis().start()
    proxy = make_proxy(redis.port)
    proxy.open()
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
    # Who reads all the time misses nothing.
    assert emitter.stats()['messages_lost'] == 0
    _, uid = emitter.identify()
    told = [loss for loss in losses(reader) if loss[0] != 'trimmed']
    assert {(kind, stream, who) for kind, stream, _, who in told} == {
        ('missing', STREAM, uid)}
    assert sum(count for _, _, count, _ in told) == missing
    (line,) = complaints(reader, 'messages are missing')
    assert f'{told[0][2]} of process {uid}' in line
    assert losses(emitter) == []


@pytest.mark.parametrize('known', [True, False])
@pytest.mark.parametrize('lives', [True, False])
def test_reader_counts_trimmed_messages_of_emitter(
        make_redis: MakeRedis, make_proxy: MakeProxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique, known: bool, lives: bool) -> None:
    """A process that only writes is never heard of but by what it emits.

    :param known: the reader has heard of it before it is cut off.
    :param lives: it goes on when the reader is back.
    """
    redis = make_redis().start()
    proxy = make_proxy(redis.port)
    proxy.open()
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
    (line,) = complaints(reader, 'messages are missing')
    assert 'process emitter' in line


def test_unknown_emitter_counts_as_trimmed_entries(
        make_redis: MakeRedis, make_proxy: MakeProxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique) -> None:
    """An emitter came and went meanwhile, and nothing is left of it.

    Whose they were nobody knows. A server that counts its entries tells how
    many; Redis 6.2 does not, and of an emitter that is all trimmed nothing
    is noticed there.
    """
    redis = make_redis().start()
    proxy = make_proxy(redis.port)
    proxy.open()
    # A reader looks when it has waited for an entry in vain.
    options = {**SHORT, 'block_time': 0.2}
    nodes = (start_nodes(1, proxy.url, **options)
             + start_nodes(1, redis.url, **options))
    # The reader is the first one there: it reads from the beginning.
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
    if not redis.counts_entries():
        assert reader.stats()['entries_trimmed'] == 0
        return
    with redis.client() as admin:
        # All that ever stood there was read or is counted.
        wait_until(lambda: admin.xinfo_stream(STREAM)['entries-added']
                   == sum(map(reader.stats().get,
                              ('received', 'entries_trimmed'))),
                   what='all entries to be accounted for')
    stats = reader.stats()
    # Of the witness, besides messages, signs of life.
    assert stats['entries_trimmed'] >= 50 + stats['messages_lost']
    told = [loss for loss in losses(reader) if loss[0] == 'trimmed']
    assert told == [('trimmed', STREAM, stats['entries_trimmed'], None)]
    (line,) = complaints(reader, 'entries of stream')
    assert str(stats['entries_trimmed']) in line
    assert witness.stats()['entries_trimmed'] == 0


def test_earlier_emitter_counts_as_trimmed_entries(
        make_redis: MakeRedis, make_proxy: MakeProxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique) -> None:
    """It began before the reader, which was cut off before it heard of it:
    no number tells how many are missing, but the server's count does."""
    redis = make_redis().start()
    with RedisStreamsManager(redis.url, write_only=True, max_len=200,
                             publish='background') as emitter:
        emitter.emit(unique('before'), None)
        assert emitter.flush(BACK_WITHIN)
        proxy = make_proxy(redis.port)
        proxy.open()
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
    if redis.counts_entries():
        wait_until(lambda: reader.stats()['entries_trimmed'] >= missing,
                   BACK_WITHIN, 'what was trimmed to be counted')
        # With at most a few signs of life.
        assert reader.stats()['entries_trimmed'] <= missing + 10
        assert complaints(reader, 'entries of stream')


# -- the stream is deleted --------------------------------------------------

@pytest.mark.parametrize('command', ['delete', 'flushall'])
def test_stream_deletion_is_reported_once(make_redis: MakeRedis,
                                          make_proxy: MakeProxy,
                                          start_nodes: StartNodes,
                                          connect: Connect, unique: Unique,
                                          command: str) -> None:
    """One reader is there, one is cut off: both say so, once."""
    redis = make_redis().start()
    proxy = make_proxy(redis.port)
    proxy.open()
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
    # More than stood there when the reader last looked.
    clients[0].wait_for(event, len(clients[0].received(event)) + 50)
    proxy.open()
    tells = redis.counts_entries()
    for node in nodes if tells else []:
        wait_lost(node, 1, 'streams_deleted')
    emitted = emitter.stop_pulse(event)
    marker = unique('marker')
    emitter.emit(marker)
    for client in clients:
        client.wait_for(marker, timeout=BACK_WITHIN)

    # Redis 6.2 shows no more than that messages are missing.
    wait_lost(away, check_gap(clients[1], event, emitted))
    assert numbers(clients[0], event) == list(range(emitted))
    assert emitter.stats()['messages_lost'] == 0
    for node in nodes:
        told = [loss for loss in losses(node) if loss[0] == 'deleted']
        assert told == [('deleted', STREAM, None, None)] * tells
        assert node.stats()['streams_deleted'] == tells
        assert node.stats()['stream_setbacks'] == 0
        assert len(complaints(node, 'was deleted')) == tells


def test_restart_without_data_is_reported(make_redis: MakeRedis,
                                          make_proxy: MakeProxy,
                                          start_nodes: StartNodes,
                                          connect: Connect,
                                          unique: Unique) -> None:
    """Every reader says that the stream is gone, and who had not read it
    how much is missing; nothing that is emitted later is."""
    redis = make_redis().start()
    proxy = make_proxy(redis.port)
    proxy.open()
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
    # The stream is not one that its writer had been set back in.
    assert emitter.stats()['messages_vanished'] == 0
    _, uid = emitter.identify()
    deleted = ('deleted', STREAM, None, None)
    missing = ('missing', STREAM, 99, uid)
    if redis.counts_entries():
        for node, told in (emitter, [deleted]), (away, [deleted, missing]):
            wait_lost(node, 1, 'streams_deleted')
            assert len(complaints(node, 'was deleted')) == 1
            assert losses(node) == told
    else:
        # To a late reader the stream looks as if it had been trimmed.
        assert missing in losses(away)
    # Whoever is told raised each time.
    wait_for_value(lambda: len(complaints(away, 'on_loss failed')),
                   len(losses(away)), what='complaints about on_loss')
    event = unique('event')
    away.emit(event, 'well')
    for client in clients:
        client.wait_for(event)


# -- a replica that was behind takes over -----------------------------------

def test_failover_to_lagging_replica_is_reported(
        make_redis: MakeRedis, make_proxy: MakeProxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique) -> None:
    """Its writer says how many have vanished, who had read them that the
    stream was set back, who had not how many are missing."""
    master, replica = make_redis().start(), make_redis().start()
    # The address that all know, the same for one that is cut off earlier,
    # and the replica's way to its master.
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
    for node, told in ((writer, [set_back, vanished]), (ahead, [set_back]),
                       (away, [('missing', STREAM, 300, uid)])):
        wait_for_value(lambda: sorted(losses(node)), told, BACK_WITHIN,
                       f'the losses of {node.name}')
        kinds = [kind for kind, *_ in told]
        stats = node.stats()
        assert stats['stream_setbacks'] == kinds.count('set-back')
        assert stats['messages_vanished'] == 300 * kinds.count('vanished')
        assert stats['messages_lost'] == 300 * kinds.count('missing')
        assert stats['streams_deleted'] == 0
        assert len(node.logs(logging.ERROR)) == len(told)
    assert '300 messages of this process' in ''.join(
        writer.logs(logging.ERROR))
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)


# -- the log ----------------------------------------------------------------

def test_losses_are_logged_once_in_ten_seconds(
        make_redis: MakeRedis, start_nodes: StartNodes) -> None:
    """Each loss is counted and told, but the log is not flooded."""
    redis = make_redis().start()
    (node,) = start_nodes(1, redis.url, on_loss='record', **STEADY)
    node.start_manager()
    with redis.client() as admin:
        started = time.monotonic()
        for number in range(1, 101):
            # As its writer would, of which every second one is missing.
            admin.xadd(STREAM, {
                'uid': 'f' * 16, 'nsp': '/', 'type': '3',
                'data': '{"opts":{"rooms":[],"except":[],"flags":{}},'
                        '"packet":{"type":2,"data":["event"],"nsp":"/"}}',
                'wid': 'e' * 16, 'seq': str(2 * number), 'since': '0-0'})
        wait_lost(node, 100)
    lines = complaints(node, 'messages are missing')
    told = losses(node)
    assert time.monotonic() - started < 10.0, 'too slow to tell anything'
    assert told == [('missing', STREAM, 1, 'f' * 16)] * 100
    (line,) = lines
    assert '1 of process ffffffffffffffff' in line
    assert 'messages_lost: 1 in all' in line
    # What the log was not told of, it is told at the end.
    node.close_manager()
    assert ['messages_lost: 100 in all' in each for each
            in node.logs(logging.ERROR)] == [False, True]
