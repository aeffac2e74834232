"""What the clients of the benchmarks make of frames."""
import zlib
from typing import List

import pytest

from benchmarks import payload
from benchmarks.clients import Client, COMPRESSED, Tally, TAIL


def frame(opcode: int, data: bytes) -> bytes:
    """A server's frame."""
    length = len(data)
    if length < 126:
        return bytes([0x80 | opcode, length]) + data
    if length < 1 << 16:
        return bytes([0x80 | opcode, 126]) + length.to_bytes(2, 'big') + data
    return bytes([0x80 | opcode, 127]) + length.to_bytes(8, 'big') + data


def message(number: int, size: int, binary: bool) -> bytes:
    """The frames of a message."""
    if binary:
        return frame(1, b'451-["m",{"_placeholder":true,"num":0}]') + frame(
            2, payload.make_binary(number, size))
    return frame(1, b'42["m","%s"]' % payload.make(number, size).encode())


@pytest.fixture
def client() -> Client:
    """One without a connection."""
    client = Client.__new__(Client)
    client.closed = False
    client._rest = b''
    client._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    return client


def feed(client: Client, numbers: List[int], size: int, binary: bool,
         chunk: int) -> Tally:
    tally = Tally(1, 10, 3, latency=True)
    client.expect(tally)
    data = b''.join(message(number, size, binary) for number in numbers)
    for start in range(0, len(data), chunk):
        client._feed(data[start:start + chunk])
    return tally


@pytest.mark.parametrize('chunk', [1000, 1 << 20])
@pytest.mark.parametrize('binary', [False, True])
@pytest.mark.parametrize('size', [100, 10_000, 100_000])
def test_each_message_is_counted_once(client: Client, size: int,
                                      binary: bool, chunk: int) -> None:
    tally = feed(client, [10, 11, 12], size, binary, chunk)
    result = tally.result()
    assert (result['expected'], result['lost']) == (3, 0)
    assert not any(result[fault] for fault in (
        'duplicates', 'disorder', 'strays', 'closed'))
    assert 0 < result['latency_median'] < 10e9


def test_compressed_messages_are_counted(client: Client) -> None:
    tally = Tally(1, 10, 3)
    client.expect(tally)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    for number in (10, 12):
        data = deflater.compress(b'42["m","%s"]' % payload.make(
            number).encode()) + deflater.flush(zlib.Z_SYNC_FLUSH)
        client._feed(frame(1 | COMPRESSED, data[:-len(TAIL)]))
    # A server may also leave one uncompressed.
    client._feed(message(11, 100, False))
    assert tally.result()['lost'] == 0


@pytest.mark.parametrize('numbers, fault', [
    ([10, 11], 'lost'), ([10, 10, 11, 12], 'duplicates'),
    ([11, 10, 12], 'disorder'), ([10, 11, 12, 13], 'strays')])
@pytest.mark.parametrize('binary', [False, True])
def test_each_fault_is_counted(client: Client, binary: bool,
                               numbers: List[int], fault: str) -> None:
    result = feed(client, numbers, 100, binary, 1 << 20).result()
    assert {name for name in ('lost', 'duplicates', 'disorder', 'strays')
            if result[name]} == {fault}
