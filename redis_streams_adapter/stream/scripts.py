"""Scripts that ask a stream for less than its commands return.

Commands return whole entries: XINFO STREAM the first and the last one, XREAD
and XRANGE at least one. An entry may have any size, and a server closes a
connection whose reply is larger than its ``client-output-buffer-limit``. The
reply to a command *within* a script has no such limit, and stays in the
server. So these scripts return ids, or a part of an entry.

Each of them takes one key, writes nothing, and returns a list.
"""
from typing import Any, Callable, Iterator, List, Optional, Sequence

from ..protocol.position import Position
from ..protocol.transport import Ends, Entry, NO_STREAM, Unavailable

#: How many bytes of an entry are returned at once. Each time, the server
#: copies the whole entry, which takes a few milliseconds for 5 MB.
PART = 1 << 19

#: Returns the first id, the last id that was ever given out, how many entries
#: were ever added (nil before Redis 7.0) and the length. Empty: there is no
#: stream.
ENDS = b"""
local reply = redis.pcall('XINFO', 'STREAM', KEYS[1])
if reply.err then
  return string.find(reply.err, 'no such key') and {} or reply
end
local info = {}
for i = 1, #reply, 2 do
  info[reply[i]] = reply[i + 1]
end
local first = info['first-entry']
return {first and first[1], info['last-generated-id'],
        info['entries-added'] or false, info['length']}
"""

#: Returns the server's clock, as TIME does; an empty list if it may not.
TIME = b"""
local reply = redis.pcall('TIME')
return reply.err and {} or reply
"""

#: Returns the id of the first entry after an id: a list of one, or of none.
NEXT = b"""
local reply = redis.call('XREAD', 'COUNT', '1', 'STREAMS', KEYS[1], ARGV[1])
return reply and {reply[1][2][1][1]} or {}
"""

#: Returns the ids of the first and of the last entry, and that of the entry
#: with the id that is given, if any. Those that do not exist are nil.
RANGE = b"""
local function id(command, from, to)
  local entry = redis.call(command, KEYS[1], from, to, 'COUNT', '1')[1]
  return entry and entry[1]
end
return {id('XRANGE', '-', '+') or false, id('XREVRANGE', '+', '-') or false,
        ARGV[1] and id('XRANGE', ARGV[1], ARGV[1]) or false}
"""

#: Returns a part of an entry: its id, the sizes of its names and values, and
#: a part of all of them in a row. Empty: there is no such entry. ARGV: where
#: the part begins, its length, the command, and what it is asked for: XREAD
#: and an id, or XRANGE or XREVRANGE and both its ends.
READ_PART = b"""
local entries
if ARGV[3] == 'XREAD' then
  local reply = redis.call('XREAD', 'COUNT', '1', 'STREAMS', KEYS[1], ARGV[4])
  entries = reply and reply[1][2] or {}
else
  entries = redis.call(ARGV[3], KEYS[1], ARGV[4], ARGV[5], 'COUNT', '1')
end
if not entries[1] then
  return {}
end
local sizes, parts, fields = {}, {}, entries[1][2]
local skip, left = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 1, #fields do
  sizes[i] = #fields[i]
  parts[i] = string.sub(fields[i], skip + 1, skip + left)
  skip = math.max(0, skip - sizes[i])
  left = left - #parts[i]
end
return {entries[1][1], sizes, table.concat(parts)}
"""

#: Sends one of the scripts with its arguments. Returns the reply, or ``None``
#: if the server permits no scripts.
Run = Callable[..., Optional[Sequence[Any]]]


def ends_of(reply: Sequence[Any]) -> Ends:
    """What :data:`ENDS` has found."""
    if not reply:
        return NO_STREAM
    first, last, added, length = reply
    return Ends(first and Position.parse(first), Position.parse(last), added,
                length)


def read_in_parts(run: Run, *command: bytes) -> Optional[List[Entry]]:
    """Read one entry of any size, in parts.

    :param command: XREAD and an id, or XRANGE or XREVRANGE and both its ends.
    :return: the entry, if there is one; ``None``: the server permits no
             scripts.
    :raises Unavailable: the entry was trimmed meanwhile, or as ``run``.
    """
    parts: List[bytes] = []
    found: Any = None
    size, total = 0, 1
    while size < total:
        reply = run(READ_PART, b'%d' % size, b'%d' % PART, *command)
        if reply is None or not reply and found is None:
            return reply if reply is None else []
        if not reply or found not in (None, reply[:2]):
            raise Unavailable('an entry was trimmed while it was read')
        found = reply[:2]
        parts.append(reply[2])
        size, total = size + len(reply[2]), sum(reply[1])
    entry_id, sizes = found
    return [Entry(Position.parse(entry_id),
                  list(_split(b''.join(parts), sizes)))]


def _split(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    begin = 0
    for size in sizes:
        yield data[begin:begin + size]
        begin += size
