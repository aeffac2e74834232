"""Real JavaScript clients, each with the methods of :class:`.client.\
Client`."""
import itertools
from typing import Any, Dict, List, Optional, Tuple

from .client import Listener
from .controlled import ControlledProcess
from .js_server import script
from .wait import DEADLINE, wait_until


class JsClients(ControlledProcess):
    """A process that runs ``client.js``: any number of clients."""

    def __init__(self) -> None:
        super().__init__('js-clients', script('client.js'))
        self._numbers = itertools.count(1)

    def connect(self, url: str, *namespaces: str,
                transport: str = 'websocket', auth: Any = None,
                ) -> 'JsClient':
        """Connect one more."""
        number = next(self._numbers)
        names = namespaces or ('/',)
        sids = self.control('connect', number, url, names, transport,
                            auth or {})
        return JsClient(self, number, dict(zip(names, sids)))


class JsClient(Listener):
    """One client. It is connected.

    :param process: the process it lives in.
    :param number: what it is called there.
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

    def wait_disconnected(self, namespace: Optional[str] = None,
                          timeout: float = DEADLINE) -> str:
        """Wait until a namespace, the first unless said, is disconnected.

        :return: the reason, in the words of socket.io-client.
        """
        name = namespace or self._first
        reason = wait_until(
            lambda: dict(self._control('disconnects')).get(name), timeout,
            f'client {self.sid} to be disconnected from {name}')
        return str(reason)

    def answer(self, name: str, *args: Any) -> None:
        """Acknowledge events of this name with these arguments."""
        self._control('answer', name, args)

    def answer_late(self, name: str, delay: float, *args: Any) -> None:
        """The same, so many seconds later."""
        self._control('answer', name, args, int(delay * 1000))

    def never_answer(self, name: str) -> None:
        """Do not acknowledge events of this name."""
        self._control('neverAnswer', name)

    def call(self, name: str, *args: Any, namespace: Optional[str] = None,
             timeout: float = DEADLINE) -> Any:
        """Send an event and return the acknowledgement: its argument, a
        tuple where it has several, ``None`` where it has none."""
        answer = self._control('call', name, args, namespace or self._first,
                               int(timeout * 1000))
        return answer[0] if len(answer) == 1 else tuple(answer) or None

    def cut(self) -> None:
        """End the connection without a goodbye."""
        self._control('cut')

    def close(self) -> None:
        """Leave."""
        self._control('close')
