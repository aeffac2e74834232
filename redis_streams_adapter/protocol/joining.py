"""One large answer to FETCH_SOCKETS, put together of encoded small ones, so
that no step of the work takes long. Pure.

A server in Node.js takes an answer only as a whole. The list of sockets is the
last thing in the data of such an answer, and the data are the last thing in a
message over PUB/SUB, so the bytes of an empty answer show where the list
begins.
"""
from typing import List, NamedTuple, Optional, Sequence


class Part(NamedTuple):
    """An encoded answer with some of the sockets.

    :param sockets: how many.
    """

    sockets: int
    encoded: bytes


def join_json(empty: bytes, parts: Sequence[Part]) -> Optional[bytes]:
    """Put the data of an entry together.

    :param empty: the data of an answer without sockets.
    :return: ``None``: some of the parts are not JSON.
    """
    end = b']}'
    head = empty[:-len(end)]
    items: List[bytes] = []
    for _, encoded in parts:
        if not encoded.startswith(head) or not encoded.endswith(end):
            return None
        items.append(encoded[len(head):-len(end)])
    return head + b','.join(items) + end


def join_msgpack(empty: bytes, parts: Sequence[Part]) -> Optional[bytes]:
    """Put a message over PUB/SUB together; as :func:`join_json`."""
    head = empty[:-1]
    pieces = [head, _header(sum(each.sockets for each in parts))]
    for count, encoded in parts:
        begin = head + _header(count)
        if not encoded.startswith(begin):
            return None
        pieces.append(encoded[len(begin):])
    return b''.join(pieces)


def _header(count: int) -> bytes:
    """How msgpack begins a list of this length."""
    if count < 1 << 4:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b'\xdc' + count.to_bytes(2, 'big')
    return b'\xdd' + count.to_bytes(4, 'big')
