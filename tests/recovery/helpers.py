"""Who comes back, and what it has to have then."""
import json
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, \
    Optional, Sequence, Tuple

from ..integration.conftest import STEADY
from ..support.account import account, EXACT
from ..support.js_client import Connect, JsClient
from ..support.node_process import NodeProcess
from ..support.wire_format import parse_offset, read_session

ConnectJs = Callable[..., JsClient]
Start = Callable[..., List[NodeProcess]]
Unique = Callable[[str], str]

#: What a node of these tests is given besides its stream.
RECOVERING: Dict[str, Any] = {'connection_state_recovery': True, **STEADY}

#: The configuration of gunicorn with the package's hooks.
HOOKS = 'from redis_streams_adapter.gunicorn import ' \
    'post_worker_init, worker_exit\n'

#: What a client may use, by what the ids of tests call it.
TRANSPORTS = {'websocket': ['websocket'], 'polling': ['polling'],
              'upgrade': ['polling', 'websocket']}

#: What a server says when a client is gone without having said so.
LOSSES = ('transport close', 'transport error', 'ping timeout')


class Pair(NamedTuple):
    """Two nodes of one cluster."""

    a: NodeProcess
    b: NodeProcess


def offset_of(args: Sequence[Any]) -> Tuple[int, int]:
    """Where in the stream an event stands: its last argument, as a number
    that can be compared."""
    return parse_offset(args[-1])


def numbers(client: JsClient, event: str) -> List[int]:
    """The first arguments of the events of a name, as they arrived."""
    return [args[0] for args in client.received(event)]


def check_offsets(client: JsClient, start: int = 0) -> None:
    """Every event it has received stands behind the one before it in the
    stream: none came twice, and none out of order. In each namespace, that
    is: they come back one by one.

    :param start: leave out so many of them.
    """
    offsets: Dict[str, List[Tuple[int, int]]] = {}
    for event in client.log(start):
        offsets.setdefault(event.namespace, []).append(offset_of(event.args))
    for namespace, found in offsets.items():
        wrong = [(before, behind) for before, behind
                 in zip(found, found[1:]) if before >= behind]
        assert wrong == [], (
            f'client {client.sid} has received {len(found)} events in '
            f'{namespace}, {len(wrong)} too late: {wrong[:5]}')


def catch_up(clients: Iterable[JsClient], nodes: Sequence[NodeProcess],
             unique: Unique, timeout: float = 30.0) -> None:
    """Wait until the clients have all that was emitted for them before.

    :param nodes: those that have; they are done with it.
    """
    marker = unique('marker')
    for node in nodes:
        assert node.flush(timeout)
    clients = list(clients)
    namespaces = {name for client in clients for name in client.sids}
    for name in namespaces:
        # Behind all others.
        nodes[0].emit(marker, namespace=name)
    for client in clients:
        client.wait_for(marker, len(client.sids), timeout)


def check_received(clients: Iterable[JsClient], nodes: Sequence[NodeProcess],
                   unique: Unique, timeout: float = 30.0,
                   **emitted: int) -> None:
    """Every client has received of each of these events 0, 1, 2, …, each
    once and in order.

    :param nodes: those that have emitted them; they are done with it.
    :param emitted: how many there were, by event.
    """
    clients = list(clients)
    catch_up(clients, nodes, unique, timeout)
    found = {(client.sid, event): account(numbers(client, event), count)
             for client in clients for event, count in emitted.items()}
    assert found == dict.fromkeys(found, EXACT)
    for client in clients:
        check_offsets(client)


def check_came_back(client: JsClient, connects: Sequence[Connect],
                    sids: Dict[str, str]) -> None:
    """It was given its state back in each of its namespaces."""
    assert {each.namespace: (each.sid, each.recovered) for each in connects
            } == {name: (sid, True) for name, sid in sids.items()}
    assert client.sids == sids


def check_new(connect: Connect, sid: str) -> None:
    """It was connected as if for the first time."""
    assert not connect.recovered
    assert connect.sid != sid


def found_by_handler(node: NodeProcess, sid: str,
                     namespace: str = '/') -> Dict[str, Any]:
    """What the connect handler has found when this client came last."""
    return [each for each in node.connected(sid)
            if each['namespace'] == namespace][-1]


def check_reason(node: NodeProcess, sid: str, *reasons: Optional[str],
                 namespace: str = '/') -> None:
    """The connect handler and the manager were told the same, and one of
    these reasons why the client did not get its state back.

    :param reasons: ``None`` where it did.
    """
    found = found_by_handler(node, sid, namespace)
    recovered, reason = found['environ']
    assert reason in reasons
    assert recovered == (reason is None)
    assert found['manager'] == [recovered, reason]


def stored(redis: Any, prefix: str, client: JsClient) -> Dict[str, Any]:
    """What every server of a cluster reads of a client's session."""
    pid, _ = client.state()
    session = read_session(redis, f'{prefix}{pid}')
    assert session is not None
    return {'sid': session['sid'], 'pid': session['pid'],
            'rooms': sorted(session['rooms']), 'data': session['data']}


class Message(NamedTuple):
    """One that was emitted, or received."""

    event: str
    number: int
    offset: str


def due_to(redis: Any, stream: str, prefix: str, *rooms: str,
           namespace: str = '/') -> List[Message]:
    """What is in a stream for whoever is in these rooms.

    :param prefix: of the events that count.
    """
    found = []
    for offset, fields in redis.xrange(stream):
        if fields[b'type'] != b'3' or fields[b'nsp'] != namespace.encode():
            continue
        message = json.loads(fields[b'data'])
        event, *args = message['packet']['data']
        to = message['opts']['rooms']
        if event.startswith(prefix) and (not to or set(to) & set(rooms)):
            found.append(Message(event, args[0], offset.decode()))
    return found


def received_by(client: JsClient, prefix: str) -> List[Message]:
    """What has arrived there."""
    return [Message(event.name, *event.args) for event in client.log()
            if event.name.startswith(prefix)]
