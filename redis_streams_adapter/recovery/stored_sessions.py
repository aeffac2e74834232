"""What Redis has of the sessions: each is replaced if Redis has what is
expected, and what that leaves unknown is noted.

A write that had no reply leaves its value *in doubt*: the next write accepts
it, too. A refusal in words leaves no doubt: nothing was written.

If an exception strikes between two lines, a value that is not in Redis may
stay in doubt. The next write that has a reply ends that.
"""
import time
from typing import Optional, Sequence, Tuple, Union

from .local_sessions import LocalSessions
from .states import Event
from ..stream.session_store import ABSENT, DONE, SessionStore, Swap
from ..stream.connection import Refused
from .client_session import ClientSession

#: How many values of a session may be in doubt: each is sent again with every
#: attempt. It takes that many lost replies in a row to reach this; then the
#: last of them is written before anything newer is.
MAX_DOUBTFUL = 8


class StoredSessions:
    """The sessions in Redis, as far as this node knows.

    :param sessions: how to reach them.
    :param local: whose they are; under its lock.
    """

    def __init__(self, sessions: SessionStore, local: LocalSessions) -> None:
        self._sessions = sessions
        self._local = local

    @property
    def era(self) -> int:
        """What changes whenever Redis may have dropped something."""
        return self._sessions.connections + self._local.epoch

    def wrote(self, client: ClientSession, value: bytes) -> None:
        """Redis has this value of a client."""
        with self._local.lock:
            client.stored, client.doubtful = value, []
            client.written = time.monotonic()
            client.seen_on = self.era
            if client.is_leaving:
                # That was the last time.
                self._local.forget(client)

    def put(self, client: ClientSession, value: bytes) -> Optional[Refused]:
        """Write a session that Redis does not have; otherwise as
        :meth:`swap`."""
        with self._local.lock:
            client.doubtful.append(value)
        try:
            self._sessions.put(client.pid, value)
        except Refused as exc:
            self._was_refused(client, value)
            return exc
        self.wrote(client, value)
        return None

    def swap(self, clients: Sequence[ClientSession],
             values: Sequence[bytes]) -> Optional[Refused]:
        """Replace sessions.

        :return: why one of them was not written, if a server refuses it: the
                 others were.
        :raises Unavailable: each of them may be written.
        """
        era = self.era
        swaps, new = zip(*map(self._prepare, clients, values))
        results: Sequence[Union[int, Refused]]
        try:
            results = self._sessions.swap(swaps)
        except Refused as exc:
            results = [exc] * len(swaps)
        refusal: Optional[Refused] = None
        for client, value, swap, is_new, result in zip(
                clients, values, swaps, new, results):
            if isinstance(result, Refused):
                refusal = result
                if is_new:
                    self._was_refused(client, swap.new)
                self._local.apply(client, Event.CHANGE)
            elif result == DONE or (not swap.new and result == ABSENT):
                if swap.new == value:
                    self.wrote(client, value)
                else:
                    self._resolved(client, swap.new)
            elif result == ABSENT and era != self.era:
                # On a new connection: Redis may have dropped it.
                self._local.apply(client, Event.CHANGE)
            else:
                self._local.was_taken(
                    client, Event.MISS if result == ABSENT
                    else Event.SUPERSEDE)
        return refusal

    def _prepare(self, client: ClientSession,
                 value: bytes) -> Tuple[Swap, bool]:
        """How to replace a session, and whether that puts a value in doubt
        that was not before."""
        with self._local.lock:
            expected = [client.stored, *client.doubtful]
            if not client.stored or client.seen_on != self.era:
                # Redis may have dropped it.
                expected.append(b'')
            is_new = value not in client.doubtful
            if is_new and len(client.doubtful) >= MAX_DOUBTFUL:
                value, is_new = client.doubtful[-1], False
            if is_new:
                client.doubtful.append(value)
        return Swap(client.pid, value, expected), is_new

    def _was_refused(self, client: ClientSession, value: bytes) -> None:
        """It was not written, and is not in doubt."""
        with self._local.lock:
            if value in client.doubtful:
                client.doubtful.remove(value)

    def _resolved(self, client: ClientSession, value: bytes) -> None:
        """An older value was written, and no other one is in doubt: now the
        session can be written as it is."""
        with self._local.lock:
            client.stored, client.doubtful = value, []
            client.seen_on = self.era
            client.apply(Event.CHANGE)

    def touch(self, clients: Sequence[ClientSession]) -> Optional[Refused]:
        """Let sessions live on; otherwise as :meth:`swap`."""
        if not clients:
            return None
        there: Sequence[Union[bool, Refused]]
        try:
            there = self._sessions.touch([client.pid for client in clients])
        except Refused as exc:
            return exc
        refusal: Optional[Refused] = None
        for client, is_there in zip(clients, there):
            if isinstance(is_there, Refused):
                refusal = is_there
            elif is_there:
                client.seen_on = self.era
            elif client.seen_on == self.era:
                self._local.was_taken(client, Event.MISS)
            else:
                self._local.change(client)
        return refusal
