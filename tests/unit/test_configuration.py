"""Options from a URL."""
from typing import Any

import pytest

from redis_streams_adapter.configuration import described, \
    from_arguments, from_query, make
from redis_streams_adapter.errors import ConfigurationError
from redis_streams_adapter.options import NAMES, Options

WORDS = 'true, 1, yes, on, false, 0, no, off'
ACCEPTED = {
    'max_len': 'a whole number from 1 to 2**63 - 1',
    'block_time': 'a number of seconds above 0, 1,000,000 at most',
    'retention': 'a number of seconds above 0, 1,000,000,000 at most',
    'only_plaintext': WORDS,
    'connection_state_recovery': f'{WORDS}, or a number of seconds, the '
                                 f'max_disconnection_duration'}


def test_query() -> None:
    texts = {
        'stream_name': 'x', 'stream_count': '3', 'max_len': '50',
        'read_count': '5', 'block_time': '1.5', 'heartbeat_interval': '2',
        'heartbeat_timeout': '2.5', 'request_transport': 'pubsub',
        'channel_prefix': 'y', 'only_plaintext': 'true',
        'connection_state_recovery': 'true', 'session_key_prefix': 'z',
        'retention': '60', 'outbox_limit': '7', 'outbox_max_bytes': '8',
        'publish': 'sync', 'min_replicas': '1', 'tracing': 'true'}
    # All options, except those that a string cannot express.
    assert {*texts, 'on_loss'} == set(NAMES)
    values = from_query(list(texts.items()))
    assert {name: type(value) for name, value in values.items()
            if type(value) is not str} == {
        **dict.fromkeys(['stream_count', 'max_len', 'read_count',
                         'outbox_limit', 'outbox_max_bytes',
                         'min_replicas'], int),
        **dict.fromkeys(['block_time', 'heartbeat_interval',
                         'heartbeat_timeout', 'retention'], float),
        'only_plaintext': bool, 'connection_state_recovery': bool,
        'tracing': bool}
    assert values == {
        'stream_name': 'x', 'stream_count': 3, 'max_len': 50,
        'read_count': 5, 'block_time': 1.5, 'heartbeat_interval': 2.0,
        'heartbeat_timeout': 2.5, 'request_transport': 'pubsub',
        'channel_prefix': 'y', 'only_plaintext': True,
        'connection_state_recovery': True, 'session_key_prefix': 'z',
        'retention': 60.0, 'outbox_limit': 7, 'outbox_max_bytes': 8,
        'publish': 'sync', 'min_replicas': 1, 'tracing': True}
    assert from_query([]) == {}


@pytest.mark.parametrize('name, text', [
    ('max_len', 'x'), ('max_len', ''), ('max_len', '1.5'),
    ('block_time', 'x'), ('block_time', ''), ('only_plaintext', 'x'),
    ('only_plaintext', ''), ('connection_state_recovery', 'x'),
    ('connection_state_recovery', ''), ('connection_state_recovery', '2min'),
    ('block_time', '500ms'), ('retention', '1h'), ('only_plaintext', '2'),
    ('unknown', '1'), ('on_loss', 'print'), ('url', 'x'),
    ('write_only', '1'), ('', 'x')])
def test_wrong_queries(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_query([(name, text)])
    assert name in str(caught.value)
    assert isinstance(caught.value.__cause__, (ValueError, type(None)))
    if caught.value.__cause__ is not None:
        assert str(caught.value) == \
            f'{name} must be {ACCEPTED[name]}, not {text!r}, in the URL'


@pytest.mark.parametrize('pairs', [
    [('hidden@host', '')], [('hidden', ''), ('x@host', '')],
    [('hidden', 'x@host')], [('max_len', 'hidden@host')],
    [('max_len', '5'), ('hidden@host', '')]])
def test_question_mark_in_a_password(pairs: Any) -> None:
    """The query of such a URL seems to start within the password."""
    with pytest.raises(ConfigurationError) as caught:
        from_query(pairs)
    assert 'hidden' not in str(caught.value)


def test_at_sign_in_an_option() -> None:
    assert from_query([('channel_prefix', 'a@b')]) == {
        'channel_prefix': 'a@b'}


def test_option_twice_in_a_query() -> None:
    with pytest.raises(ConfigurationError, match='max_len'):
        from_query([('max_len', '5'), ('read_count', '5'), ('max_len', '5')])


@pytest.mark.parametrize('name, text', [
    ('max_len', '-1'), ('block_time', 'nan'), ('block_time', 'inf'),
    ('publish', 'x'), ('stream_name', '')])
def test_values_of_a_query_that_the_options_refuse(name: str,
                                                   text: str) -> None:
    values = from_query([(name, text)])
    with pytest.raises(ConfigurationError, match=name):
        make(values)


@pytest.mark.parametrize('name, meant', [
    ('maxLen', 'max_len'), ('maxlen', 'max_len'),
    ('readCount', 'read_count'), ('heartbeatTimeout', 'heartbeat_timeout, '
                                                      'in seconds'),
    ('socketTimeout', 'socket_timeout'), ('client-name', 'client_name'),
    ('max_disconnection_duration', 'connection_state_recovery, in seconds'),
    ('maxDisconnectionDuration', 'connection_state_recovery, in seconds'),
    ('recovery', 'connection_state_recovery')])
def test_near_misses(name: str, meant: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_query([(name, '1')], ['socket_timeout', 'client_name'])
    assert str(caught.value) == \
        f'unknown option {name!r} in the URL; did you mean {meant}?'


@pytest.mark.parametrize('name', [
    'on_loss', 'write_only', 'url', 'max_missed_packets'])
def test_options_that_no_url_can_have(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_query([(name, '1')])
    assert str(caught.value) == f'unknown option {name!r} in the URL'


# -- what others are told ----------------------------------------------------

def test_described() -> None:
    found = described(Options())
    assert found['stream_count'] == 1 and found['retention'] is None
    assert type(found['publish']) is str
    assert found['connection_state_recovery'] == 0
    # A function cannot be sent; a mapping becomes a number.
    found = described(from_arguments({
        'max_len': 5, 'on_loss': print, 'connection_state_recovery': {
            'max_disconnection_duration': 7, 'accepts': print}}))
    assert found['max_len'] == 5 and found['retention'] == 14
    assert found['connection_state_recovery'] == 7
    assert 'on_loss' not in found
