"""The options: their defaults and the values that they refuse."""
import math
import re
from typing import Any, Dict, List

import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.errors import ConfigurationError
from redis_streams_adapter.configuration import from_arguments, make
from redis_streams_adapter.options import ARGUMENTS, DEFAULT_MAX_LEN, \
    DEFAULT_MAX_LEN_WITH_RETENTION, NAMES, Option, Options, OPTIONS, \
    RECOVERY, RecoveryOptions, TABLE

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
    'tracing': False,
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
    *((name, value) for name in ('only_plaintext', 'tracing')
      for value in (*NONSENSE, None, 0, 1)),
    *(('min_replicas', value) for value in (
        *NONSENSE, None, -1, False, True, 0.5, 2**63)),
    *(('on_loss', value) for value in ('x', 1, True)),
    *(('connection_state_recovery', value) for value in (
        'x', -1, 0.0, math.nan, 1e12, [], object(), {'unknown': 1},
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


@pytest.mark.parametrize('value', [120, 120.0])
def test_recovery_by_a_number(value: float) -> None:
    """As in a URL."""
    options = make({'connection_state_recovery': value})
    assert options.recovery == RecoveryOptions(120)
    assert options.retention == 240


@pytest.mark.parametrize('value, expected', [
    (1, RecoveryOptions()), (0, None), (1.0, RecoveryOptions(1.0))])
def test_recovery_by_one_and_zero(value: Any, expected: Any) -> None:
    assert make({'connection_state_recovery': value}).recovery == expected


@pytest.mark.parametrize('given, summary', [
    ({}, 'stream socket.io, connection state recovery off'),
    ({'connection_state_recovery': False, 'stream_count': 3},
     'stream socket.io in 3 parts, connection state recovery off'),
    ({'connection_state_recovery': {}, 'stream_name': 'x'},
     'stream x, connection state recovery on'),
    ({'connection_state_recovery': 60},
     'stream socket.io, connection state recovery on')])
def test_summary(given: Dict[str, Any], summary: str) -> None:
    assert make(given).summary == summary


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


@pytest.mark.parametrize('name, meant', [
    ('maxLen', 'max_len'), ('maxlen', 'max_len'), ('max-len', 'max_len'),
    ('max_length', 'max_len'), ('MAX_LEN', 'max_len'),
    ('streamname', 'stream_name'), ('redis_option', 'redis_options'),
    ('heartbeatInterval', 'heartbeat_interval, in seconds'),
    ('blockTimeInMs', 'block_time, in seconds'),
    ('useShardedPubSub', 'request_transport'),
    ('connection_state_recover', 'connection_state_recovery'),
    ('write_olny', 'write_only'), ('chanel', 'channel'),
    ('recovery', 'connection_state_recovery'),
    ('max_disconnection_duration', 'max_disconnection_duration, in seconds, '
                                   'in connection_state_recovery'),
    ('maxDisconnectionDuration', 'max_disconnection_duration, in seconds, '
                                 'in connection_state_recovery'),
    ('accept', 'accepts, in connection_state_recovery')])
def test_near_misses(name: str, meant: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisStreamsManager(**{name: 1})  # type: ignore[arg-type]
    assert str(caught.value) == \
        f'unknown option {name!r}; did you mean {meant}?'


@pytest.mark.parametrize('name', ['', 'x', 'no_such_option', 'block', 'host'])
def test_other_names_are_like_no_option(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisStreamsManager(**{name: 1})  # type: ignore[arg-type]
    assert str(caught.value) == f'unknown option {name!r}'


@pytest.mark.parametrize('name, meant', [
    ('maxDisconnectionDuration', 'max_disconnection_duration, in seconds'),
    ('max_missed_packet', 'max_missed_packets')])
def test_near_misses_within_recovery(name: str, meant: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make({'connection_state_recovery': {name: 1}})
    assert str(caught.value).endswith(f'did you mean {meant}?')


def test_configuration_error_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        make({'max_len': 0})
