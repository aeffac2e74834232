"""What the page shows of servers."""
import math
from typing import Any

import pytest

from redis_streams_adapter.dashboard.snapshot import label, losses_of, \
    number, Rates, recoveries_of, row_of, text, top_rooms, totals
from redis_streams_adapter.nodes import NodeStats


def server(uid: str, **values: Any) -> NodeStats:
    return NodeStats(uid, 'python', 0.5, **{
        'host': 'web', 'pid': 7, 'version': '1', 'uptime': 9.0, 'clients': 3,
        'rooms': 2, 'memory': 1000,
        'stats': {'sent': 0, 'received': 0, 'delivered': 0},
        'health': {'status': 'ok', 'reader_lag': 0.25, 'outbox': 4}, **values})


def test_row() -> None:
    row = row_of(server('a'), Rates(), 1.0)
    assert row == {
        'uid': 'a', 'language': 'python', 'host': 'web', 'version': '1',
        'pid': 7, 'uptime': 9.0, 'clients': 3, 'rooms': 2, 'memory': 1000,
        'last_seen': 0.5, 'status': 'ok', 'lag': 0.25, 'outbox': 4,
        'error': None, 'sent_rate': None, 'received_rate': None,
        'delivered_rate': None, 'lost': 0}
    assert label(row) == 'web:7'


def test_row_of_a_server_that_says_nothing() -> None:
    row = row_of(NodeStats('b', 'javascript', 2.0), Rates(), 1.0)
    assert {name for name, value in row.items() if value is not None} == {
        'uid', 'language', 'last_seen'}
    assert label(row) == 'b'


def test_rates() -> None:
    rates = Rates()
    row_of(server('a', stats={'sent': 10, 'received': 0, 'delivered': 5}),
           rates, 100.0)
    row = row_of(server('a', stats={'sent': 30, 'received': 1,
                                    'delivered': 4}), rates, 104.0)
    assert row['sent_rate'] == 5.0
    assert row['received_rate'] == 0.25
    # It has begun anew.
    assert row['delivered_rate'] is None
    rates.keep([])
    assert row_of(server('a'), rates, 105.0)['sent_rate'] is None


def test_values_are_not_trusted() -> None:
    row = row_of(server('a', health={
        'status': ['ok'], 'reader_lag': math.nan, 'outbox': 'many',
        'last_error': 'x' * 1000}), Rates(), 1.0)
    assert (row['status'], row['lag'], row['outbox']) == (None, None, None)
    assert len(row['error']) == 300


@pytest.mark.parametrize('value, expected', [
    (3, 3), (0.5, 0.5), (True, None), ('3', None), (None, None),
    (math.inf, None), (math.nan, None)])
def test_numbers(value: Any, expected: Any) -> None:
    assert number(value) == expected


def test_texts() -> None:
    assert text(b'bytes') is None
    assert text('word') == 'word'


def test_losses() -> None:
    assert losses_of({'messages_lost': 2, 'streams_deleted': 1,
                      'entries_trimmed': 'x'}) == {
        'missing': 2, 'trimmed': 0, 'deleted': 1, 'set-back': 0,
        'vanished': 0, 'evicted': 0}


def test_recoveries() -> None:
    assert recoveries_of([{'sent': 1}]) is None
    assert recoveries_of([
        {'recovered': 2, 'not_recovered_unknown_session': 1}, {},
        {'recovered': 1, 'not_recovered_unknown_session': 1,
         'not_recovered_rejected': 0}]) == {
        'recovered': 3, 'refused': {'unknown-session': 2, 'rejected': 0}}


def test_totals() -> None:
    rates = Rates()
    rows = [row_of(each, rates, 1.0) for each in (
        server('a'), server('b', clients=5, health={'reader_lag': 2.0}),
        NodeStats('c', 'javascript', 1.0))]
    assert totals(rows) == {
        'servers': 3, 'clients': 8, 'outbox': 4, 'lost': 0,
        'sent_rate': None, 'received_rate': None, 'delivered_rate': None,
        'lag': 2.0}


def test_rooms() -> None:
    assert top_rooms({'b': 1, 'a': 1, 7: 5, 'z': 2}, 3) == [
        ['7', 5], ['z', 2], ['a', 1]]
