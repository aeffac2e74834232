"""Which streams and channels there are, and which of them a namespace goes
to. Pure.

The rule is that of ``@socket.io/redis-streams-adapter`` 0.3
(``dist/adapter.js``, ``hashCode`` and ``streamCount``), so that Node.js and
Python look for a namespace in the same stream. One thing is ours: the
remainder of a negative number is negative in JavaScript, and Node.js then
writes to a stream such as ``socket.io--2`` that nobody reads.
"""
from typing import List


def stream_names(name: str, count: int) -> List[str]:
    """The keys of the streams.

    :param name: the option ``stream_name``.
    :param count: the option ``stream_count``.
    """
    if count == 1:
        return [name]
    return [f'{name}-{index}' for index in range(count)]


def hash_code(text: str) -> int:
    """JavaScript's and Java's hash of a text, a signed number of 32 bits
    over its UTF-16 code units."""
    units = text.encode('utf-16-le', 'surrogatepass')
    value = 0
    for low, high in zip(units[::2], units[1::2]):
        value = (value * 31 + low + (high << 8)) & 0xffffffff
    return value - (1 << 32) if value >> 31 else value


def stream_index(namespace: str, count: int) -> int:
    """Which of the streams has a namespace.

    :return: from 0 to ``count - 1``.
    """
    value = hash_code(namespace)
    if value < 0 and value % count:
        # Node.js has a negative number here.
        value &= 0x7fffffff
    return value % count


def public_channel(prefix: str, namespace: str) -> str:
    """Where requests to all nodes of a namespace are published.

    :param prefix: the option ``channel_prefix``.
    """
    return f'{prefix}#{namespace}#'


def private_channel(prefix: str, namespace: str, uid: str) -> str:
    """Where the answers to one node's requests are published."""
    return f'{prefix}#{namespace}#{uid}#'
