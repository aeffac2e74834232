"""Commands and replies in the protocol of Redis."""
import socket
from typing import Any, List, Tuple

import hiredis
import pytest
import redis
from hypothesis import given, strategies

from redis_streams_adapter.stream.driver import Driver
from redis_streams_adapter.stream.resp import EntryPacker, LARGE, \
    pack_command, READ_SIZE, Replies, send

#: Seconds: the socket timeout.
TIMEOUT = 0.05

PARTS = strategies.lists(strategies.binary(max_size=20), min_size=1)


def entry(data: bytes = b'{}', number: bytes = b'7') -> Tuple[bytes, ...]:
    return (b'uid', b'one', b'nsp', b'/', b'type', b'3', b'data', data,
            b'wid', b'two', b'seq', number, b'since', b'1-0')


def parsed_all(data: bytes) -> Any:
    """The commands that a server reads. Commands have the format of
    replies."""
    reader = hiredis.Reader()
    reader.feed(data)
    values = []
    while True:
        value = reader.gets(False)
        if value is False:
            break
        values.append(value)
    assert not reader.has_data()
    return values


def parsed(data: bytes) -> Any:
    value, = parsed_all(data)
    return value


def check(*entries: Any) -> None:
    """Encode entries, one by one and together."""
    pieces = EntryPacker().pack((b'ADD', b'key'), entries)
    assert parsed_all(b''.join(pieces)) == [
        [b'ADD', b'key', *fields] for fields in entries]
    assert pieces == [
        piece for fields in entries
        for piece in EntryPacker().pack((b'ADD', b'key'), [fields])]
    # One that remembers the entries before.
    packer = EntryPacker()
    for command in ((b'ADD', b'key'), (b'ADD', b'other'), (b'ADD', b'key')):
        assert b''.join(
            piece for fields in entries
            for piece in packer.pack(command, [fields])) == b''.join(
            pack_command(*command, *fields) for fields in entries)


# -- commands ----------------------------------------------------------------

@given(PARTS)
def test_a_command(parts: List[bytes]) -> None:
    assert parsed(pack_command(*parts)) == parts


@given(PARTS)
def test_any_fields(parts: List[bytes]) -> None:
    check(parts)
    check(tuple(parts), entry(), tuple(parts))


@given(strategies.lists(strategies.binary(max_size=20), min_size=14,
                        max_size=14))
def test_as_many_fields_as_most_entries_have(parts: List[bytes]) -> None:
    check(parts, [*parts[:6], b'data', *parts[7:]], entry(), parts)


@given(strategies.lists(strategies.tuples(*[
    strategies.sampled_from((given, b'other')) for given in entry()[:6]],
    strategies.just(b'data'), strategies.binary(max_size=9), *[
    strategies.sampled_from((given, b'other')) for given in entry()[8:]])))
def test_entries_that_share_parts(batch: List[Any]) -> None:
    """What two entries in a row share is encoded once."""
    check(*batch)


def test_large_data_is_not_copied() -> None:
    data = b'x' * (LARGE + 1)
    pieces = EntryPacker().pack(
        (), [entry(), entry(data), entry(data[1:])])
    assert any(piece is data for piece in pieces)
    assert len(pieces) == 5
    check(entry(), entry(data), entry(data[1:]))


