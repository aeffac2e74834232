"""A receipt shows whether a client has read its packets. The tests are the
client of python-engineio's connections."""
import threading
import time
from typing import Any, List

import pytest
import socketio
from engineio.packet import MESSAGE, Packet, PING, PONG
from engineio.socket import Socket

from redis_streams_adapter.clients.receipts import when_read

from ...support.wait import DEADLINE
from ..conftest import Log
from ..fake_server import make_server


class Connection:
    """Both ends of a connection."""

    def __init__(self, server: socketio.Server) -> None:
        self.server = server
        self.socket = Socket(server.eio, 'sid')
        self.socket.connected = True
        self.socket.last_ping = None
        server.eio.sockets['sid'] = self.socket
        #: The number of times that python-engineio scheduled a regular PING.
        self.scheduled = 0
        self.socket.schedule_ping = self._schedule

    def _schedule(self) -> None:
        self.scheduled += 1
        self.socket.last_ping = None

    def sent(self) -> List[int]:
        """The types of the packets that were sent."""
        found = []
        while self.socket.queue.qsize():
            found.append(self.socket.queue.get().packet_type)
        return found

    def ping(self) -> None:
        """Send a regular PING."""
        self.socket.last_ping = time.time()
        self.socket.send(Packet(PING))

    def answer(self) -> None:
        self.socket.receive(Packet(PONG))


@pytest.fixture
def connection() -> Connection:
    return Connection(make_server(client_manager=socketio.Manager()))


def test_answered_ping_is_receipt(connection: Connection, log: Log) -> None:
    connection.server.eio.send_packet('sid', Packet(MESSAGE, 'x'))
    assert when_read(connection.server, 'sid', log)
    assert connection.sent() == [MESSAGE, PING]
    assert log.calls == []
    connection.answer()
    assert len(log.calls) == 1
    # python-engineio does not see the answer.
    assert connection.scheduled == 0
    connection.answer()
    assert (len(log.calls), connection.scheduled) == (1, 1)


def test_earlier_regular_ping_is_respected(connection: Connection,
                                           log: Log) -> None:
    connection.ping()
    for number in range(2):
        when_read(connection.server, 'sid', lambda number=number: log(number))
    connection.answer()
    assert (log.calls, connection.scheduled) == ([], 1)
    connection.answer()
    assert log.calls == [0]
    connection.answer()
    assert (log.calls, connection.scheduled) == ([0, 1], 1)


def test_regular_ping_between_is_respected(connection: Connection,
                                           log: Log) -> None:
    when_read(connection.server, 'sid', lambda: log(0))
    connection.ping()
    when_read(connection.server, 'sid', lambda: log(1))
    for calls, scheduled in (([0], 0), ([0], 1), ([0, 1], 1)):
        connection.answer()
        assert (log.calls, connection.scheduled) == (calls, scheduled)
    # The next regular PING is unchanged.
    connection.ping()
    connection.answer()
    assert connection.scheduled == 2


def test_other_packets_are_no_receipt(connection: Connection,
                                      log: Log) -> None:
    seen: List[Any] = []
    connection.server.eio.handlers['message'] = \
        lambda *args: seen.append(args)
    when_read(connection.server, 'sid', log)
    connection.socket.receive(Packet(MESSAGE, 'x'))
    assert (seen, log.calls) == ([('sid', 'x')], [])


@pytest.mark.parametrize('how', ['nobody', 'closing', 'closed'])
def test_missing_connection_gives_no_receipt(
        connection: Connection, log: Log, how: str) -> None:
    if how == 'nobody':
        connection.server.eio.sockets.clear()
    else:
        setattr(connection.socket, how, True)
    assert not when_read(connection.server, 'sid', log)
    assert connection.sent() == []


def test_concurrent_receipts_share_regular_ping(
        connection: Connection, log: Log) -> None:
    """The regular PING is counted once. Otherwise python-engineio would miss
    an answer and close the connection."""
    others: List[threading.Thread] = []

    class Late(float):
        """A time that lets another thread run when it is compared."""

        def __ne__(self, other: object) -> bool:
            result = super().__ne__(other)
            if not others:
                others.append(threading.Thread(
                    target=when_read, daemon=True,
                    args=(connection.server, 'sid', lambda: log('other'))))
                others[0].start()
                # The other thread may have to wait for this one.
                others[0].join(0.2)
            return result

        __hash__ = float.__hash__

    connection.socket.last_ping = Late(time.time())
    connection.socket.send(Packet(PING))
    assert when_read(connection.server, 'sid', lambda: log('first'))
    others[0].join(DEADLINE)
    assert not others[0].is_alive()
    for _ in range(3):
        connection.answer()
    assert sorted(log.calls) == ['first', 'other']
    connection.ping()
    connection.answer()
    assert connection.scheduled == 2


def test_struck_receipt_takes_no_later_answer(
        connection: Connection, log: Log,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to another PING does not count."""
    def strike(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(connection.server.eio, 'send_packet', strike)
    with pytest.raises(KeyboardInterrupt):
        when_read(connection.server, 'sid', log)
    connection.ping()
    connection.answer()
    assert (log.calls, connection.scheduled) == ([], 1)
