"""Nodes with recovery, and checks of what a client has when it returns."""
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

#: The options of each node of these tests, besides its stream.
RECOVERING: Dict[str, Any] = {'connection_state_recovery': True, **STEADY}

#: The configuration of gunicorn with the package's hooks.
HOOKS = 'from redis_streams_adapter.gunicorn import ' \
    'post_worker_init, worker_exit\n'

#: The transports of a client, by their name in the ids of tests.
TRANSPORTS = {'websocket': ['websocket'], 'polling': ['polling'],
              'upgrade': ['polling', 'websocket']}

#: The reasons for a disconnect without a DISCONNECT packet.
LOSSES = ('transport close', 'transport error', 'ping timeout')


class Pair(NamedTuple):
    """Two nodes of one cluster."""

    a: NodeProcess
    b: NodeProcess


def offset_of(args: Sequence[Any]) -> Tuple[int, int]:
    """The offset of an event, its last argument, in a form that can be
    compared."""
    return parse_offset(args[-1])


def numbers(client: JsClient, event: str) -> List[int]:
    """The first arguments of the events with a name, as they arrived."""
    return [args[0] for args in client.received(event)]


def check_offsets(client: JsClient, start: int = 0) -> None:
    """Check that a client has received its events in the stream's order, and
    none twice.

    Each namespace is checked by itself, because clients are recovered in one
    namespace after the other.

    :param start: how many events to leave out.
    """
    offsets: Dict[str, List[Tuple[int, int]]] = {}
    for event in client.log(start):
        offsets.setdefault(event.namespace, []).append(offset_of(event.args))
    for namespace, found in offsets.items():
        wrong = [(before, after) for before, after
                 in zip(found, found[1:]) if before >= after]
        assert wrong == [], (
            f'client {client.sid} has received {len(found)} events in '
            f'{namespace}, {len(wrong)} out of order: {wrong[:5]}')


def catch_up(clients: Iterable[JsClient], nodes: Sequence[NodeProcess],
             unique: Unique, timeout: float = 30.0) -> None:
    """Wait until the clients have received all that was emitted so far.

    :param nodes: those that have emitted, and emit no more.
    """
    marker = unique('marker')
    for node in nodes:
        assert node.flush(timeout)
    clients = list(clients)
    namespaces = {name for client in clients for name in client.sids}
    for name in namespaces:
        # It comes after all other events in the stream.
        nodes[0].emit(marker, namespace=name)
    for client in clients:
        client.wait_for(marker, len(client.sids), timeout)


def check_received(clients: Iterable[JsClient], nodes: Sequence[NodeProcess],
                   unique: Unique, timeout: float = 30.0,
                   **emitted: int) -> None:
    """Check that every client has received 0, 1, 2, … with each of these
    events, each number once and in order.

    :param nodes: those that have emitted, and emit no more.
    :param emitted: how many there were, by event.
    """
    clients = list(clients)
    catch_up(clients, nodes, unique, timeout)
    found = {(client.sid, event): account(numbers(client, event), count)
             for client in clients for event, count in emitted.items()}
    assert found == dict.fromkeys(found, EXACT)
    for client in clients:
        check_offsets(client)


def check_recovered(client: JsClient, connects: Sequence[Connect],
                    sids: Dict[str, str]) -> None:
    """Check that the client was recovered in each of its namespaces."""
    assert {each.namespace: (each.sid, each.recovered) for each in connects
            } == {name: (sid, True) for name, sid in sids.items()}
    assert client.sids == sids


def check_new(connect: Connect, sid: str) -> None:
    """Check that the client was connected as a new one."""
    assert not connect.recovered
    assert connect.sid != sid


def found_by_handler(node: NodeProcess, sid: str,
                     namespace: str = '/') -> Dict[str, Any]:
    """What the connect handler has recorded for the last connection of this
    client."""
    return [each for each in node.connected(sid)
            if each['namespace'] == namespace][-1]


def check_reason(node: NodeProcess, sid: str, *reasons: Optional[str],
                 namespace: str = '/') -> None:
    """Check that the connect handler and the manager have the same outcome
    for a client, with one of these reasons.

    :param reasons: why the client was not recovered; ``None`` if it was.
    """
    found = found_by_handler(node, sid, namespace)
    recovered, reason = found['environ']
    assert reason in reasons
    assert recovered == (reason is None)
    assert found['manager'] == [recovered, reason]


def stored_session(redis: Any, prefix: str,
                   client: JsClient) -> Dict[str, Any]:
    """The parts of a client's session that every server of a cluster reads.
    """
    pid, _ = client.state()
    session = read_session(redis, f'{prefix}{pid}')
    assert session is not None
    return {'sid': session['sid'], 'pid': session['pid'],
            'rooms': sorted(session['rooms']), 'data': session['data']}


class Message(NamedTuple):
    """An event with a number, as it was emitted or received."""

    event: str
    number: int
    offset: str


def messages_for(redis: Any, stream: str, prefix: str, *rooms: str,
                 namespace: str = '/') -> List[Message]:
    """The messages in a stream for a client in these rooms.

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
    """The messages that a client has received."""
    return [Message(event.name, *event.args) for event in client.log()
            if event.name.startswith(prefix)]
