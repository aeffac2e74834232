"""``doctor``: the checks of Redis, of the stream and of this machine."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
import importlib.util
import math
from typing import Any

from ..options import Options
from ..protocol.routing import marker_channel, public_channel
from ..stream.connection import Connection
from ..stream.versions import find_too_old
from .findings import Finding, fine, found, unknown
from .observed import Seen
from .output import number, seconds, size
from .place import Place
from .reading import lines, Redis, Refused

#: How much longer than ``max_len`` a stream may be: it is trimmed by whole
#: nodes of its tree, of 100 entries by default.
EXCESS, NODES = 1.15, 200

#: What an entry takes in Redis besides its content, in bytes.
OVERHEAD = 190

#: How much later than its interval a heartbeat may be, in seconds: a check a
#: second, and a busy machine.
GRACE = 3.0

#: The policy that never deletes a key by itself.
SAFE_POLICY = 'noeviction'


def check_server(redis: Redis, place: Place) -> Iterator[Finding]:
    """Check product and version, and what memory it may take."""
    key = place.streams[0]
    try:
        raw = redis.ask(key, b'INFO', b'server')
    except Refused as exc:
        yield unknown('server', f'INFO is refused ({exc}), so the version '
                      'is not known')
        return
    info = lines(raw)
    product = next((each.capitalize() for each in ('valkey', 'dragonfly')
                    if f'{each}_version' in info), 'Redis')
    version = info.get(f'{product.lower()}_version', '?')
    problem = find_too_old(raw)
    yield fine('server', f'{product} {version}') if problem is None \
        else found('server', f'the package {problem}: update the server')


def check_memory(redis: Redis, place: Place,
                 measured: Sequence[Any]) -> Iterator[Finding]:
    """Check ``maxmemory`` and its policy.

    :param measured: what :func:`~redis_streams_adapter.commands.lag.measure`
                     has found, for each stream.
    """
    try:
        info = lines(redis.ask(place.streams[0], b'INFO', b'memory'))
    except Refused as exc:
        yield unknown('memory', f'INFO is refused ({exc})')
        return
    limit = int(info.get('maxmemory', 0) or 0)
    policy = info.get('maxmemory_policy', SAFE_POLICY)
    if policy != SAFE_POLICY:
        yield found('memory', f'maxmemory-policy is {policy}: Redis may '
                    'delete whole streams and sessions; set it to '
                    f'{SAFE_POLICY}')
    if not limit:
        if policy == SAFE_POLICY:
            yield fine('memory', 'maxmemory is not limited')
        return
    used = int(info.get('used_memory', 0) or 0)
    now = sum(each['bytes'] or 0 for each in measured)
    most = sum(map(_most, measured))
    if used - now + most > limit:
        yield found('memory', f'maxmemory is {size(limit)}, but the streams '
                    f'may grow to {size(most)} besides {size(used - now)} '
                    'of other data: raise maxmemory, or lower max_len')
    elif policy == SAFE_POLICY:
        yield fine('memory', f'{size(used)} of {size(limit)} are used')


def _most(measured: Any) -> float:
    """How many bytes a stream takes at most."""
    each = measured['bytes'] / measured['length'] \
        if measured['bytes'] and measured['length'] else OVERHEAD
    return float(measured['max_len'] * EXCESS * each)


def check_length(place: Place, measured: Sequence[Any]) -> Iterator[Finding]:
    """Check that streams are as long as they should be."""
    is_used = any(each['length'] for each in measured)
    for each in measured:
        stream, length = each['stream'], each['length']
        most = math.ceil(each['max_len'] * EXCESS) + NODES
        if not length and is_used:
            yield fine('stream', f'{stream} is empty: no namespace of the '
                       'servers belongs to it')
        elif not length:
            yield found('stream', f'the stream {stream} is empty: no server '
                        'writes to it; check --url and --stream, and '
                        'stream_name of the servers')
        elif length > most:
            yield found('stream', f'the stream {stream} has {number(length)} '
                        f'entries, about {number(each["max_len"])} are '
                        'expected: give all servers the same max_len and '
                        'retention; if they have others, put them into the '
                        'URL (redis+streams://…?max_len=…)')
        else:
            yield fine('stream', f'{stream} has {number(length)} entries')


def check_names(redis: Redis, options: Options) -> Iterator[Finding]:
    """Check that no server divides the namespaces among other streams."""
    name, count = options.stream_name, options.stream_count
    others = [f'{name}-0'] if count == 1 else [name, f'{name}-{count}']
    replies = redis.ask_all([
        (each, (b'XLEN', each.encode())) for each in others])
    for other, length in zip(others, replies):
        if isinstance(length, int) and length:
            yield found('options', f'there is a stream {other} as well: some '
                        f'servers have another stream_count than {count}, '
                        'and do not hear the others; give all the same, and '
                        'delete the stream that is left over')
    lost = [f'{name}--{index}' for index in range(1, count)]
    replies = redis.ask_all([
        (each, (b'XLEN', each.encode())) for each in lost]) if lost else []
    for other, length in zip(lost, replies):
        if isinstance(length, int) and length:
            yield found('options', f'servers in Node.js write to {other}, '
                        'which no server reads: that is a defect of the '
                        'adapter 0.3 with streamCount; rename the '
                        'namespace')


def check_heartbeats(servers: Sequence[Seen], place: Place,
                     now: float) -> Iterator[Finding]:
    """Check that servers write when they should.

    :param servers: those of each stream. One that writes to several streams
                    is there several times.
    :param now: the time of Redis.
    """
    interval = place.options.heartbeat_interval
    limit = interval + GRACE
    living = [each for each in servers if each.lives]
    late: set[str] = set()
    for each in living:
        silent = now - each.last
        if each.uid in late:
            continue
        if not each.closed and silent > limit:
            late.add(each.uid)
            yield found('heartbeats', f'the server {each.uid} has written '
                        f'nothing for {seconds(silent)}: it has died, hangs '
                        'or is cut off from Redis; look at its log')
        elif each.gap > limit:
            late.add(each.uid)
            yield found('heartbeats', f'the server {each.uid} wrote nothing '
                        f'for {seconds(each.gap)}, its heartbeats should '
                        f'come every {seconds(interval)}: '
                        'look for what blocks it (no monkey patching, long '
                        'computations, a full CPU)')
    if not late:
        namespace = place.namespace or '/'
        count = len({each.uid for each in living if each.serves(namespace)})
        yield fine('heartbeats', f'{count} servers write in time')


def check_generations(redis: Redis, servers: Sequence[Seen], place: Place,
                      ) -> Iterator[Finding]:
    """Check that servers in Node.js can ask each other."""
    prefix, namespace = place.options.channel_prefix, place.namespace or '/'
    old = [each.uid for each in servers
           if each.lives and not each.closed and not each.is_python
           and each.serves(namespace)]
    public = public_channel(prefix, namespace)
    marker = marker_channel(prefix, namespace)
    try:
        new = sum(_subscribers(link, public, marker)
                  for link in redis.masters(and_replicas=True))
    except Refused as exc:
        yield unknown('node.js', f'PUBSUB NUMSUB is refused ({exc}), so '
                      'servers in Node.js with the adapter 0.3 are not seen')
        return
    if old and new:
        yield found('node.js', f'{len(old)} servers in Node.js have the '
                    f'adapter 0.2, {new} have 0.3: they never answer each '
                    "other's requests; update all to one version")
    elif new and place.options.request_transport == 'stream':
        yield found('node.js', f'{new} servers in Node.js have the adapter '
                    '0.3, which asks over PUB/SUB: give the servers in '
                    "Python request_transport='pubsub' (or "
                    "'sharded-pubsub'), and the URL of this command, too")
    elif old and place.options.request_transport != 'stream':
        yield found('node.js', f'{len(old)} servers in Node.js have the '
                    'adapter 0.2, which asks in the stream: give the servers '
                    "in Python request_transport='stream'")
    else:
        version = '0.2' if old else '0.3'
        yield fine('node.js', f'{len(old) + new} servers in Node.js, all '
                   f'with the adapter {version}' if old or new
                   else 'no servers in Node.js')


def _subscribers(link: Connection, public: str, marker: str) -> int:
    """How many servers in Node.js listen to a channel.

    :raises Refused: Redis does not say.
    """
    total = 0
    for command in b'NUMSUB', b'SHARDNUMSUB':
        try:
            reply = link.ask(b'PUBSUB', command, public.encode(),
                             marker.encode())
        except Refused:
            if command == b'NUMSUB':
                raise
            # Redis 6.2 has no such channels.
            continue
        total += max(0, int(reply[1]) - int(reply[3]))
    return total


def check_installed() -> Iterator[Finding]:
    """Check the packages of this machine."""
    if importlib.util.find_spec('geventwebsocket') is not None:
        yield found('packages', 'gevent-websocket is installed here: '
                    'python-engineio prefers it, and gunicorn -k gevent then '
                    'refuses every WebSocket; run: pip uninstall '
                    'gevent-websocket')
    else:
        yield fine('packages', 'gevent-websocket is not installed here')
