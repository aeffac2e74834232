"""Real JavaScript clients, each with the methods of :class:`.client.\
Client`."""
import itertools
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, \
    Union

from .client import Event, Listener
from .controlled import ControlledProcess
from .js_server import script
from .wait import DEADLINE, wait_until

#: Options of a client that reconnects by itself, in milliseconds. The default
#: delay between two attempts is a second or more.
PROMPT = {'reconnection': True, 'reconnectionDelay': 50,
          'reconnectionDelayMax': 250, 'timeout': 5000}


class Connect(NamedTuple):
    """A connect of a client.

    :param recovered: whether the client's state was recovered.
    :param position: the number of events that it had received before.
    """

    namespace: str
    sid: str
    recovered: bool
    position: int


class JsClients(ControlledProcess):
    """A process that runs ``client.js`` with any number of clients."""

    def __init__(self) -> None:
        super().__init__('js-clients', script('client.js'))
        self._numbers = itertools.count(1)

    def connect(self, url: str, *namespaces: str,
                transport: Union[str, Sequence[str]] = 'websocket',
                auth: Any = None, reconnection: bool = False) -> 'JsClient':
        """Connect another client.

        :param transport: the transport, or several for upgrades, in order.
        :param reconnection: whether the client reconnects by itself.
        """
        number = next(self._numbers)
        names = namespaces or ('/',)
        transports = [transport] if isinstance(transport, str) else transport
        sids = self.control('connect', number, url, names, list(transports),
                            auth or {}, PROMPT if reconnection else {})
        return JsClient(self, number, dict(zip(names, sids)))


class JsClient(Listener):
    """A connected client.

    :param process: the process of the client.
    :param number: the client's number in that process.
    :param sids: the socket's id in each namespace.
    """

    def __init__(self, process: JsClients, number: int,
                 sids: Dict[str, str]) -> None:
        self._process = process
        self._number = number
        self.sids = sids

    def _control(self, operation: str, *arguments: Any) -> Any:
        return self._process.control(operation, self._number, *arguments)

    def names(self, *among: str) -> List[str]:
        return [name for name in self._control('names')
                if not among or name in among]

    def received(self, name: str) -> List[Tuple[Any, ...]]:
        return [tuple(args) for args in self._control('received', name)]

    def count(self, name: str) -> int:
        return int(self._control('count', name))

    def answer(self, name: str, *args: Any) -> None:
        """Acknowledge events of this name with these arguments."""
        self._control('answer', name, args)

    def answer_late(self, name: str, delay: float, *args: Any) -> None:
        """Acknowledge them after a delay in seconds."""
        self._control('answer', name, args, int(delay * 1000))

    def never_answer(self, name: str) -> None:
        """Do not acknowledge events of this name."""
        self._control('neverAnswer', name)

    def call(self, name: str, *args: Any, namespace: Optional[str] = None,
             timeout: float = DEADLINE) -> Any:
        """Send an event and return its acknowledgement: the argument, a tuple
        of several arguments, or ``None``."""
        answer = self._control('call', name, args, namespace or self._first,
                               int(timeout * 1000))
        return answer[0] if len(answer) == 1 else tuple(answer) or None

    def log(self, start: int = 0) -> List[Event]:
        """All events so far, in order of arrival.

        :param start: the number of events to skip.
        """
        return [Event(name, tuple(args), namespace)
                for namespace, name, args in self._control('log', start)]

    def connects(self) -> List[Connect]:
        """Each successful connect."""
        return [Connect(*each) for each in self._control('connects')]

    def errors(self) -> List[Tuple[str, str, Any]]:
        """Each failed connect: namespace, message and data."""
        return [(namespace, message, data) for namespace, message, data
                in self._control('errors')]

    def transport(self) -> str:
        """The transport in use."""
        return str(self._control('transport'))

    def port(self) -> int:
        """The port of the current or last server, or of the one to which the
        client is connecting."""
        return int(self._control('port'))

    def disconnects(self) -> List[Tuple[str, str]]:
        return [(namespace, reason) for namespace, reason
                in self._control('disconnects')]

    def history(self, last: int = 20) -> str:
        """The client's history with times, one line for each event. The last
        line is the state of its connection.

        :param last: the number of lines.
        """
        return '\n'.join(f'{when % 1000:7.3f} {what}' for when, what
                         in self._control('history')[-last:])

    def begin(self, namespace: str) -> None:
        """Start connecting to another namespace, without waiting for it."""
        self._control('begin', namespace)

    def drop_next_connection(self, count: int) -> None:
        """Lose the next connection at the first packet after ``count`` events,
        in any namespace."""
        self._control('dropNextConnection', count)

    def reconnect_namespace(self, namespace: str) -> None:
        """Disconnect from a namespace and connect again at once."""
        self._control('reconnectNamespace', namespace)

    def connected_sid(self, namespace: str) -> Optional[str]:
        """The sid, if the client considers itself connected."""
        sid = self._control('connectedSid', namespace)
        return None if sid is None else str(sid)

    def cut(self) -> None:
        """End the connection without a disconnect packet."""
        self._control('cut')

    def drop(self) -> None:
        """Lose the connection without notice to the server. Wait until the
        client has detected the loss."""
        expected = len(self.disconnects()) + len(self.sids)
        self._control('drop')
        wait_until(lambda: len(self.disconnects()) >= expected,
                   what=f'client {self.sid} to have lost its connection')

    def give_up(self) -> None:
        """Lose the connection like :meth:`drop`, even while connecting."""
        self._control('drop')

    def move(self, url: str, timeout: float = DEADLINE) -> List[Connect]:
        """Reconnect to this or another server after a loss of the connection.

        :param timeout: seconds until the attempt times out.
        :return: the connect in each namespace.
        :raises RemoteError: the connect failed in at least one namespace.
        """
        seen = len(self.connects())
        sids = self._process.control(
            'move', self._number, url, int(timeout * 1000),
            timeout=timeout + 10)
        self.sids = dict(zip(self.sids, sids))
        return self.connects()[seen:]

    def set_server(self, url: str) -> None:
        """Set the server to which the client reconnects by itself."""
        self._control('setServer', url)

    def reconnect_briefly(self, url: str, delay: float) -> None:
        """Let the client reconnect by itself to this server, and lose the
        connection after a delay in seconds, even during the handshake."""
        self._control('reconnectBriefly', url, int(delay * 1000))

    def wait_connects(self, count: int,
                      timeout: float = DEADLINE) -> List[Connect]:
        """Wait until the client has connected this number of times.

        :return: all connects.
        """
        wait_until(lambda: len(self.connects()) >= count, timeout, lambda: (
            f'{count} connects of client {self.sid}, it has '
            f'{self.connects()}; errors: {self.errors()[-3:]}'))
        found = self.connects()
        self.sids = {**self.sids,
                     **{each.namespace: each.sid for each in found}}
        return found

    def state(self, namespace: Optional[str] = None) -> Tuple[Any, Any]:
        """The pid and the offset that the client would send."""
        pid, offset = self._control('state', namespace or self._first)
        return pid, offset

    def set_state(self, pid: Any, offset: Any,
                  namespace: Optional[str] = None) -> None:
        """Make the client send these values."""
        self._control('setState', namespace or self._first, pid, offset)

    def close(self) -> None:
        """Disconnect."""
        self._control('close')
