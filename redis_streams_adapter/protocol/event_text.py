"""Finds the text of an event in the data of an entry, so that it can be passed
on to clients as it came. Pure.

The data of most events are the same but for this text: ``opts``, the type of
the packet, its namespace. What is around the text, the *frame*, is parsed
once, with a mark in place of the text, and remembered. So a server in which no
client gets the event reads none of it, and any other server validates the text
and builds neither packet nor data of it.

The text is found by the bytes before and after it. If these stand anywhere
else, in another text or below ``flags``, the mark turns out not to be the
data of the packet, or the text not to be JSON. Then the whole data are read,
as they are if they are written in any other way.
"""
from functools import lru_cache
from typing import Any, Optional, Tuple

from ..errors import DecodeError
from .content import read_broadcast
from .event_bytes import unpack_event
from .json_parser import load_event, load_json
from .messages import Broadcast, Target

#: How many frames are remembered: one for each target and namespace. It takes
#: a fifth of a microsecond to look one up, and two to three to parse it.
#: All together take 3 MB at most.
FRAMES = 4096

#: The longest frame that is remembered, in bytes.
LONGEST = 512

#: How an entry of Node.js begins, and what follows the text there. All other
#: entries are searched as Python nodes write them.
_NODE_JS, _NODE_JS_NEXT = b'{"packet":{"type":2,"data":[', b']},"opts":{'
_BEFORE, _NEXT = b'"data":[', b'],"nsp":"'
_NODE_JS_START, _BEFORE_LENGTH = len(_NODE_JS) - 1, len(_BEFORE)

#: Stands for the text while the frame is parsed. It differs from process to
#: process, so no data can have it in the same place, such as below a key that
#: is there twice.
_MARK = id(object())


class TextEvent(Broadcast):
    """An event whose text is validated when it is needed.

    :param data: of an entry; the text is between ``start`` and ``end``.
    """

    __slots__ = ('_data', '_start', '_end', 'is_read')

    def __init__(self, target: Target, data: bytes, start: int,
                 end: int) -> None:
        # Not that of the superclass: one is made for each event that comes.
        self.target = target
        self.request_id = None
        self._data = data
        self._start = start
        self._end = end
        # Any task may set these. What it sets is always equal, and `is_read`
        # comes last.
        self._args = None
        self.text = None
        self.is_read = False

    def read(self) -> None:
        if self.is_read:
            return
        try:
            self._args, self.text = load_event(
                self._data[self._start:self._end])
        except DecodeError:
            # There may be other fields between the text and what was searched
            # for.
            message = read_broadcast(load_json(self._data))
            if message.target != self.target \
                    or message.request_id is not None:
                raise
            self._args = message.args
        self.is_read = True

    @property
    def args(self) -> Tuple[Any, ...]:
        self.read()
        return self._args or ()


def find_event(data: bytes) -> Optional[Broadcast]:
    """Find an event to which no client has to answer.

    :param data: of an entry.
    :return: the event, of which only the target is validated yet. ``None``:
             the data are written in another way, or malformed.
    :raises DecodeError: they are malformed.
    """
    place = data.find(_BEFORE)
    if place < 0:
        return None if data.startswith(b'{') else unpack_event(data)
    start = place + _BEFORE_LENGTH - 1
    end = data.rfind(
        _NODE_JS_NEXT if start == _NODE_JS_START and data.startswith(_NODE_JS)
        else _NEXT) + 1
    if end <= start:
        return None
    read = _read_frame if len(data) - end + start <= LONGEST \
        else _read_frame.__wrapped__
    target = read(data[:start], data[end:])
    return None if target is None else TextEvent(target, data, start, end)


# The cache of functools has a lock of its own, and no target changes: any
# task may call it.
@lru_cache(maxsize=FRAMES)
def _read_frame(before: bytes, after: bytes) -> Optional[Target]:
    """Read the data of an event, without its text.

    :return: ``None``: they are not those of an event, or of one with a request
             id, or the text is not the data of the packet.
    """
    try:
        data = load_json(b'%b%d%b' % (before, _MARK, after))
        if data['packet']['data'] != _MARK:
            return None
        data['packet']['data'] = ['']
        message = read_broadcast(data)
    except (LookupError, TypeError, DecodeError):
        return None
    return None if message.request_id is not None else message.target
