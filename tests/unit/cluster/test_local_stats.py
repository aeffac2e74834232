"""What a server says of itself."""
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict

from redis_streams_adapter.cluster.local_stats import LocalStats, \
    resident_memory
from redis_streams_adapter.protocol.server_stats import MAX_NAMESPACES, \
    MAX_TEXT, read_stats
from redis_streams_adapter.version import VERSION


def collected(rooms: Any, namespaces: Any = ('/',),
              options: Any = {}, **health: Any) -> Dict[str, Any]:
    manager = SimpleNamespace(rooms=rooms)
    runtime: Any = SimpleNamespace(
        node=SimpleNamespace(namespaces=list(namespaces)),
        state=SimpleNamespace(clients_since=lambda: 0.0))
    found: Dict[str, Any] = {}
    for _ in LocalStats(
            manager, options, lambda: {'sent': 1}, lambda: health,
            lambda: {'outbox': {'sum': 0.5}}).collect(runtime, found):
        continue
    # Others can read it.
    assert read_stats(found) == {
        name: value for name, value in found.items() if value is not None}
    return found


def test_all() -> None:
    clients = {'s1': 'e1', 's2': 'e2'}
    found = collected({
        '/': {None: clients, 's1': {'s1': 'e1'}, 's2': {'s2': 'e2'},
              'tea': clients, 7: clients},
        '/chat': {None: {'s3': 'e1'}, 's3': {'s3': 'e1'}}},
        ['/', '/chat'], status='ok')
    assert found['host'] == socket.gethostname()
    assert found['pid'] == os.getpid()
    assert found['version'] == VERSION
    assert found['uptime'] > 0
    assert found['clients'] == 3
    assert found['rooms'] == 2
    assert found['namespaces'] == ['/', '/chat']
    assert found['stats'] == {'sent': 1}
    assert found['health'] == {'status': 'ok'}
    assert 0 < found['cpu_seconds'] < 1e6
    assert found['latencies'] == {'outbox': {'sum': 0.5}}


def test_options() -> None:
    found = collected({}, options={'max_len': 5, 'x': 'y' * 10**6})['options']
    assert found == {'max_len': 5, 'x': 'y' * MAX_TEXT}


def test_without_clients() -> None:
    found = collected({})
    assert (found['clients'], found['rooms']) == (0, 0)


def test_no_answer_is_too_long() -> None:
    names = [f'/{number}' for number in range(2 * MAX_NAMESPACES)]
    found = collected({}, ['/' + 'x' * MAX_TEXT, *names],
                      last_error='x' * 10**6)
    assert found['namespaces'] == names[:MAX_NAMESPACES]
    assert len(found['health']['last_error']) == MAX_TEXT


def test_memory(tmp_path: Path) -> None:
    statm = tmp_path / 'statm'
    statm.write_text('1000 50 3 1 0 2 0')
    assert resident_memory(str(statm)) == 50 * os.sysconf('SC_PAGESIZE')
    for wrong in '', '5', 'a b c':
        statm.write_text(wrong)
        assert resident_memory(str(statm)) is None
    assert resident_memory(str(tmp_path / 'missing')) is None
