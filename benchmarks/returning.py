"""Clients that lose their node and return to another one.

Run as ``python -m benchmarks.returning``. They are those of :mod:`.clients`,
with what a JavaScript client keeps for its return: the ``pid`` of the CONNECT
reply, and the last argument of the last event, its offset. Thousands of them
return at once, without blocking.
"""
import errno
import heapq
import json
import os
import random
import resource
import selectors
import socket
import time
from collections.abc import Sequence
from typing import Any

from . import payload
from .clients import CONNECT_TIMEOUT, RECEIVE_SIZE, Client, Group, Process, \
    Tally, percentile, request

_OFFSET = len(payload.PACKET_START) + payload.SIZE
"""Where the data of an event end, and its offset begins, if it has one."""

_BEFORE_OFFSET = b'","'


class MissedTally(Tally):
    """A tally that also records when the missed messages were complete.

    :param missed: how many of the first messages were emitted while the
                   clients were away.
    """
    def __init__(self, clients: int = 0, first: int = 0, count: int = 0,
                 missed: int = 0) -> None:
        super().__init__(clients, first, count)
        self.missed = missed
        self.missed_left = clients * missed
        self.missed_at = 0

    def result(self) -> dict[str, Any]:
        return {**super().result(), 'missed_left': self.missed_left,
                'missed_at': self.missed_at}


class Returning(Client):
    """A client that can return.

    :param port: where its first node listens.
    """
    tally: MissedTally

    def __init__(self, port: int, room: str | None, tally: Tally) -> None:
        self.pid: str | None = None
        self.offset: str | None = None
        self.replied_at = 0
        self.recovered = False
        self.fault = ''
        self._head: bytes | None = None
        super().__init__(port, room, tally)

    # -- return -----------------------------------------------------------

    def return_to(self, port: int) -> None:
        """Begin to connect to another node."""
        self._port = port
        self._rest = b''
        self._head = b''
        self.closed = False
        self.socket = socket.socket()
        self.socket.setblocking(False)
        code = self.socket.connect_ex(('127.0.0.1', port))
        if code not in (0, errno.EINPROGRESS):
            self._fail(os.strerror(code))

    def connected(self) -> None:
        """The connection is open, or has failed: request the WebSocket."""
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(os.strerror(code))
        else:
            self.socket.sendall(request(self._port, None))

    def receive(self) -> None:
        if self._head is None:
            super().receive()
            return
        try:
            data = self.socket.recv(RECEIVE_SIZE)
        except ConnectionError as exc:
            self._fail(str(exc))
            return
        if not data:
            self._fail('closed during the handshake')
            return
        self._head += data
        if b'\r\n\r\n' not in self._head:
            return
        head, frames = self._head.split(b'\r\n\r\n', 1)
        self._head = None
        if not head.startswith(b'HTTP/1.1 101 '):
            self._fail(f'no WebSocket: {head[:100]!r}')
            return
        self._feed(frames)

    def _fail(self, what: str) -> None:
        self.fault = what
        self.closed = True

    # -- packets ----------------------------------------------------------

    def hello(self) -> bytes:
        if self.pid is None:
            return b'40'
        auth = {'pid': self.pid}
        if self.offset is not None:
            auth['offset'] = self.offset
        return b'40' + json.dumps(auth).encode()

    def welcome(self, reply: dict[str, Any]) -> None:
        self.replied_at = time.monotonic_ns()
        pid = reply.get('pid')
        self.recovered = pid is not None \
            and (self.pid, self.sid) == (pid, reply['sid'])
        self.pid = pid
        super().welcome(reply)

    def _message(self, buffer: bytes, start: int, now: int) -> int | None:
        index = super()._message(buffer, start, now)
        begin = start + _OFFSET
        if buffer.startswith(_BEFORE_OFFSET, begin):
            begin += len(_BEFORE_OFFSET)
            self.offset = buffer[begin:buffer.index(b'"', begin)].decode()
        if index is not None and index < self.tally.missed:
            self.tally.missed_left -= 1
            self.tally.missed_at = now
        return index


