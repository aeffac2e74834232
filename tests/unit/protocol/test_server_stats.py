"""What a server says of itself is valid, or an error."""
from typing import Any

import pytest

from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.server_stats import MAX_KEYS, \
    MAX_NAMESPACES, MAX_NUMBER, MAX_TEXT, read_stats, RULES

WHOLE = {
    'host': 'a', 'pid': 1, 'version': '1.0', 'uptime': 1.5, 'clients': 2,
    'rooms': 3, 'namespaces': ['/', '/chat'], 'memory': 2**33,
    'stats': {'sent': 1, 'rate': 1.5}, 'health': {'status': 'ok',
                                                  'stalled': []},
    'cpu_seconds': 2.5, 'latencies': {'outbox': {'0.001': 3, 'sum': 0.5}},
    'options': {'max_len': 5, 'retention': None, 'only_plaintext': True,
                'publish': 'sync', 'block_time': 5.0}}


def test_all_keys() -> None:
    assert WHOLE.keys() == RULES.keys()
    assert read_stats(WHOLE) == WHOLE


def test_nothing_is_said() -> None:
    assert read_stats(None) is None


@pytest.mark.parametrize('name', RULES)
def test_what_is_missing_stays_missing(name: str) -> None:
    without = {key: value for key, value in WHOLE.items() if key != name}
    assert read_stats(without) == without
    assert read_stats({**WHOLE, name: None}) == without


def test_keys_of_newer_versions_are_skipped() -> None:
    assert read_stats({**WHOLE, 'secret': [1]}) == WHOLE


@pytest.mark.parametrize('value', [True, 1, 'x', [], [WHOLE]])
def test_not_a_mapping(value: Any) -> None:
    with pytest.raises(DecodeError, match='stats is of'):
        read_stats(value)


@pytest.mark.parametrize('name, value', [
    ('host', 5), ('host', 'x' * (MAX_TEXT + 1)), ('version', b'1'),
    ('pid', -1), ('pid', True), ('pid', 1.5), ('pid', MAX_NUMBER + 1),
    ('uptime', 'x'), ('uptime', float('nan')), ('uptime', float('inf')),
    ('clients', '1'), ('rooms', [1]), ('memory', -1),
    ('namespaces', '/'), ('namespaces', [1]), ('namespaces', {'/': 1}),
    ('namespaces', ['/'] * (MAX_NAMESPACES + 1)),
    ('stats', []), ('stats', {'sent': '1'}), ('stats', {'sent': True}),
    ('stats', {'sent': None}), ('stats', {1: 1}),
    ('stats', {str(number): 1 for number in range(MAX_KEYS + 1)}),
    ('cpu_seconds', '1'), ('latencies', {'outbox': [1]}),
    ('latencies', {'outbox': {'0.001': '1'}}), ('latencies', {1: {}}),
    ('options', ['x']), ('options', {'max_len': [1]}),
    ('options', {'publish': 'x' * (MAX_TEXT + 1)}), ('options', {1: 1}),
    ('health', 'ok'), ('health', {1: 1}),
    ('health', {str(number): 1 for number in range(MAX_KEYS + 1)})])
def test_malformed(name: str, value: Any) -> None:
    with pytest.raises(DecodeError, match=f'stats.{name} is of'):
        read_stats({**WHOLE, name: value})
