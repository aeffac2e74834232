"""Fakes for tests of the admission of clients."""
import logging
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional

from redis_streams_adapter.options import RecoveryOptions
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.messages import Broadcast, Target
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry
from redis_streams_adapter.recovery.admission import Admission, Visit
from redis_streams_adapter.recovery.claims import Claim
from redis_streams_adapter.recovery.local_clients import Outcomes
from redis_streams_adapter.recovery.replay import Record
from redis_streams_adapter.recovery.session import Return, Session
from redis_streams_adapter.stream.session_store import Found

from .parts import Parts

#: The last entry of the stream when a session was looked up.
LAST = Position(20)

#: The value of a client's session in Redis after its claim.
VALUE = b'claimed'

encoder = Encoder('uid')


class Fakes(Parts):
    """The session of one client, which can be claimed, and a stream whose
    entries after 10-0 are in memory."""

    def __init__(self, logger: Callable[[], logging.Logger],
                 **options: Any) -> None:
        super().__init__(logger)
        self.found = self.session(
            rooms=('s', 'room'), claim='claimed', data={'name': 'x'},
            flask='of flask')
        self.start = Position(10)
        #: Called when the session is claimed.
        self.on_claim: Callable[..., Any] = lambda *args: None
        #: The arguments of the claims.
        self.asked: List[Any] = []
        self.rivals: List[Any] = []
        #: Called when the stream is another one since the claim.
        self.on_check: Callable[[], Any] = lambda: None
        #: Called when a rival has to be removed.
        self.on_rival: Callable[[Any], Any] = self.disconnects
        self.superseded = False
        self.outcomes = Outcomes(self.clients)
        #: The namespaces in which the node has appeared; for each, whether
        #: a client was already registered.
        self.appeared: Dict[str, bool] = {}
        claims: Any = SimpleNamespace(
            claim=self._claim, supersede_rival=self._supersede_rival,
            is_superseded=self._is_superseded,
            check_again=self._check_again)
        self.admission = Admission(
            self.clients, claims, RecoveryOptions(**options), self.outcomes)
        self.connect('e')
        history = self.timeline().history
        history.serve(['/'], Position(10))
        for number in range(11, 21):
            history.add('/', self.record(number, 'room'))

    def _claim(self, namespace: str, pid: str, offset: Any,
               accepts: Callable[[str], bool]) -> Claim:
        self.asked.append((namespace, pid, offset))
        self.on_claim(accepts)
        self.store.values[pid] = VALUE
        return Claim(self.found, VALUE, self.start,
                     Found(b'', True, None, LAST))

    def _check_again(self, claim: Claim, namespace: str,
                     offset: Any) -> Claim:
        assert not self.order.held and claim.session is self.found
        assert (namespace, offset) == ('/', Position(9))
        restarts = self.timeline().history.restarts
        self.on_check()
        return claim._replace(start=self.start, restarts=restarts)

    def _supersede_rival(self, rival: Any, claim: Claim) -> None:
        assert not self.order.held and claim.session is self.found
        self.rivals.append(rival)
        self.on_rival(rival)

    def _is_superseded(self, claim: Claim) -> bool:
        assert self.order.held and claim.session is self.found
        return self.superseded

    @staticmethod
    def record(number: int, *rooms: str) -> Record:
        return Record(Position(number), Broadcast(('x',), Target(rooms)))

    @staticmethod
    def entry(number: int) -> Entry:
        return Entry(Position(number), encoder.encode(
            '/', Broadcast((number,))))

    def disconnects(self, client: Any) -> None:
        self.manager.clients.pop((client.namespace, client.sid), None)
        self.local.unregister(client)

    def connects(self, *, eio_sid: str = 'e', auth: Any = None) -> Visit:
        """A new client connects."""
        return Visit(eio_sid, '/', None, auth)

    def returns(self, pid: Any = 'pid of s', offset: Any = '9-0',
                eio_sid: str = 'e') -> Visit:
        """A client that has a session connects again."""
        return Visit(eio_sid, '/', Return(pid, offset), None)

    def admit(self, visit: Visit) -> Optional[str]:
        def appear_in(namespace: str) -> None:
            assert visit.admitted
            self.appeared[namespace] = bool(self.manager.clients)

        sid = self.admission.admit(visit, appear_in)
        assert not self.order.held
        return sid

    @property
    def stored(self) -> Optional[bytes]:
        """The session's value in Redis."""
        return self.store.values.get('pid of s')

    @property
    def connection(self) -> Any:
        return self.server.eio.sockets['e']

    def shown(self) -> Any:
        """The outcome that the connect handler sees."""
        return self.server.environ['e'].get('socketio.recovery')

    def counted(self) -> Dict[str, int]:
        return {name: count for name, count in self.outcomes.counts.items()
                if count}


def with_session(fakes: Fakes, **changes: Any) -> Session:
    """Change the session that claims find."""
    fakes.found = fakes.found._replace(**changes)
    return fakes.found
