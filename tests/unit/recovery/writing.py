"""Helpers for tests of stored sessions: a fake Redis, and a node that stores
its clients' sessions there."""
import json
from collections import deque
from types import SimpleNamespace
from typing import Any, Deque, Dict, List, Optional, Sequence, Set, Tuple, \
    Union

import pytest

from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.options import RecoveryOptions
from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.protocol.values import Serialiser
from redis_streams_adapter.recovery import local_sessions, session_writer, \
    stored_sessions
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.recovery.session import Gap, load_session, Session
from redis_streams_adapter.recovery.session_writer import SessionWriter
from redis_streams_adapter.stream.connection import Refused
from redis_streams_adapter.stream.session_store import ABSENT, CHANGED, DONE, \
    Swap

OURS = Application('socket.io', 0)

#: Seconds: the sessions of these tests expire after this time.
DURATION = 120.0

INTERVAL = 5.0

#: Seconds: a limit that no wait of these tests reaches.
AMPLE = 5.0


class FakeSessions:
    """A fake Redis that has only sessions."""

    def __init__(self) -> None:
        self.values: Dict[str, bytes] = {}
        #: The calls: the name of the method, and the pids.
        self.calls: List[Tuple[str, List[str]]] = []
        #: The faults of the next calls, one each: 'none', 'before' or 'after'
        #: the command is carried out, 'replaced', 'refused'.
        self.faults: Deque[str] = deque()
        #: The pids of sessions on a server that refuses all writes.
        self.refusing: Set[str] = set()
        self.connections = 1
        self.interrupted = False
        self.patience = 0.0
        #: The bytes that swaps have sent.
        self.sent = 0

    def put(self, pid: str, value: bytes) -> None:
        with self._call('put', [pid]):
            self.values[pid] = value

    def swap(self, swaps: Sequence[Swap]) -> List[Union[int, Refused]]:
        with self._call('swap', [each.pid for each in swaps]):
            self.sent += sum(len(value) for each in swaps
                             for value in (each.new, *each.expected))
            return [Refused('OOM') if each.pid in self.refusing
                    else self._swap(*each) for each in swaps]

    def _swap(self, pid: str, new: bytes, expected: Sequence[bytes]) -> int:
        now = self.values.get(pid)
        if (now or b'') not in expected:
            return ABSENT if now is None else CHANGED
        self.values.pop(pid, None)
        if new:
            self.values[pid] = new
        return DONE

    def touch(self, pids: Sequence[str]) -> List[Union[bool, Refused]]:
        with self._call('touch', list(pids)):
            return [Refused('OOM') if pid in self.refusing
                    else pid in self.values for pid in pids]

    def interrupt(self) -> None:
        self.interrupted = True

    def _call(self, name: str, pids: List[str]) -> Any:
        fault = self.faults.popleft() if self.faults else 'none'
        if fault == 'before':
            raise Unavailable('the connection is broken')
        if fault == 'replaced':
            # The client has reconnected to an empty Redis.
            self.connections += 1
            self.values.clear()
        if fault.startswith('refused'):
            raise Refused(fault)
        self.calls.append((name, pids))
        return _Failing(fault == 'after')

    @property
    def writes(self) -> int:
        """The number of attempts to write a session."""
        return sum(len(pids) for name, pids in self.calls
                   if name in ('put', 'swap'))


class _Failing:
    """The block is executed, but its reply may be lost."""

    def __init__(self, fails: bool) -> None:
        self._fails = fails

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        if self._fails:
            raise Unavailable('the connection is broken')


class OneRound:
    """Replaces a task that stops after one round."""

    def __init__(self) -> None:
        self.stopping = False

    def works(self) -> None:
        self.stopping = True


class Node:
    """A node: its session writer, and the clients whose sessions it stores."""

    def __init__(self, store: FakeSessions, logger: Any,
                 max_bytes: int = 65_536) -> None:
        self.store = store
        #: The position of all clients in the stream.
        self.position = Position(100)
        self.sent: Optional[bytes] = None
        self.gap: Optional[Gap] = None
        self.writer = SessionWriter(
            store, ThreadEngine(),  # type: ignore[arg-type]
            RecoveryOptions(DURATION, max_session_bytes=max_bytes), INTERVAL,
            Serialiser(json, False), OURS, self.describe, self.progress,
            logger)
        self.local = self.writer.local

    @staticmethod
    def describe(client: ClientSession) -> Session:
        return Session(
            client.sid, client.pid, tuple(sorted(map(str, client.rooms))),
            {} if client.data is None else client.data, client.namespace,
            client.claim, flask=client.flask)

    def progress(self, client: ClientSession) -> None:
        client.obeyed = self.position
        if client.is_settled:
            client.upto, client.sent = self.position, self.sent
            client.gap = self.gap

    def connect(self, sid: str = 's', namespace: str = '/',
                connection: str = 'e', pid: str = '') -> ClientSession:
        client = ClientSession(
            (sid, connection), namespace, pid or f'pid of {sid}', 'claim',
            upto=Position(1), gone=ThreadEngine().event(),
            since=Position(0, 1))
        self.local.register(client)
        return client

    def connected(self, sid: str = 's') -> ClientSession:
        """A connected client whose session is in Redis."""
        client = self.connect(sid)
        self.writer.write_first(client)
        self.local.settle(client)
        self.run_once()
        self.store.calls.clear()
        return client

    def disconnect(self, client: ClientSession,
                   intended: bool = False) -> None:
        if intended:
            self.local.discard(client)
        self.local.unregister(client)

    def enter_room(self, client: ClientSession, room: str) -> None:
        client.rooms.add(room)
        self.local.change(client)

    def run_once(self) -> bool:
        """Run one round of the writer's task.

        :return: whether it succeeded.
        """
        self.writer._work_there.set()
        try:
            self.writer.work(OneRound())  # type: ignore[arg-type]
        except Unavailable:
            return False
        return True

    def stored(self, client: ClientSession) -> Optional[Session]:
        """The session of a client in Redis."""
        value = self.store.values.get(client.pid)
        return value and load_session(  # type: ignore[return-value]
            value, client.pid, client.namespace, OURS)


def set_clock(clock: Any, patch: pytest.MonkeyPatch) -> None:
    """Use this clock in all modules that write sessions."""
    for module in (local_sessions, session_writer, stored_sessions):
        patch.setattr(module, 'time', SimpleNamespace(
            monotonic=lambda: clock.now))


def take_over(store: FakeSessions, client: ClientSession) -> None:
    """Take a client over, as another node does."""
    result, = store.swap([Swap(
        client.pid, b'of another', [store.values[client.pid]])])
    assert result == DONE
    store.calls.clear()
