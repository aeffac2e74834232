"""The clients, all in one process, as cheap as Python allows.

Run as ``python -m benchmarks.clients``. A client is a socket and a frame
counter: it does the WebSocket handshake and the Socket.IO CONNECT, answers
pings, and reads the number of each message at a fixed place. A message costs
about 1 us, so that the nodes are measured.
"""
import base64
import json
import math
import os
import selectors
import socket
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from . import channel, payload

CONNECT_TIMEOUT = 10.0
"""Seconds in which a client has to be connected."""

RECEIVE_SIZE = 262144
"""Bytes read from a socket at once: hundreds of messages."""

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
"""WebSocket opcodes (RFC 6455, section 5.2)."""

COMPRESSED, TAIL = 0x40, b'\0\0\xff\xff'
"""The bit of a compressed message, and the end that is left out of its data
(RFC 7692, sections 6 and 7.2.1)."""

_START = payload.PACKET_START
_NUMBER = len(_START)
_NUMBER_END = _NUMBER + payload.NUMBER_END
_CLOCK = _NUMBER + payload.CLOCK_START
_CLOCK_END = _NUMBER + payload.CLOCK_END


def frame(opcode: int, data: bytes) -> bytes:
    """Return a client's frame with a short payload.

    A client has to mask; a mask of zeros leaves the data unchanged.
    """
    length = len(data)
    if length < 126:
        head = bytes([0x80 | opcode, 0x80 | length])
    else:
        head = bytes([0x80 | opcode, 0x80 | 126]) + length.to_bytes(2, 'big')
    return head + bytes(4) + data


def request(port: int, room: str | None, deflate: bool = False) -> bytes:
    """Return the request that opens a WebSocket to a node.

    :param room: a room that the client has to enter.
    :param deflate: offer compression, as browsers do.
    """
    offer = 'Sec-WebSocket-Extensions: permessage-deflate\r\n' \
        if deflate else ''
    query = 'EIO=4&transport=websocket'
    if room is not None:
        query += f'&room={room}'
    key = base64.b64encode(os.urandom(16)).decode()
    return (f'GET /socket.io/?{query} HTTP/1.1\r\n'
            f'Host: 127.0.0.1:{port}\r\n'
            'Upgrade: websocket\r\nConnection: Upgrade\r\n'
            f'Sec-WebSocket-Key: {key}\r\n'
            f'{offer}Sec-WebSocket-Version: 13\r\n\r\n').encode()


class Tally:
    """What a group of clients has to receive, and what it has received.

    :param clients: how many clients have to get each message.
    :param first: number of the first message.
    :param count: how many messages, numbered without a gap.
    :param latency: whether to record the latency of each message.
    """
    def __init__(self, clients: int = 0, first: int = 0, count: int = 0,
                 latency: bool = False) -> None:
        self.first = first
        self.count = count
        self.left = clients * count
        self.expected = self.left
        self.latencies: list[int] | None = [] if latency else None
        self.duplicates = 0
        self.disorder = 0
        self.strays = 0
        self.last_at = 0
        self.closed = 0

    def result(self) -> dict[str, Any]:
        """Return the tally, times in nanoseconds."""
        times = sorted(self.latencies or [])
        return {
            'expected': self.expected, 'lost': self.left,
            'duplicates': self.duplicates, 'disorder': self.disorder,
            'strays': self.strays, 'closed': self.closed,
            'last_at': self.last_at,
            'latency_median': percentile(times, 50),
            'latency_p99': percentile(times, 99),
            'latency_max': percentile(times, 100)}


def percentile(values: list[int], percent: int) -> int | None:
    """Return the nearest-rank percentile of sorted ``values``."""
    if not values:
        return None
    return values[math.ceil(len(values) * percent / 100) - 1]


