"""The options: their defaults and the values that they refuse."""
import math
import re
from typing import Any, Dict, List

import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.errors import ConfigurationError
from redis_streams_adapter.options import ARGUMENTS, DEFAULT_MAX_LEN, \
    DEFAULT_MAX_LEN_WITH_RETENTION, from_arguments, from_query, make, NAMES, \
    Option, Options, OPTIONS, RECOVERY, RecoveryOptions, TABLE

#: A second copy, so that no default changes by accident.
DEFAULTS: Dict[str, Any] = {
    'stream_name': 'socket.io', 'stream_count': 1, 'max_len': None,
    'read_count': 100, 'block_time': 5.0, 'heartbeat_interval': 5.0,
    'heartbeat_timeout': 10.0, 'request_transport': 'stream',
    'channel_prefix': 'socket.io', 'only_plaintext': False,
    'connection_state_recovery': None,
    'session_key_prefix': 'sio:session:', 'retention': None,
    'outbox_limit': 100_000, 'outbox_max_bytes': 64 * 1024 * 1024,
    'publish': 'background', 'min_replicas': 0, 'on_loss': None,
}

TEXTS = ('stream_name', 'channel_prefix', 'session_key_prefix')
COUNTS = ('stream_count', 'max_len', 'read_count', 'outbox_limit',
          'outbox_max_bytes')
TIMES = ('block_time', 'heartbeat_interval', 'heartbeat_timeout',
         'retention')
CHOICES = ('request_transport', 'publish')

#: Invalid values of any option that is not a string.
NONSENSE: List[Any] = ['', 'x', b'x', [], {}, object(), 1j]


class Incomparable:
    """A value that cannot be compared, like the arrays of some libraries."""

    def __eq__(self, other: object) -> Any:
        raise ValueError('ambiguous')

    __hash__ = None  # type: ignore[assignment]


#: An option and a value that it must refuse.
WRONG = [
    *((name, value) for name in TEXTS for value in (
        '', b'x', None, 5, ['x'], 'x\ud800')),
    *((name, value) for name in COUNTS for value in (
        *NONSENSE, 0, -1, 1.0, True, 2**63, math.nan)),
    *((name, value) for name in TIMES for value in (
        *NONSENSE, 0, -1, 0.0, -0.5, True, math.nan, math.inf, 1e12, 10**400)),
    # In milliseconds this is too large for poll(), which takes a C int.
    ('block_time', 2**31 / 1000),
    *((name, None) for name in COUNTS + TIMES
      if name not in ('max_len', 'retention')),
    *((name, value) for name in CHOICES for value in (
        *NONSENSE, None, True, 'STREAM', Incomparable())),
    *(('only_plaintext', value) for value in (*NONSENSE, None, 0, 1)),
    *(('min_replicas', value) for value in (
        *NONSENSE, None, -1, False, True, 0.5, 2**63)),
    *(('on_loss', value) for value in ('x', 1, True)),
    *(('connection_state_recovery', value) for value in (
        'x', 1, [], object(), {'unknown': 1},
        {'max_disconnection_duration': 0}, {'max_missed_packets': 1.5},
        {'max_session_bytes': -1}, {'accepts': True})),
]


def test_defaults() -> None:
    options = Options()
    assert {name: getattr(options, name) for name in NAMES} == DEFAULTS


def test_max_len() -> None:
    assert make({}).max_len == DEFAULT_MAX_LEN == 10_000
    assert DEFAULT_MAX_LEN_WITH_RETENTION == 1_000_000
    assert make({'max_len': 5}).max_len == 5