class Slow:
    """A socket that takes so many bytes at once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.taken = b''

    def send(self, data: Any) -> int:
        self.taken += bytes(data[:self._size])
        return min(len(data), self._size)

    def sendall(self, data: Any) -> None:
        while data:
            data = data[self.send(data):]


@pytest.mark.parametrize('size', [1, 3, 4, 5])
def test_all_is_sent(size: int) -> None:
    sock = Slow(size)
    send(sock, b'four')
    assert sock.taken == b'four'


# -- replies -----------------------------------------------------------------

class Wire:
    """Both ends of a connection."""

    def __init__(self) -> None:
        self._sock, self.server = socket.socketpair()
        self._sock.settimeout(TIMEOUT)
        self._parser = redis.connection.DefaultParser(READ_SIZE)
        self.replies = Replies(self, Driver(
            redis, lambda timeout, key: None, TIMEOUT))

    def close(self) -> None:
        self._sock.close()
        self.server.close()


@pytest.fixture
def wire() -> Any:
    wire = Wire()
    yield wire
    wire.close()


ENCODED = b'+OK\r\n$3\r\na\r\n\r\n:7\r\n*2\r\n$1\r\nx\r\n*-1\r\n$-1\r\n'
DECODED = [b'OK', b'a\r\n', 7, [b'x', None], None]


def test_replies_one_after_the_other(wire: Wire) -> None:
    wire.server.sendall(ENCODED)
    assert [wire.replies.read() for _ in DECODED] == DECODED


def test_replies_that_arrive_in_two_parts() -> None:
    for place in range(1, len(ENCODED)):
        wire = Wire()
        wire.server.sendall(ENCODED[:place])
        complete = 0
        replies = []
        try:
            while True:
                replies.append(wire.replies.read())
                complete += 1
        except TimeoutError:
            wire.server.sendall(ENCODED[place:])
        replies += [wire.replies.read() for _ in DECODED[complete:]]
        assert replies == DECODED
        wire.close()


def test_a_reply_that_is_larger_than_one_read(wire: Wire) -> None:
    wire._sock.settimeout(10 * TIMEOUT)
    data = bytes(range(256)) * 300
    wire.server.sendall(b'$%d\r\n%b\r\n' % (len(data), data))
    assert len(data) > READ_SIZE
    assert wire.replies.read() == data


def test_errors_are_those_of_the_client_library(wire: Wire) -> None:
    wire.server.sendall(
        b'-ERR no\r\n-READONLY no\r\n-LOADING no\r\n*1\r\n-OOM no\r\n')
    errors = [wire.replies.read() for _ in range(3)]
    errors += wire.replies.read()
    assert [type(error) for error in errors] == [
        redis.ResponseError, redis.ReadOnlyError, redis.BusyLoadingError,
        redis.exceptions.OutOfMemoryError]
    assert str(errors[0]) == 'no'


def test_silence(wire: Wire) -> None:
    with pytest.raises(TimeoutError, match='no reply within 0.05 s'):
        wire.replies.read()


def test_the_server_closes_the_connection(wire: Wire) -> None:
    wire.server.sendall(b'+OK\r\n$3\r\na')
    wire.server.close()
    assert wire.replies.read() == b'OK'
    with pytest.raises(ConnectionError, match='closed the connection'):
        wire.replies.read()


def test_what_is_not_the_protocol(wire: Wire) -> None:
    wire.server.sendall(b'HTTP/1.1 400 Bad Request\r\n')
    with pytest.raises(redis.exceptions.InvalidResponse):
        wire.replies.read()


@pytest.mark.parametrize('sent, count, read', [
    (b'+QUEUED\r\n' * 3, 3, [b'QUEUED'] * 3),
    (b'+QUEUED\r\n' * 3, 2, [b'QUEUED'] * 2),
    (b'+QUEUED\r\n:1\r\n+QUEUED\r\n', 3, [b'QUEUED', 1]),
    (b':1\r\n', 3, [1])])
def test_replies_while_they_are_the_usual_one(
        wire: Wire, sent: bytes, count: int, read: List[Any]) -> None:
    wire.server.sendall(sent + b'+next\r\n')
    assert wire.replies.read_while(b'QUEUED', count) == read
    rest = sent.count(b'\r\n') - len(read)
    assert [wire.replies.read() for _ in range(rest + 1)][-1] == b'next'


def test_usual_replies_end_with_an_error(wire: Wire) -> None:
    wire.server.sendall(b'+QUEUED\r\n-OOM no\r\n')
    replies = wire.replies.read_while(b'QUEUED', 5)
    assert replies[0] == b'QUEUED'
    assert isinstance(replies[1], redis.ResponseError)
