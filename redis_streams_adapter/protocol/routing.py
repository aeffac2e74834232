"""The names of streams and channels, and which of them a namespace uses. Pure.

The rule for streams is that of ``@socket.io/redis-streams-adapter`` 0.3
(``dist/adapter.js``, ``hashCode`` and ``streamCount``), so that Node.js and
Python look for a namespace in the same stream. One case differs: the
remainder of a negative number is negative in JavaScript, and Node.js then
writes to a stream such as ``socket.io--2`` that no server reads.

Node.js dictates two channels for each namespace: the public one for requests,
and a private one of each server for answers. Three more channels exist only so
that Redis counts their subscribers; nothing is published on them. Their names
begin like the public one, so one pattern of an access control list matches
all. They are in its slot of a Redis Cluster, so one connection listens to all
four.

==============  ===================================================
channel         its subscribers
==============  ===================================================
marker          every Python server, of any application
application     every Python server of one application
member          one Python server, if it serves the namespace
==============  ===================================================

The subscribers of the public channel less those of the marker are the servers
in Node.js.
"""
from itertools import chain, count as naturals
from typing import List


def stream_names(name: str, count: int) -> List[str]:
    """The keys of the streams.

    :param name: the option ``stream_name``.
    :param count: the option ``stream_count``.
    """
    if count == 1:
        return [name]
    return [f'{name}-{index}' for index in range(count)]


#: Between the name of the stream and the uid, in the key of an inbox.
_INBOX = ':answers:'


def hash_code(text: str) -> int:
    """JavaScript's and Java's hash of a text, a signed number of 32 bits
    over its UTF-16 code units."""
    units = text.encode('utf-16-le', 'surrogatepass')
    value = 0
    for low, high in zip(units[::2], units[1::2]):
        value = (value * 31 + low + (high << 8)) & 0xffffffff
    return value - (1 << 32) if value >> 31 else value


def stream_index(namespace: str, count: int) -> int:
    """The index of the stream that a namespace uses.

    :return: from 0 to ``count - 1``.
    """
    value = hash_code(namespace)
    if value < 0 and value % count:
        # Node.js gets a negative index here.
        value &= 0x7fffffff
    return value % count


def namespace_in(index: int, count: int) -> str:
    """A namespace that uses the stream with this index. It need not exist.
    """
    return next(name for name in chain(['/'], map('/{}'.format, naturals()))
                if stream_index(name, count) == index)


def inbox_key(stream_name: str, uid: str) -> str:
    """The key of the stream that holds the answers to one node's requests.

    :param stream_name: the option of this name.
    """
    return f'{stream_name}{_INBOX}{uid}'


def is_inbox(key: str) -> bool:
    """Whether a key is that of an inbox."""
    return _INBOX in key


def public_channel(prefix: str, namespace: str) -> str:
    """The channel for requests to all nodes of a namespace.

    :param prefix: the option ``channel_prefix``.
    """
    return f'{prefix}#{namespace}#'


def private_channel(prefix: str, namespace: str, uid: str) -> str:
    """The channel for the answers to one node's requests."""
    return f'{prefix}#{namespace}#{uid}#'


def marker_channel(prefix: str, namespace: str) -> str:
    """The channel on which the Python servers of all applications are
    counted."""
    return _beside(public_channel(prefix, namespace), 'python')


def application_channel(prefix: str, namespace: str,
                        application: str) -> str:
    """The channel on which the Python servers of one application are counted.

    :param application: its name, see
                        :mod:`redis_streams_adapter.protocol.application`.
    """
    return _beside(public_channel(prefix, namespace), application)


def member_channel(prefix: str, namespace: str, application: str,
                   uid: str) -> str:
    """The channel on which one Python server is counted."""
    return application_channel(prefix, namespace, application) + uid + '#'


def _beside(channel: str, name: str) -> str:
    """A channel in the same slot, unless the name of ``channel`` holds a brace
    that is not part of a hash tag: then each channel has its own slot."""
    return f'{channel}{{{channel}}}{name}#'


def slot_key(channel: str) -> str:
    """The part of a name that decides its slot in a Redis Cluster: the hash
    tag if there is one (``keyHashSlot`` in ``cluster.c`` of Redis 7.0).

    :return: a key in the same slot; names with the same hash tag have the
             same key.
    """
    _, brace, rest = channel.partition('{')
    tag, end, _ = rest.partition('}')
    return tag if brace and end and tag else channel