@pytest.mark.parametrize('name, value', WRONG)
def test_wrong_values(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        make({name: value})


@pytest.mark.parametrize('name', NAMES)
def test_every_option_refuses_something(name: str) -> None:
    assert name in {wrong for wrong, _ in WRONG}


@pytest.mark.parametrize('name, value', [
    ('stream_name', 'x'), ('max_len', 1), ('read_count', 1),
    ('block_time', 1), ('block_time', 0.001), ('heartbeat_interval', 9.9),
    ('heartbeat_timeout', 5.5), ('only_plaintext', True),
    ('outbox_limit', 1), ('outbox_max_bytes', 1), ('publish', 'sync'),
    ('channel_prefix', 'x'), ('session_key_prefix', 'x'),
    ('connection_state_recovery', False), ('min_replicas', 0)])
def test_right_values(name: str, value: Any) -> None:
    assert getattr(make({name: value}), name) == value


# -- rules -----------------------------------------------------------------

#: The phrases by which a rule names the largest value that it allows.
LIMITS = [(re.compile(r'([\d,]+) at most'), lambda found: int(
              found.group(1).replace(',', ''))),
          (re.compile(r'2\*\*(\d+) - 1'), lambda found: 2**int(
              found.group(1)) - 1)]


def names_of(options: Any) -> List[str]:
    return [each.name for each in options]


def limit_of(option: Option) -> Any:
    found = [read(pattern.search(option.rule.text))
             for pattern, read in LIMITS if pattern.search(option.rule.text)]
    return found[0] if found else None


LIMITED = [option for option in (*OPTIONS, *RECOVERY) if limit_of(option)]


def test_options_with_limits() -> None:
    assert set(names_of(LIMITED)) == {
        *COUNTS, *TIMES, 'min_replicas', 'max_disconnection_duration',
        'max_missed_packets', 'max_session_bytes'}


@pytest.mark.parametrize('option', LIMITED, ids=names_of(LIMITED))
def test_text_of_a_rule_names_its_limit(option: Option) -> None:
    limit = limit_of(option)
    option.check(limit)
    option.check(limit - 1)
    with pytest.raises(ConfigurationError) as caught:
        option.check(limit + 1)
    assert option.rule.text in str(caught.value)
    assert repr(limit + 1) in str(caught.value)


ANY_VALUE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(),
    st.binary(), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just(len), st.complex_numbers())


@given(st.sampled_from((*TABLE, *RECOVERY)), ANY_VALUE)
def test_any_value_is_allowed_or_refused(option: Option, value: Any) -> None:
    try:
        option.check(value)
    except ConfigurationError as exc:
        text = f'{option.name} must be {option.rule.text}, not '
        assert str(exc).startswith(text)
        assert option.secret or str(exc) == text + repr(value)


@given(st.sampled_from(OPTIONS), ANY_VALUE)
def test_constructor_applies_the_rules(option: Option, value: Any) -> None:
    """The mapping of recovery and pairs of options have further rules."""
    if option.rule.allows(value) or option.name == 'retention':
        return
    with pytest.raises(ConfigurationError) as caught:
        make({option.name: value})
    assert str(caught.value) == option.complaint(value)


@pytest.mark.parametrize('option', [*TABLE, *RECOVERY],
                         ids=names_of([*TABLE, *RECOVERY]))
def test_defaults_follow_the_rules(option: Option) -> None:
    option.check(option.default)


# -- the constructor's arguments -------------------------------------------

WRONG_ARGUMENTS = [
    *(('write_only', value) for value in (None, 0, 1, 'false')),
    *(('logger', value) for value in (True, 'x', object())),
    *(('json', value) for value in (True, 'x', object())),
    *(('redis_options', value) for value in ([], 'x', 5, ())),
    *(('channel', value) for value in ('', 5, b'x', 'x\ud800')),
]


@pytest.mark.parametrize('name, value', WRONG_ARGUMENTS)
def test_wrong_arguments(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f'^{name} must be '):
        RedisStreamsManager(**{name: value})


def test_every_argument_but_the_url_refuses_something() -> None:
    # The driver checks the URL.
    assert {name for name, _ in WRONG_ARGUMENTS} == set(
        names_of(ARGUMENTS)) - {'url'}


def test_error_does_not_repeat_secrets() -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisStreamsManager(
            redis_options=[('password', 'hidden')])  # type: ignore
    assert str(caught.value) == \
        'redis_options must be a mapping, or None, not a list'


def test_publish_of_an_emitter() -> None:
    assert from_arguments({}).publish == 'background'
    assert from_arguments({'write_only': True}).publish == 'sync'
    assert from_arguments({'write_only': True, 'publish': 'background'}
                          ).publish == 'background'


