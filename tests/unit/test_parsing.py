"""The texts of options in a URL."""
from typing import Any

import pytest

from redis_streams_adapter.configuration import from_query


@pytest.mark.parametrize('text, value', [
    ('true', True), ('True', True), ('1', True), ('yes', True), ('on', True),
    ('false', False), ('FALSE', False), ('0', False), ('no', False),
    ('off', False)])
def test_true_and_false(text: str, value: bool) -> None:
    assert from_query([('only_plaintext', text)]) == {'only_plaintext': value}


@pytest.mark.parametrize('text, value', [
    ('true', True), ('false', False),
    ('60', {'max_disconnection_duration': 60.0}),
    ('0.5', {'max_disconnection_duration': 0.5})])
def test_recovery(text: str, value: Any) -> None:
    name = 'connection_state_recovery'
    assert from_query([(name, text)]) == {name: value}
