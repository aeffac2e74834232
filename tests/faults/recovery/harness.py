"""What the tests of returning clients share."""
import threading
from typing import Any, Callable, List, Tuple

from ...support.recovering import RecoveringNode
from ...support.wait import wait_until

MakeNode = Callable[..., RecoveringNode]


def emit(node: RecoveringNode, *names: str, **options: Any) -> None:
    for name in names:
        node.server.emit(name, 1, **options)


def client_with_offset(node: RecoveringNode) -> Any:
    """Connect a client that has received event ``a``, and so has an offset.
    """
    client = node.client().connect()
    emit(node, 'a')
    client.await_names('a')
    return client


def lose_session(node: RecoveringNode, client: Any) -> None:
    """Break a client's connection, and wait until its server has written
    the session a last time and forgotten it."""
    client.lose()
    wait_until(lambda: node.writer.local.of_pid(client.pid) is None)


def left_over(node: RecoveringNode) -> Any:
    """What a server still knows of clients."""
    tracker, sender = node.manager._parts.tracker, node.manager._parts.local
    delivery = node.manager._live().delivery('/')
    return {name: value for name, value in {
        'visits': tracker._visits,
        'outcomes': tracker._outcomes._outcomes,
        'sent': sender.sent, 'held': sender._held,
        'connected': node.writer.local._by_sid,
        'sessions': node.writer.local._by_pid,
        'rooms': node.manager.rooms, 'environ': node.server.environ,
        'pending': getattr(node.manager, 'pending_connect', None),
        'leaving': node.manager.pending_disconnect,
        'awaited': delivery._follower.waits.waits,
        'waiting': delivery._waiting,
    }.items() if value}


def wait_nothing_left(node: RecoveringNode) -> None:
    """Wait until a server knows nothing of any client."""
    wait_until(lambda: not left_over(node),
               what=lambda: f'nothing to be left: {left_over(node)}')


def check_rejected(connection: Any, client: Any) -> None:
    """The connection is closed without a new session, so that the client
    retries and reaches another server."""
    connection.connect(client.back())
    assert (connection.socket.closed, connection.sid) == (True, None)


def pause_close(node: RecoveringNode) -> Callable[[], None]:
    """Close a server, and pause it before its tasks end.

    :return: continues, and waits for the end.
    """
    runtime = node.manager._live()
    flush = runtime.streams.flush
    paused, go_on = threading.Event(), threading.Event()

    def slow(*args: Any) -> bool:
        paused.set()
        go_on.wait(10)
        return flush(*args)

    runtime.streams.flush = slow  # type: ignore
    task = threading.Thread(target=node.close)
    task.start()
    assert paused.wait(10)

    def finish() -> None:
        go_on.set()
        task.join()

    return finish


def pause_disconnect_handler(node: RecoveringNode, namespace: str = '/'
                             ) -> Tuple[threading.Event, List[str],
                                        threading.Event]:
    """Pause the first disconnect handler that a server runs.

    :return: an event that is set while it runs, the sids of the handlers
             that have run, and an event that lets it end.
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
    """The client returns, and is not recovered."""
    again = node.client().connect(client.back())
    assert again.sid and again.sid != client.sid