class Client:
    """One WebSocket.

    :param port: where the node listens.
    :param room: a room that it has to enter.
    :param tally: that of its group.
    :param deflate: offer compression.
    """
    def __init__(self, port: int, room: str | None, tally: Tally,
                 deflate: bool = False) -> None:
        self.sid: str | None = None
        self.closed = False
        self._rest = b''
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self.expect(tally)
        self.socket = socket.create_connection(('127.0.0.1', port),
                                               timeout=CONNECT_TIMEOUT)
        self._upgrade(port, room, deflate)
        while self.sid is None:
            self.receive()
            if self.closed:
                raise ConnectionError('refused by the node')
        self.socket.setblocking(False)

    def _upgrade(self, port: int, room: str | None, deflate: bool) -> None:
        self.socket.sendall(request(port, room, deflate))
        head = b''
        while b'\r\n\r\n' not in head:
            data = self.socket.recv(RECEIVE_SIZE)
            if not data:
                raise ConnectionError('closed during the handshake')
            head += data
        head, frames = head.split(b'\r\n\r\n', 1)
        if not head.startswith(b'HTTP/1.1 101 '):
            raise ConnectionError(f'no WebSocket: {head[:100]!r}')
        self._feed(frames)

    def expect(self, tally: Tally) -> None:
        """Count for ``tally`` from now on."""
        self.tally = tally
        self._seen = bytearray(tally.count)
        self._latest = -1

    def receive(self) -> None:
        """Read what the socket has."""
        try:
            data = self.socket.recv(RECEIVE_SIZE)
        except ConnectionError:
            data = b''
        if not data:
            self.closed = True
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        now = time.monotonic_ns()
        buffer = self._rest + data if self._rest else data
        position, end = 0, len(buffer)
        while end - position >= 2:
            length = buffer[position + 1]
            start = position + 2
            if length == 126:
                start += 2
                length = int.from_bytes(buffer[position + 2:start], 'big')
            elif length == 127:
                start += 8
                length = int.from_bytes(buffer[position + 2:start], 'big')
            stop = start + length
            if stop > end or start > end:
                break
            if buffer[position] & COMPRESSED:
                data = self._inflater.decompress(buffer[start:stop] + TAIL)
                if data.startswith(_START):
                    self._message(data, 0, now)
                else:
                    self._other(buffer[position] & 15, data)
            elif buffer.startswith(_START, start):
                self._message(buffer, start, now)
            elif buffer[position] & 15 == BINARY:
                self._message(buffer, start - _NUMBER, now)
            else:
                self._other(buffer[position] & 15, buffer[start:stop])
            position = stop
        self._rest = buffer[position:]

    def _message(self, buffer: bytes, start: int, now: int) -> int | None:
        """Take in a message; return its index in the tally; ``None`` if it
        was not missing any more.

        :param start: where its packet begins; of a binary one, where it would
                      begin.
        """
        tally = self.tally
        index = int(buffer[start + _NUMBER:start + _NUMBER_END]) - tally.first
        if not 0 <= index < tally.count:
            tally.strays += 1
            return None
        if self._seen[index]:
            tally.duplicates += 1
            return None
        self._seen[index] = 1
        if index < self._latest:
            tally.disorder += 1
        else:
            self._latest = index
        if tally.latencies is not None:
            tally.latencies.append(
                now - int(buffer[start + _CLOCK:start + _CLOCK_END]))
        tally.left -= 1
        tally.last_at = now
        return index

    def _other(self, opcode: int, data: bytes) -> None:
        if opcode == CLOSE:
            self.closed = True
        elif opcode == PING:
            self.socket.sendall(frame(PONG, data))
        elif opcode == TEXT:
            if data == b'2':  # Engine.IO ping
                self.socket.sendall(frame(TEXT, b'3'))
            elif data.startswith(b'0'):  # Engine.IO open
                self.socket.sendall(frame(TEXT, self.hello()))
            elif data.startswith(b'40'):  # Socket.IO connected
                self.welcome(json.loads(data[2:]))
            elif data.startswith(b'44'):  # Socket.IO refused
                self.closed = True

    def hello(self) -> bytes:
        """Return the CONNECT packet."""
        return b'40'

    def welcome(self, reply: dict[str, Any]) -> None:
        """Handle the CONNECT reply of the node."""
        self.sid = reply['sid']


