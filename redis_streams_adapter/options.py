"""The options: their defaults, their checks, and how they are written in the
query of a URL.

An option is wrong at construction or never: :func:`check` looks at all of
them, and :class:`~redis_streams_adapter.errors.ConfigurationError` names the
one that is wrong.
"""
from dataclasses import dataclass, fields, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

from .errors import ConfigurationError

#: The defaults of ``max_len``, in entries: Node's, and what leaves room for
#: a retention by time.
DEFAULT_MAX_LEN = 10_000
DEFAULT_MAX_LEN_WITH_RETENTION = 1_000_000

#: How much of the stream a recovery needs, in times of the longest
#: disconnection: what came while a client was away, and what came since its
#: session last said how far it was, see
#: :mod:`redis_streams_adapter.recovery.session_writer`.
RETENTION_FACTOR = 2

REQUEST_TRANSPORTS = ('stream', 'pubsub', 'sharded-pubsub')
PUBLISH_MODES = ('background', 'sync')


@dataclass(frozen=True)
class RecoveryOptions:
    """What ``connection_state_recovery`` takes.

    :param max_disconnection_duration: how long a client may be away, in
                                       seconds. Node's default.
    :param max_missed_packets: how many packets it may have missed.
    :param max_session_bytes: how large its session may be in Redis.
    :param accepts: called with sid, environ and auth: whether a client takes
                    part; ``None``: each does.
    """

    max_disconnection_duration: float = 120.0
    max_missed_packets: int = 10_000
    max_session_bytes: int = 65_536
    accepts: Optional[Callable[[str, Dict[str, Any], Any], Any]] = None


@dataclass(frozen=True)
class Options:
    """What ``RedisStreamsManager`` takes besides its URL; times in seconds.

    See the table in the README for the meaning of each.
    """

    stream_name: str = 'socket.io'
    stream_count: int = 1
    max_len: Optional[int] = None
    read_count: int = 100
    block_time: float = 5.0
    heartbeat_interval: float = 5.0
    heartbeat_timeout: float = 10.0
    request_transport: str = 'stream'
    channel_prefix: str = 'socket.io'
    only_plaintext: bool = False
    connection_state_recovery: Union[None, bool, Mapping[str, Any]] = None
    session_key_prefix: str = 'sio:session:'
    retention: Optional[float] = None
    outbox_limit: int = 100_000
    outbox_max_bytes: int = 64 * 2**20
    publish: str = 'background'
    min_replicas: int = 0
    on_loss: Optional[Callable[[Any], Any]] = None

    @property
    def recovery(self) -> Optional[RecoveryOptions]:
        """What is meant by ``connection_state_recovery``, where it is on."""
        value = self.connection_state_recovery
        if value is None or value is False:
            return None
        return RecoveryOptions(**({} if value is True else value))


NAMES = tuple(each.name for each in fields(Options))


def make(values: Mapping[str, Any]) -> Options:
    """Options from keyword arguments.

    :raises ConfigurationError: a name is unknown or a value is wrong.
    """
    for name in values:
        if name not in NAMES:
            raise ConfigurationError(f'unknown option {name!r}')
    options = Options(**values)
    check(options)
    recovery = options.recovery
    if recovery is not None:
        options = replace(options, retention=max(
            options.retention or 0,
            RETENTION_FACTOR * recovery.max_disconnection_duration))
    if options.max_len is None:
        options = replace(options, max_len=(
            DEFAULT_MAX_LEN if options.retention is None
            else DEFAULT_MAX_LEN_WITH_RETENTION))
    return options


def check(options: Options) -> None:
    """Check every option, and those that depend on each other.

    :raises ConfigurationError: it names the first that is wrong.
    """
    for name, rule, wanted in _RULES:
        value = getattr(options, name)
        if not rule(value):
            raise ConfigurationError(f'{name} must be {wanted}, not {value!r}')
    if options.heartbeat_timeout <= options.heartbeat_interval:
        raise ConfigurationError(
            f'heartbeat_timeout ({options.heartbeat_timeout}) must be above '
            f'heartbeat_interval ({options.heartbeat_interval})')
    _check_recovery(options.connection_state_recovery)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_time(value: Any) -> bool:
    # Milliseconds have to fit into 31 bits, for Redis and for sockets.
    return _is_number(value) and 0 < value <= 10**6


def _is_period(value: Any) -> bool:
    return _is_number(value) and 0 < value <= 10**9


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) \
        and 0 < value < 2**63


