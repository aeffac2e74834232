"""A client that polls gets what was emitted before its connection is closed.
"""
import threading
from typing import Any, Callable, Iterator, List

import pytest

from ..conftest import running
from ..support.node_process import NodeProcess, Step
from ..support.polling_client import over_http, PollingClient
from ..support.wait import DEADLINE, wait_for_value
from .conftest import Cluster, start_managers, STEADY

Unique = Callable[[str], str]

#: How many events are emitted first.
EVENTS = 3

#: Engine.IO's CLOSE.
CLOSE = '1'


@pytest.fixture(scope='module')
def recovering(mode: str, redis_server: Any) -> Iterator[Cluster]:
    """Three nodes with recovery."""
    with running([NodeProcess(mode, redis_server.url, {
            **STEADY, 'stream_name': 'closing',
            'connection_state_recovery': True}) for _ in range(3)]) as nodes:
        start_managers(nodes)
        yield Cluster(*nodes)


@pytest.fixture(params=['direct', 'recovery'])
def either(request: pytest.FixtureRequest) -> Cluster:
    """A cluster without recovery, and one with it."""
    found: Cluster = request.getfixturevalue(
        'cluster' if request.param == 'direct' else 'recovering')
    return found


def emits(event: str, sid: str, namespace: str) -> List[Step]:
    return [('server', 'emit', [event, number],
             {'to': sid, 'namespace': namespace})
            for number in range(EVENTS)]


def expected(event: str, namespace: str = '/') -> List[str]:
    name = '' if namespace == '/' else f'{namespace},'
    return [f'42{name}["{event}",{number}' for number in range(EVENTS)]


def check(packets: List[str], *events: str) -> None:
    """The packets of a response are these events, which may have an offset,
    then a DISCONNECT for each namespace, and CLOSE."""
    assert packets[-1] == CLOSE
    found = [each for each in packets if each.startswith('42')]
    disconnects = [each for each in packets if each.startswith('41')]
    assert packets.index(disconnects[0]) > packets.index(found[-1])
    assert len(set(disconnects)) == len(disconnects) \
        == len({each.partition('[')[0] for each in events})
    assert len(found) == len(events)
    for packet, expected_start in zip(found, events):
        assert packet.startswith(expected_start)


def poll_until_close(client: PollingClient) -> List[str]:
    found: List[str] = []
    while not found or found[-1] != CLOSE and client.status == 200:
        found += client.poll()
    return found


def wait_handled(node: NodeProcess, sid: str) -> None:
    """Wait until the disconnect handler has run."""
    wait_for_value(lambda: [
        each[1] for each in node.recorded('disconnect')].count(sid), 1,
        what='the disconnect handler')


@pytest.mark.parametrize('by', ['this node', 'another'])
def test_next_poll_gets_the_events(either: Cluster, unique: Unique,
                                   by: str) -> None:
    client, event = PollingClient(over_http(either.b.url)), unique('event')
    sid = client.connect()
    node = either.b if by == 'this node' else either.a
    node.script(*emits(event, sid, '/'), (
        'manager', 'disconnect_sockets', [], {'to': sid, 'close': True}))
    # It polls after that. CLOSE is sent after the handler.
    wait_handled(either.b, sid)
    check(poll_until_close(client), *expected(event))
    assert client.status == 200
    client.poll()
    assert client.status == 400


def test_open_poll_gets_the_events(either: Cluster, unique: Unique) -> None:
    client, event = PollingClient(over_http(either.b.url)), unique('event')
    sid = client.connect()
    polled: List[List[str]] = []
    thread = threading.Thread(daemon=True, target=lambda: polled.append(
        poll_until_close(client)))
    thread.start()
    either.a.script(*emits(event, sid, '/'), (
        'manager', 'disconnect_sockets', [], {'to': sid, 'close': True}))
    thread.join(DEADLINE)
    check(polled[0], *expected(event))


def test_all_namespaces_of_a_connection(either: Cluster,
                                        unique: Unique) -> None:
    """It is closed because of its client in one of them."""
    client, event = PollingClient(over_http(either.b.url)), unique('event')
    sids = {each: client.connect(each) for each in ('/', '/chat')}
    either.a.script(
        *(step for namespace, sid in sids.items()
          for step in emits(event, sid, namespace)),
        ('manager', 'disconnect_sockets', [], {
            'to': sids['/chat'], 'namespace': '/chat', 'close': True}))
    for sid in sids.values():
        wait_handled(either.b, sid)
    check(poll_until_close(client), *expected(event),
          *expected(event, '/chat'))


def test_connection_stays_without_close(either: Cluster,
                                        unique: Unique) -> None:
    client, event = PollingClient(over_http(either.b.url)), unique('event')
    sids = {each: client.connect(each) for each in ('/', '/chat')}
    either.a.script(*emits(event, sids['/chat'], '/chat'), (
        'manager', 'disconnect_sockets', [], {
            'to': sids['/chat'], 'namespace': '/chat'}))
    wait_handled(either.b, sids['/chat'])
    events, packets = expected(event, '/chat'), client.poll()
    assert [each.startswith(event) for each, event in zip(
        [each for each in packets if each != '2'], events)] == [True] * EVENTS
    assert packets[-1] == '41/chat,'
    either.a.emit(event, to=sids['/'])
    packets = client.poll()
    assert any(each.startswith(f'42["{event}"') for each in packets)