class Group:
    """Clients that share one tally.

    :param ports: of the nodes that they connect to.
    :param count: how many there are on each.
    :param deflate: offer compression.
    """
    def __init__(self, ports: Sequence[int], count: int, room: str | None,
                 deflate: bool) -> None:
        self.tally = Tally()
        self.clients = [Client(port, room, self.tally, deflate)
                        for port in ports for _ in range(count)]

    def arm(self, first: int, count: int, latency: bool) -> None:
        """Begin a new tally."""
        self.tally = Tally(len(self.clients), first, count, latency)
        for client in self.clients:
            client.expect(self.tally)


class Process:
    """The loop over the parent's commands and all sockets."""
    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(0, selectors.EVENT_READ)
        self.input = b''
        self.ended = False

    def turn(self, timeout: float | None) -> None:
        """Wait for the next events, and handle them."""
        for key, _ in self.selector.select(timeout):
            client = key.data
            if client is None:
                data = os.read(0, channel.READ_SIZE)
                self.input += data
                self.ended = not data
                continue
            self.ready(client)
            if client.closed:
                client.tally.closed += 1
                self.drop(client)

    def ready(self, client: Client) -> None:
        """Handle the event of a client's socket."""
        client.receive()

    def drop(self, client: Client) -> None:
        self.selector.unregister(client.socket)
        client.socket.close()

    def run(self) -> None:
        """Execute commands until the parent closes its end."""
        while not self.ended:
            self.turn(None)
            while b'\n' in self.input:
                line, self.input = self.input.split(b'\n', 1)
                command = json.loads(line)
                name = command.pop('command')
                try:
                    channel.answer(**getattr(self, f'do_{name}')(**command))
                except Exception as exc:
                    channel.answer(error=f'{type(exc).__name__}: {exc}')

    def do_cpu(self) -> dict[str, Any]:
        return {'cpu': time.process_time()}

    def do_connect(self, group: str, port: int | Sequence[int],
                   count: int = 1, room: str | None = None,
                   deflate: bool = False) -> dict[str, Any]:
        """Connect a group of clients, ``count`` to each of the ports; answer
        with their sids."""
        ports = [port] if isinstance(port, int) else port
        new = self.groups[group] = Group(ports, count, room, deflate)
        for client in new.clients:
            self.selector.register(client.socket, selectors.EVENT_READ,
                                   client)
        return {'sids': [client.sid for client in new.clients]}

    def do_close(self, groups: Iterable[str]) -> dict[str, Any]:
        """Close the connections of these groups."""
        for name in groups:
            for client in self.groups.pop(name).clients:
                if not client.closed:
                    self.drop(client)
        return {}

    def do_arm(self, group: str, first: int, count: int,
               latency: bool = False) -> dict[str, Any]:
        """Begin a new tally for a group."""
        self.groups[group].arm(first, count, latency)
        return {}

    def do_wait(self, group: str, timeout: float,
                silence: float) -> dict[str, Any]:
        """Answer when the group has received all its messages.

        :param timeout: seconds after which to answer in any case.
        :param silence: seconds after the latest message after which to answer
                        in any case.
        """
        tally = self.groups[group].tally
        deadline = time.monotonic() + timeout
        while tally.left and not self.ended:
            now = time.monotonic()
            until = deadline
            if tally.last_at:
                until = min(until, tally.last_at / 1e9 + silence)
            if now >= until:
                break
            self.turn(until - now)
        return tally.result()

    def do_verdict(self, group: str, linger: float) -> dict[str, Any]:
        """Answer with the tally ``linger`` seconds from now.

        Duplicates arrive after the messages that they duplicate.
        """
        deadline = time.monotonic() + linger
        while not self.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self.turn(left)
        return self.groups[group].tally.result()


if __name__ == '__main__':
    Process().run()
