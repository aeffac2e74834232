"""What tests of clients that return share."""
import threading
from typing import Any, Callable, List, Tuple

from ...support.recovering import RecoveringNode

Make = Callable[..., RecoveringNode]


def emit(node: RecoveringNode, *names: str, **options: Any) -> None:
    for name in names:
        node.server.emit(name, 1, **options)


def check_turned_away(connection: Any, client: Any) -> None:
    """It is not told that it is new: it comes back by itself, and finds
    another server then."""
    connection.connect(client.back())
    assert (connection.socket.closed, connection.sid) == (True, None)


def stop_while_it_closes(node: RecoveringNode) -> Callable[[], None]:
    """Let a server take its leave, and stop before its tasks end.

    :return: goes on, and waits for the end.
    """
    runtime = node.manager._live()
    flush, there, go_on = runtime.flush, threading.Event(), threading.Event()

    def slow(*args: Any) -> bool:
        there.set()
        go_on.wait(10)
        return flush(*args)

    runtime.flush = slow  # type: ignore
    task = threading.Thread(target=node.close)
    task.start()
    assert there.wait(10)

    def finish() -> None:
        go_on.set()
        task.join()

    return finish


def stop_in_disconnect_handler(node: RecoveringNode, namespace: str = '/'
                               ) -> Tuple[threading.Event, List[str],
                                          threading.Event]:
    """Let the first disconnect handler of a server take its time.

    :return: what is set when it runs, whose have run, and what lets it end.
    """
    runs, go_on, sids = threading.Event(), threading.Event(), []

    def disconnect(sid: str, reason: str) -> None:
        sids.append(sid)
        if len(sids) == 1:
            runs.set()
            go_on.wait(10)

    node.server.on('disconnect', disconnect, namespace=namespace)
    return runs, sids, go_on


def check_is_new(node: RecoveringNode, client: Any) -> None:
    """It returns, and is not recovered."""
    again = node.client().connect(client.back())
    assert again.sid and again.sid != client.sid
