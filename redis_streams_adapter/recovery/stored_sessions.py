"""What Redis has of the sessions. A session is replaced only if Redis has the
expected value, and what is unknown after that is noted.

If a write had no reply, its value is *in doubt*: the next write accepts it,
too. An error reply leaves no doubt: nothing was written.

If an exception strikes between two lines, a value that is not in Redis may
stay in doubt, until a write has a reply.
"""
import time
from typing import Optional, Sequence, Tuple, Union

from .local_sessions import LocalSessions
from .states import Event
from ..stream.session_store import ABSENT, DONE, SessionStore, Swap
from ..stream.connection import Refused
from .client_session import ClientSession

#: How many values of a session may be in doubt; every write sends all of them.
#: It takes this many lost replies in a row to reach the limit. Then the last
#: of them is written before anything newer.
MAX_DOUBTFUL = 8


class StoredSessions:
    """The sessions in Redis, as far as this node knows. Its state is in the
    local sessions.

    :param sessions: the session store.
    :param local: the sessions of the local clients.
    """

    def __init__(self, sessions: SessionStore, local: LocalSessions) -> None:
        self._sessions = sessions
        self._local = local

    @property
    def era(self) -> int:
        """A number that changes whenever Redis may have lost something."""
        return self._sessions.connections + self._local.epoch

    def wrote(self, client: ClientSession, value: bytes) -> None:
        """Redis has this value for a client."""
        with self._local.lock:
            client.stored, client.doubtful = value, []
            client.written = time.monotonic()
            client.seen_on = self.era
            if client.is_leaving:
                # That was its last session.
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

        :return: why a server refused one of them; the others were written.
        :raises Unavailable: each of them may be written or not.
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
                # The connection is new: Redis may have lost it.
                self._local.apply(client, Event.CHANGE)
            else:
                self._local.was_taken(
                    client, Event.MISS if result == ABSENT
                    else Event.SUPERSEDE)
        return refusal

    def _prepare(self, client: ClientSession,
                 value: bytes) -> Tuple[Swap, bool]:
        """How to replace a session, and whether its new value was not in
        doubt before."""
        with self._local.lock:
            expected = [client.stored, *client.doubtful]
            if not client.stored or client.seen_on != self.era:
                # Redis may have lost it.
                expected.append(b'')
            is_new = value not in client.doubtful
            if is_new and len(client.doubtful) >= MAX_DOUBTFUL:
                value, is_new = client.doubtful[-1], False
            if is_new:
                client.doubtful.append(value)
        return Swap(client.pid, value, expected), is_new

    def _was_refused(self, client: ClientSession, value: bytes) -> None:
        """A value was not written, and is not in doubt."""
        with self._local.lock:
            if value in client.doubtful:
                client.doubtful.remove(value)

    def _resolved(self, client: ClientSession, value: bytes) -> None:
        """An older value was written, and no other is in doubt: now the
        session can be written as it is."""
        with self._local.lock:
            client.stored, client.doubtful = value, []
            client.seen_on = self.era
            client.apply(Event.CHANGE)

    def touch(self, clients: Sequence[ClientSession]) -> Optional[Refused]:
        """Keep sessions alive; otherwise as :meth:`swap`."""
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
