"""A forked child of a server process. It runs the calls that it receives."""
import multiprocessing
from multiprocessing.connection import Connection
from typing import Any, Callable, List

#: Seconds: the time limit of a call in the child.
TIMEOUT = 15.0

#: The signature of :meth:`.controlled_node.Node.invoke`.
Invoke = Callable[..., Any]


class ForkedChild:
    """A child process. It ends with its parent.

    :param invoke: calls a method in the current process.
    """

    def __init__(self, invoke: Invoke) -> None:
        context = multiprocessing.get_context('fork')
        self._near, far = context.Pipe()
        self._process = context.Process(
            target=_obey, args=(self._near, far, invoke))
        self._process.start()
        far.close()

    def invoke(self, *call: Any) -> Any:
        """Call a method in the child.

        :raises RuntimeError: the call raised, or the child does not answer.
        """
        self._near.send(call)
        if not self._near.poll(TIMEOUT):
            raise RuntimeError('the child process does not answer')
        result, error = self._near.recv()
        if error is not None:
            raise RuntimeError(f'in the child process: {error}')
        return result

    def end(self) -> int:
        """End the process like a child process of multiprocessing.

        :return: its exit code.
        """
        self._near.close()
        self._process.join(TIMEOUT)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        exitcode = self._process.exitcode
        assert exitcode is not None
        return exitcode


def _obey(near: Connection, far: Connection, invoke: Invoke) -> None:
    # The end of this connection shows that the parent has ended. If the child
    # kept its copy open, the connection would not end.
    near.close()
    while True:
        try:
            target, method, args, kwargs = far.recv()
        except EOFError:
            return
        try:
            answer: List[Any] = [invoke(target, method, args, kwargs), None]
        except Exception as exc:
            answer = [None, repr(exc)]
        far.send(answer)