class ReturningGroup(Group):
    """Clients that leave and return together."""
    def __init__(self, port: int, count: int, room: str | None) -> None:
        self.tally: MissedTally = MissedTally()
        self.clients: Sequence[Returning] = [
            Returning(port, room, self.tally) for _ in range(count)]

    def arm_missed(self, first: int, count: int, missed: int) -> None:
        """Begin a new tally."""
        self.tally = MissedTally(len(self.clients), first, count, missed)
        for client in self.clients:
            client.expect(self.tally)


class ReturningProcess(Process):
    """The loop over the parent's commands and all sockets, with one group.
    """
    group: ReturningGroup

    def __init__(self) -> None:
        super().__init__()
        self._due: list[tuple[float, int]] = []
        self._port = 0
        self._began_at = 0

    def turn(self, timeout: float | None) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            self._begin_return(heapq.heappop(self._due)[1])
        if self._due:
            wait = max(0.0, self._due[0][0] - time.monotonic())
            timeout = wait if timeout is None else min(wait, timeout)
        super().turn(timeout)

    def _begin_return(self, index: int) -> None:
        client = self.group.clients[index]
        client.return_to(self._port)
        if client.closed:
            client.socket.close()
        else:
            self.selector.register(client.socket, selectors.EVENT_WRITE,
                                   client)

    def ready(self, client: Client) -> None:
        if self.selector.get_key(client.socket).events \
                == selectors.EVENT_WRITE:
            assert isinstance(client, Returning)
            client.connected()
            self.selector.modify(client.socket, selectors.EVENT_READ, client)
        else:
            client.receive()

    def do_connect(self, group: str, port: int, count: int = 1,
                   room: str | None = None) -> dict[str, Any]:
        """Connect the clients, one after the other."""
        self.groups[group] = self.group = ReturningGroup(port, count, room)
        for client in self.group.clients:
            self.selector.register(client.socket, selectors.EVENT_READ,
                                   client)
        return {}

    def do_arm_missed(self, first: int, count: int,
                      missed: int) -> dict[str, Any]:
        """Begin a new tally."""
        self.group.arm_missed(first, count, missed)
        return {}

    def do_wait_closed(self, timeout: float) -> dict[str, Any]:
        """Answer when every client has lost its connection."""
        deadline = time.monotonic() + timeout
        while not all(each.closed for each in self.group.clients):
            self._wait(deadline, 'some clients are still connected')
        return {}

    def do_return_to(self, port: int, earliest: float,
                     latest: float) -> dict[str, Any]:
        """Answer, and let the clients return to another node.

        :param earliest: seconds from now until the first may begin.
        :param latest: seconds from now until the last one begins.
        """
        self._port = port
        self._began_at = time.monotonic_ns()
        for client in self.group.clients:
            client.replied_at, client.recovered = 0, False
        now = time.monotonic()
        self._due = [(now + random.uniform(earliest, latest), index)
                     for index in range(len(self.group.clients))]
        heapq.heapify(self._due)
        return {'at': self._began_at}

    def do_wait_returned(self, timeout: float) -> dict[str, Any]:
        """Answer when every client has its CONNECT reply or has failed."""
        deadline = time.monotonic() + timeout
        while not all(each.replied_at or each.fault
                      for each in self.group.clients):
            if time.monotonic() >= deadline:
                break
            self.turn(deadline - time.monotonic())
        clients = self.group.clients
        times = sorted(each.replied_at - self._began_at
                       for each in clients if each.replied_at)
        faults = sorted({each.fault for each in clients if each.fault})
        return {'back': len(times),
                'recovered': sum(each.recovered for each in clients),
                'first': times[0] if times else None,
                'median': percentile(times, 50),
                'last': times[-1] if times else None,
                'faults': faults}

    def _wait(self, deadline: float, problem: str) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(problem)
        self.turn(min(left, CONNECT_TIMEOUT))


if __name__ == '__main__':
    resource.setrlimit(resource.RLIMIT_NOFILE,
                       (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    ReturningProcess().run()
