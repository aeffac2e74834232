"""``doctor``: asks the servers for their options, and compares them."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import RedisStreamsError
from .asking import Answer, observing
from .findings import Finding, fine, found, unknown
from .place import Place

#: The options that all servers of a cluster should share, and what is wrong
#: if they do not.
SHARED = {
    'stream_count': 'servers miss events of some namespaces',
    'max_len': 'the server with the lowest trims what the others want to keep',
    'retention': 'the server with the lowest trims what the others want to '
                 'keep',
    'heartbeat_interval': 'some servers may be taken for dead',
    'heartbeat_timeout': 'servers disagree on which of them are dead',
    'request_transport': 'servers do not answer each other',
    'channel_prefix': 'servers do not answer each other',
    'connection_state_recovery': 'some clients are not recovered',
    'session_key_prefix': 'clients are not recovered on another server',
    'min_replicas': 'events of some servers may vanish at a failover',
}


def check_options(place: Place) -> Iterator[Finding]:
    """Ask all servers in Python, as a member would, and compare."""
    try:
        with observing(place) as observer:
            answer = Answer(lambda: observer.cluster_stats(place.timeout))
    except RedisStreamsError as exc:
        yield unknown('options', f'the servers cannot be asked ({exc})')
        return
    if answer.problem is not None:
        yield found('answers', answer.problem)
    servers = [each for each in answer.values if each.options is not None]
    yield from compare(servers)


def compare(servers: Sequence[Any]) -> Iterator[Finding]:
    """Compare the options of servers.

    :param servers: each a
                    :class:`~redis_streams_adapter.nodes.NodeStats`.
    """
    differ = False
    for name, effect in SHARED.items():
        with_value: dict[Any, list[str]] = {}
        for each in servers:
            # An older version may not have it.
            if name in each.options:
                with_value.setdefault(each.options[name], []).append(
                    f'{each.uid} ({each.host}, process {each.pid})')
        if len(with_value) > 1:
            differ = True
            values = '; '.join(
                f'{value!r} on {_few(uids)}'
                for value, uids in sorted(with_value.items(), key=repr))
            yield found('options', f'{name} differs: {values}: {effect}; give '
                        'all servers the same')
    if servers and not differ:
        yield fine('options', f'{len(servers)} servers in Python, with the '
                   'same options')


def _few(uids: Sequence[str]) -> str:
    """Not all of a hundred servers."""
    more = len(uids) - 3
    return ', '.join(uids[:3]) + (f' and {more} more' if more > 0 else '')
