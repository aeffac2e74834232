"""A Socket.IO server in Node.js. Its methods have the same names and meanings
as those of :class:`.node_process.NodeProcess`."""
import itertools
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from .controlled import ControlledProcess
from .process import ROOT
from .wait import DEADLINE, wait_for_value

#: The scripts and the npm packages.
SCRIPTS = ROOT / 'tests' / 'interop'

_numbers = itertools.count(1)


class Generation(NamedTuple):
    """A published adapter and its client, by their names in
    ``package.json``.

    :param name: for the ids of tests.
    """

    name: str
    adapter: str
    client: str


def script(name: str, *arguments: str) -> List[str]:
    """The command line of a script."""
    return ['node', str(Path(SCRIPTS, name)), *arguments]


class JsServer(ControlledProcess):
    """A process that runs ``server.js``.

    :param redis_url: the Redis of its adapter.
    :param options: the adapter's options by their names in Node.js, and the
                    server's ``connectionStateRecovery``.
    """

    def __init__(self, generation: Generation, redis_url: str,
                 options: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(
            f'js-{generation.name}-{next(_numbers)}',
            script('server.js', json.dumps({
                'adapter': generation.adapter, 'client': generation.client,
                'redisUrl': redis_url, 'options': dict(options or {})})))

    def leave(self) -> int:
        """Make the server leave the cluster gracefully and exit.

        :return: its exit code.
        """
        return self.process.stop()

    # -- to clients ---------------------------------------------------------

    def emit(self, event: str, data: Any = None, to: Any = None,
             skip_sid: Any = None, namespace: str = '/') -> None:
        """``to().except().emit()``."""
        self.control('emit', event, _arguments(data),
                     _where(to, skip_sid, namespace))

    def burst(self, event: str, count: int) -> None:
        """Emit 0, 1, 2, … without a pause."""
        self.control('burst', event, count)

    def emit_with_ack(self, event: str, data: Any = None, to: Any = None,
                      skip_sid: Any = None, namespace: str = '/',
                      timeout: float = DEADLINE) -> List[Any]:
        """``timeout().emitWithAck()``."""
        return list(self.control(
            'emitWithAck', event, _arguments(data),
            _where(to, skip_sid, namespace, timeout), timeout=timeout + 10))

    # -- sockets ------------------------------------------------------------

    def fetch_sockets(self, namespace: str = '/', to: Any = None,
                      skip_sid: Any = None, timeout: float = DEADLINE,
                      local: bool = False) -> List[Dict[str, Any]]:
        """``fetchSockets()``."""
        found = self.control(
            'fetchSockets', {**_where(to, skip_sid, namespace, timeout),
                             'local': local}, timeout=timeout + 10)
        return [{'sid': each['id'], 'handshake': each['handshake'],
                 'rooms': each['rooms'], 'data': each['data']}
                for each in found]

    def sockets_join(self, rooms: Any, to: Any = None, skip_sid: Any = None,
                     namespace: str = '/') -> None:
        """``socketsJoin()``."""
        self.control('socketsJoin', rooms, _where(to, skip_sid, namespace))

    def sockets_leave(self, rooms: Any, to: Any = None, skip_sid: Any = None,
                      namespace: str = '/') -> None:
        """``socketsLeave()``."""
        self.control('socketsLeave', rooms, _where(to, skip_sid, namespace))

    def disconnect_sockets(self, to: Any = None, skip_sid: Any = None,
                           namespace: str = '/',
                           close: bool = False) -> None:
        """``disconnectSockets()``."""
        self.control('disconnectSockets', close,
                     _where(to, skip_sid, namespace))

    def on_socket(self, sid: str, method: str, *args: Any,
                  namespace: str = '/') -> None:
        """Call a method of a socket that ``fetchSockets()`` finds: ``emit``,
        ``enter_room``, ``leave_room`` or ``disconnect``."""
        self.control('onSocket', sid, namespace, {
            'enter_room': 'join', 'leave_room': 'leave'}.get(method, method),
            args)

    def ask_socket(self, sid: str, event: str, data: Any,
                   namespace: str = '/', timeout: float = DEADLINE) -> Any:
        """``emitWithAck()`` of such a socket."""
        return self.control('askSocket', sid, namespace, event,
                            _arguments(data), int(timeout * 1000))

    def rooms(self, sid: str, namespace: str = '/') -> List[str]:
        """The rooms of a local client, without its own room."""
        rooms = self.control('rooms', sid, namespace)
        return sorted(room for room in rooms if room != sid)

    def connected(self, sid: Optional[str] = None) -> List[Dict[str, Any]]:
        """The records of the connection handlers, for one client or for
        all."""
        return [{**each, 'environ': [each['recovered'], None]}
                for each in self.recorded('connected')
                if sid in (None, each['sid'])]

    def save_session(self, sid: str, data: Mapping[str, Any],
                     namespace: str = '/') -> None:
        """Set ``socket.data``."""
        self.control('setData', sid, data, namespace)

    # -- between servers ----------------------------------------------------

    def server_side_emit(self, event: str, *args: Any,
                         namespace: str = '/') -> None:
        """``serverSideEmit()``."""
        self.control('serverSideEmit', event, args, namespace)

    def server_side_call(self, event: str, *args: Any,
                         namespace: str = '/') -> List[Any]:
        """``serverSideEmitWithAck()``, which has a timeout of five seconds."""
        return list(self.control('serverSideEmitWithAck', event, args,
                                 namespace))

    def handle_server_side(self, event: str, answer: Any = None,
                           namespace: str = '/') -> None:
        """Record these events, and answer them."""
        self.control('handleServerSide', event, answer, namespace)

    def server_side_events(self, event: str) -> List[Any]:
        """The arguments of the recorded events."""
        return self.recorded(f'server-side:{event}')

    def server_count(self, namespace: str = '/') -> int:
        """``serverCount()``."""
        return int(self.control('serverCount', namespace))

    def uid(self, namespace: str = '/') -> str:
        """The id of its adapter. Each namespace has a different one."""
        return str(self.control('uid', namespace))

    def wait_server_count(self, count: int, namespace: str = '/',
                          timeout: float = DEADLINE) -> None:
        """Wait until the server counts this number of nodes."""
        wait_for_value(lambda: self.server_count(namespace), count, timeout,
                       f"{self.name}'s serverCount() of {namespace!r}")


def _arguments(data: Any) -> Sequence[Any]:
    """The arguments of an event as python-socketio understands ``data``."""
    if isinstance(data, tuple):
        return list(data)
    return [] if data is None else [data]


def _names(rooms: Any) -> List[str]:
    if rooms is None:
        return []
    return [rooms] if isinstance(rooms, str) else list(rooms)


def _where(to: Any, skip_sid: Any, namespace: str,
           timeout: Optional[float] = None) -> Dict[str, Any]:
    where: Dict[str, Any] = {'namespace': namespace, 'rooms': _names(to),
                             'except': _names(skip_sid)}
    if timeout is not None:
        where['timeout'] = int(timeout * 1000)
    return where