def _is_text(value: Any) -> bool:
    # What cannot be encoded cannot be a key of Redis.
    return isinstance(value, str) and bool(value) \
        and not any('\ud800' <= each <= '\udfff' for each in value)


def _one_of(*choices: str) -> Callable[[Any], bool]:
    # Not `value in choices`: what cannot be compared is wrong, not an error.
    return lambda value: isinstance(value, str) and value in choices


_TIME = 'a number of seconds above 0, a million at most'
_COUNT = 'a whole number above 0'
_TEXT = 'a text that is not empty'

_RULES: List[Tuple[str, Callable[[Any], bool], str]] = [
    ('stream_name', _is_text, _TEXT),
    ('stream_count', _is_count, _COUNT),
    ('max_len', lambda value: value is None or _is_count(value), _COUNT),
    ('read_count', _is_count, _COUNT),
    ('block_time', _is_time, _TIME),
    ('heartbeat_interval', _is_time, _TIME),
    ('heartbeat_timeout', _is_time, _TIME),
    ('request_transport', _one_of(*REQUEST_TRANSPORTS),
     ' or '.join(map(repr, REQUEST_TRANSPORTS))),
    ('channel_prefix', _is_text, _TEXT),
    ('only_plaintext', lambda value: isinstance(value, bool),
     'True or False'),
    ('session_key_prefix', _is_text, _TEXT),
    ('retention', lambda value: value is None or _is_period(value), _TIME),
    ('outbox_limit', _is_count, _COUNT),
    ('outbox_max_bytes', _is_count, _COUNT),
    ('publish', _one_of(*PUBLISH_MODES),
     ' or '.join(map(repr, PUBLISH_MODES))),
    ('min_replicas', lambda value: _is_count(value) or value == 0
     and type(value) is int, 'a whole number, 0 or above'),
    ('on_loss', lambda value: value is None or callable(value),
     'a function or None'),
]

_RECOVERY: Dict[str, Tuple[Callable[[Any], bool], str]] = {
    'max_disconnection_duration': (_is_time, _TIME),
    'max_missed_packets': (_is_count, _COUNT),
    'max_session_bytes': (_is_count, _COUNT),
    'accepts': (lambda value: value is None or callable(value),
                'a function or None'),
}


def _check_recovery(value: Any) -> None:
    name = 'connection_state_recovery'
    if value is None or isinstance(value, bool):
        return
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f'{name} must be True, False, None or a mapping, not {value!r}')
    for key, each in value.items():
        if key not in _RECOVERY:
            raise ConfigurationError(f'{name}: unknown option {key!r}')
        rule, wanted = _RECOVERY[key]
        if not rule(each):
            raise ConfigurationError(
                f'{name}: {key} must be {wanted}, not {each!r}')


# -- in the query of a URL ------------------------------------------------

def from_query(pairs: List[Tuple[str, str]]) -> Dict[str, Any]:
    """Keyword arguments from a URL's query.

    :param pairs: names and values, as :func:`urllib.parse.parse_qsl` gives
                  them.
    :raises ConfigurationError: a name is unknown, is there twice, or its
                                value is not of the option's type.
    """
    values: Dict[str, Any] = {}
    for name, text in pairs:
        if name not in _PARSERS:
            raise ConfigurationError(f'unknown option {name!r} in the URL')
        if name in values:
            raise ConfigurationError(f'{name} is in the URL twice')
        try:
            values[name] = _PARSERS[name](text)
        except ValueError as exc:
            raise ConfigurationError(
                f'{name}: {text!r} in the URL cannot be understood') from exc
    return values


def _bool(text: str) -> bool:
    try:
        return {'true': True, '1': True, 'yes': True, 'on': True,
                'false': False, '0': False, 'no': False, 'off': False}[
                    text.lower()]
    except KeyError as exc:
        raise ValueError(text) from exc


def _recovery(text: str) -> Union[bool, Dict[str, float]]:
    """``true``, ``false``, or the ``max_disconnection_duration``."""
    if text.lower() in ('true', 'false'):
        return text.lower() == 'true'
    return {'max_disconnection_duration': float(text)}


_PARSERS: Dict[str, Callable[[str], Any]] = {
    'stream_name': str, 'stream_count': int, 'max_len': int,
    'read_count': int, 'block_time': float, 'heartbeat_interval': float,
    'heartbeat_timeout': float, 'request_transport': str,
    'channel_prefix': str, 'only_plaintext': _bool,
    'connection_state_recovery': _recovery, 'session_key_prefix': str,
    'retention': float, 'outbox_limit': int, 'outbox_max_bytes': int,
    'publish': str, 'min_replicas': int,
}