def test_two_names_of_the_stream() -> None:
    assert from_arguments({'channel': 'x'}).stream_name == 'x'
    assert from_arguments({'channel': 'x', 'stream_name': 'socket.io'}
                          ).stream_name == 'x'
    with pytest.raises(ConfigurationError) as caught:
        from_arguments({'channel': 'x', 'stream_name': 'y'})
    assert {'stream_name', 'channel', "'x'", "'y'"} <= set(
        re.findall(r"'?\w+'?", str(caught.value)))


# -- options that depend on each other -------------------------------------

@pytest.mark.parametrize('interval, timeout', [
    (10, 10), (10.0, 10), (10.5, 10.0), (20, 10)])
def test_timeout_exceeds_the_interval(interval: float, timeout: float) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make({'heartbeat_interval': interval, 'heartbeat_timeout': timeout})
    assert 'heartbeat_timeout' in str(caught.value)
    assert 'heartbeat_interval' in str(caught.value)


@pytest.mark.parametrize('value', [None, False])
def test_recovery_is_off(value: Any) -> None:
    options = make({'connection_state_recovery': value})
    assert options.recovery is None
    assert (options.retention, options.max_len) == (None, 10_000)


@pytest.mark.parametrize('value', [True, {}])
def test_recovery_by_default(value: Any) -> None:
    options = make({'connection_state_recovery': value})
    assert options.recovery == RecoveryOptions(120, 10_000, 65_536, None)
    assert options.max_len == 1_000_000


def test_recovery_with_given_options() -> None:
    given = {'max_disconnection_duration': 60, 'max_missed_packets': 5,
             'max_session_bytes': 6, 'accepts': callable}
    options = make({'connection_state_recovery': given})
    assert options.recovery == RecoveryOptions(60, 5, 6, callable)


@pytest.mark.parametrize('given, kept', [
    (None, 120), (60, 120), (120, 120), (500, 500)])
def test_recovery_needs_history(given: Any, kept: float) -> None:
    options = make({
        'retention': given,
        'connection_state_recovery': {'max_disconnection_duration': 60}})
    assert options.retention == kept


def test_unknown_options() -> None:
    for name in ('maxlen', 'url', 'write_only', 'channel', ''):
        with pytest.raises(ConfigurationError, match=repr(name)):
            make({name: 1})


def test_configuration_error_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        make({'max_len': 0})


# -- in a URL --------------------------------------------------------------

def test_query() -> None:
    texts = {
        'stream_name': 'x', 'stream_count': '3', 'max_len': '50',
        'read_count': '5', 'block_time': '1.5', 'heartbeat_interval': '2',
        'heartbeat_timeout': '2.5', 'request_transport': 'pubsub',
        'channel_prefix': 'y', 'only_plaintext': 'true',
        'connection_state_recovery': 'true', 'session_key_prefix': 'z',
        'retention': '60', 'outbox_limit': '7', 'outbox_max_bytes': '8',
        'publish': 'sync', 'min_replicas': '1'}
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
        'only_plaintext': bool, 'connection_state_recovery': bool}
    assert values == {
        'stream_name': 'x', 'stream_count': 3, 'max_len': 50,
        'read_count': 5, 'block_time': 1.5, 'heartbeat_interval': 2.0,
        'heartbeat_timeout': 2.5, 'request_transport': 'pubsub',
        'channel_prefix': 'y', 'only_plaintext': True,
        'connection_state_recovery': True, 'session_key_prefix': 'z',
        'retention': 60.0, 'outbox_limit': 7, 'outbox_max_bytes': 8,
        'publish': 'sync', 'min_replicas': 1}
    assert from_query([]) == {}


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


@pytest.mark.parametrize('name, text', [
    ('max_len', 'x'), ('max_len', ''), ('max_len', '1.5'),
    ('block_time', 'x'), ('block_time', ''), ('only_plaintext', 'x'),
    ('only_plaintext', ''), ('connection_state_recovery', 'x'),
    ('unknown', '1'), ('on_loss', 'print'), ('url', 'x'),
    ('write_only', '1'), ('', 'x')])
def test_wrong_queries(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_query([(name, text)])
    assert name in str(caught.value)
    assert isinstance(caught.value.__cause__, (ValueError, type(None)))
    if caught.value.__cause__ is not None:
        option, = (each for each in OPTIONS if each.name == name)
        assert str(caught.value) == \
            f'{name} must be {option.rule.text}, not {text!r}, in the URL'


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
