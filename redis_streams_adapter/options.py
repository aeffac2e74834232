"""The options of ``RedisStreamsManager``, in one table.

The table has each option once, with its type, default, unit, rule, URL parser,
name in Node.js and explanation. Error texts are made from it. The
constructor's signature, its docstring and the tables of the documentation
repeat it for editors and readers; tests compare them with the table, and
``python -m tests.support.option_tables`` writes them again.

All options are checked at construction:
:class:`~redis_streams_adapter.errors.ConfigurationError` names the option and
the rule, and repeats the value unless that may be a secret.
"""
from dataclasses import dataclass, field, fields, replace
from typing import Any, Callable, Dict, get_type_hints, List, Mapping, \
    NamedTuple, Optional, Tuple, Type, TYPE_CHECKING, Union

from .errors import ConfigurationError
from .rules import ANYTHING, BOOL, count, FUNCTION, has, MAPPING, one_of, \
    or_none, Rule, seconds, TEXT

if TYPE_CHECKING:
    # The core imports no logging.
    from logging import Logger

#: The defaults of ``max_len``, in entries: that of Node.js, and one that
#: leaves room for a retention by time.
DEFAULT_MAX_LEN = 10_000
DEFAULT_MAX_LEN_WITH_RETENTION = 1_000_000

#: How much of the stream recovery needs, as a multiple of the longest
#: disconnection: the entries that were added while a client was away, and
#: those that were added since its session last said how far the client had
#: come, see :mod:`redis_streams_adapter.recovery.session_writer`.
RETENTION_FACTOR = 2

REQUEST_TRANSPORTS = ('stream', 'pubsub', 'sharded-pubsub')
PUBLISH_MODES = ('background', 'sync')

#: The longest wait, in seconds: its milliseconds must fit into 31 bits, for
#: Redis and for sockets. And the longest retention, about 30 years.
LONGEST_TIME = 10**6
LONGEST_RETENTION = 10**9


# -- URL parsers ----------------------------------------------------------

#: The words for true and false in a URL.
_WORDS = {'true': True, '1': True, 'yes': True, 'on': True,
          'false': False, '0': False, 'no': False, 'off': False}


def _parse_bool(text: str) -> bool:
    if text.lower() not in _WORDS:
        raise ValueError(text)
    return _WORDS[text.lower()]


def _parse_recovery(text: str) -> Union[bool, Dict[str, float]]:
    """``true``, ``false``, or the ``max_disconnection_duration``."""
    if text.lower() in ('true', 'false'):
        return text.lower() == 'true'
    return {'max_disconnection_duration': float(text)}


# -- the table ------------------------------------------------------------

class Option(NamedTuple):
    """One row of the table.

    :param type: a type hint.
    :param text: explains the option to users; reStructuredText.
    :param unit: of numbers.
    :param shown: how the documentation shows the default, if not as its
                  ``repr`` with the unit.
    :param parse: makes a value from the text in a URL, or raises
                  ``ValueError``; ``None``: the option is not allowed in a
                  URL.
    :param node: the name in ``@socket.io/redis-streams-adapter``.
    :param secret: the value may be a secret, and errors do not repeat it.
    """

    name: str
    type: Any
    default: Any
    rule: Rule
    text: str
    unit: str = ''
    shown: str = ''
    parse: Optional[Callable[[str], Any]] = None
    node: str = ''
    secret: bool = False

    def check(self, value: Any, prefix: str = '') -> None:
        """Apply the rule to a value.

        :param prefix: put before the error's text.
        :raises ConfigurationError: the value breaks the rule.
        """
        if not self.rule.allows(value):
            raise ConfigurationError(prefix + self.complaint(value))

    def complaint(self, value: Any) -> str:
        """The text of the error for a value that breaks the rule."""
        given = f'a {type(value).__name__}' if self.secret else repr(value)
        return f'{self.name} must be {self.rule.text}, not {given}'


def _option(default: Any, rule: Rule, text: str, **more: Any) -> Any:
    """A field of the classes below, which becomes an :class:`Option`."""
    return field(default=default,
                 metadata={'rule': rule, 'text': text, **more})


def _rows(cls: Type[Any]) -> Tuple[Option, ...]:
    hints = get_type_hints(cls)
    return tuple(Option(each.name, hints[each.name], each.default,
                        **each.metadata) for each in fields(cls))


@dataclass(frozen=True)
class RecoveryOptions:
    """The options within ``connection_state_recovery``."""

    max_disconnection_duration: float = _option(
        120.0, seconds(LONGEST_TIME),
        'How long a client may be away and still be recovered.',
        unit='s', node='maxDisconnectionDuration')
    max_missed_packets: int = _option(
        10_000, count(1),
        'How many packets a client may have missed and still be recovered.',
        unit='packets')
    max_session_bytes: int = _option(
        65_536, count(1), 'How large one session may be in Redis.',
        unit='bytes')
    accepts: Optional[Callable[[str, Dict[str, Any], Any], Any]] = _option(
        None, FUNCTION,
        'Called with ``sid``, ``environ`` and ``auth`` at each connection: '
        'returns whether the client takes part. Without it, all do.')


RECOVERY = _rows(RecoveryOptions)


def _is_recovery(value: Any) -> bool:
    # The options in the mapping have their own rules, see `check`.
    return value is None or isinstance(value, (bool, Mapping))


class _Default(str):
    """A default that differs from the same value given by the caller."""


@dataclass(frozen=True)
class Options:
    """The options that the parts of the package work with."""

    stream_name: str = _option(
        'socket.io', TEXT,
        'Key of the stream, the same on all servers of a cluster.',
        parse=str, node='streamName')
    stream_count: int = _option(
        1, count(1),
        'Number of streams. A hash of its name assigns a namespace to one of '
        'them. The same on all servers of a cluster.',
        parse=int, node='streamCount')
    max_len: Optional[int] = _option(
        None, or_none(count(1)),
        'About how many entries a stream keeps. A server that is cut off '
        'from Redis while more are added misses the oldest.',
        unit='entries', parse=int, node='maxLen',
        shown=f'{DEFAULT_MAX_LEN:,} entries; '
              f'{DEFAULT_MAX_LEN_WITH_RETENTION:,} with ``retention``')
    read_count: int = _option(
        100, count(1), 'How many entries one read returns at most.',
        unit='entries', parse=int, node='readCount')
    block_time: float = _option(
        5.0, seconds(LONGEST_TIME),
        'How long one read waits for entries.',
        unit='s', parse=float, node='blockTimeInMs')
    heartbeat_interval: float = _option(
        5.0, seconds(LONGEST_TIME),
        'A server that has sent no message for this many seconds sends a '
        'heartbeat.',
        unit='s', parse=float, node='heartbeatInterval')
    heartbeat_timeout: float = _option(
        10.0, seconds(LONGEST_TIME),
        'A server that has sent no message for this many seconds is '
        'considered gone. Must be above ``heartbeat_interval``.',
        unit='s', parse=float, node='heartbeatTimeout')
    request_transport: str = _option(
        'stream', one_of(*REQUEST_TRANSPORTS),
        "How requests travel: ``'stream'``, ``'pubsub'`` or "
        "``'sharded-pubsub'``, see ``docs/interop.rst``. Requests over "
        'PUB/SUB are lost while Redis is away, and time out.',
        parse=str, node='the version, ``useShardedPubSub``')
    channel_prefix: str = _option(
        'socket.io', TEXT, 'Prefix of the names of PUB/SUB channels.',
        parse=str, node='channelPrefix')
    only_plaintext: bool = _option(
        False, BOOL, 'Refuse ``bytes``, so that every entry is JSON.',
        parse=_parse_bool, node='onlyPlaintext')
    connection_state_recovery: Union[None, bool, Mapping[str, Any]] = _option(
        None, Rule('True, False, None or a mapping', _is_recovery),
        'Give clients that reconnect their state and the events that they '
        'missed: ``True``, or a mapping with '
        + ', '.join(f'``{each.name}``' for each in RECOVERY)
        + ', see ``docs/recovery.rst``. With it, events to local clients, '
        'too, wait while Redis is away.',
        parse=_parse_recovery, node="the server's "
                                    '``connectionStateRecovery``')
    session_key_prefix: str = _option(
        'sio:session:', TEXT,
        'Prefix of the keys of the sessions that recovery stores.',
        parse=str, node='sessionKeyPrefix')
    retention: Optional[float] = _option(
        None, or_none(seconds(LONGEST_RETENTION)),
        'For how many seconds entries are kept at least, up to ``max_len`` '
        f'of them. With recovery, at least {RETENTION_FACTOR} times '
        '``max_disconnection_duration``.',
        unit='s', parse=float)
    outbox_limit: int = _option(
        100_000, count(1),
        'How many events may wait for Redis. Above that ``emit`` raises '
        '``OutboxFullError``.',
        unit='events', parse=int)
    outbox_max_bytes: int = _option(
        64 * 2**20, count(1),
        'How much memory the events that wait for Redis may take. Above that '
        '``emit`` raises ``OutboxFullError``.',
        unit='bytes', parse=int, shown='64 MiB')
    publish: str = _option(
        _Default('background'), one_of(*PUBLISH_MODES),
        "``'background'``: ``emit`` returns when the event is in the outbox. "
        "``'sync'``: ``emit`` returns when Redis has stored the event, or, "
        'while Redis is away, when it is in the outbox.',
        parse=str, shown="``'background'``; ``'sync'`` with ``write_only``")
    min_replicas: int = _option(
        0, count(0),
        'How many replicas must have an event before it counts as stored. '
        'While fewer have it, events wait in the outbox.',
        unit='replicas', parse=int)
    on_loss: Optional[Callable[[Any], Any]] = _option(
        None, FUNCTION,
        'Called with a ``redis_streams_adapter.losses.Loss`` for every loss '
        'that was detected, in a task of its own, so that the application '
        'can ask its clients to reload.')

    @property
    def recovery(self) -> Optional[RecoveryOptions]:
        """The options of recovery; ``None`` if it is off."""
        value = self.connection_state_recovery
        if value is None or value is False:
            return None
        return RecoveryOptions(**({} if value is True else value))


OPTIONS = _rows(Options)
NAMES = tuple(each.name for each in OPTIONS)

#: The constructor's arguments that are not fields of :class:`Options`.
ARGUMENTS = (
    Option('url', Any, 'redis://localhost:6379/0', ANYTHING,
           'Where Redis is: ``redis``, ``rediss``, ``unix``, '
           '``redis+sentinel`` (as in python-socketio), ``redis+cluster`` or '
           '``rediss+cluster``, the same with ``valkey``; or a client object '
           'of redis-py, whose settings are used but not its connections. '
           'Redis may be away at construction.',
           node='the client', secret=True),
    Option('write_only', bool, False, BOOL,
           'Only emit. For a process without clients, which then does not '
           'count as a server.'),
    Option('logger', Optional['Logger'], None,
           or_none(Rule('a logger', has('info', 'warning', 'error'))),
           "The logger to use. Without it the server's, if that shows "
           "warnings, else ``logging.getLogger('redis_streams_adapter')``.",
           shown="the server's"),
    Option('json', Any, None,
           or_none(Rule('a module with dumps() and loads()',
                        has('dumps', 'loads'))),
           'The JSON module to serialise with.', shown="the server's"),
    Option('redis_options', Optional[Dict[str, Any]], None,
           or_none(MAPPING),
           'Arguments for the connections, as redis-py takes them. '
           '``socket_timeout`` (5 s) is how long a frozen Redis goes '
           'unnoticed.', node='of the client', secret=True),
    Option('channel', Optional[str], None, or_none(TEXT),
           'Another name for ``stream_name``. Give one of them.'),
)

#: All parameters of the constructor, in its order.
TABLE: Tuple[Option, ...] = (
    ARGUMENTS[0], OPTIONS[0], *ARGUMENTS[1:5], *OPTIONS[1:], ARGUMENTS[5])


# -- from arguments -------------------------------------------------------

def from_arguments(arguments: Mapping[str, Any]) -> Options:
    """Options from the arguments of the constructor.

    :raises ConfigurationError: a name is unknown, a value is wrong, or the
                                stream has two names.
    """
    values = dict(arguments)
    for option in ARGUMENTS:
        option.check(values.get(option.name, option.default))
        values.pop(option.name, None)
    channel = arguments.get('channel')
    if channel is not None:
        given = values.get('stream_name', Options.stream_name)
        values['stream_name'] = one_name(
            None if given == Options.stream_name else given, channel)
    if arguments.get('write_only') \
            and values.get('publish', Options.publish) is Options.publish:
        values['publish'] = 'sync'
    return make(values)


def one_name(stream_name: Optional[str], channel: Optional[str]) -> Any:
    """The stream's name, which two options can set; ``None`` if neither does.

    :raises ConfigurationError: both are set.
    """
    if stream_name is None or channel is None:
        return channel if stream_name is None else stream_name
    raise ConfigurationError(
        f'stream_name ({stream_name!r}) and channel ({channel!r}) are the '
        f'same option: give only one')


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
    """Check every option, and options that depend on each other.

    :raises ConfigurationError: an option is wrong; the first is named.
    """
    for option in OPTIONS:
        option.check(getattr(options, option.name))
    if options.heartbeat_timeout <= options.heartbeat_interval:
        raise ConfigurationError(
            f'heartbeat_timeout ({options.heartbeat_timeout}) must be above '
            f'heartbeat_interval ({options.heartbeat_interval})')
    recovery = options.connection_state_recovery
    if isinstance(recovery, Mapping):
        prefix = 'connection_state_recovery: '
        known = {each.name: each for each in RECOVERY}
        for name, value in recovery.items():
            if name not in known:
                raise ConfigurationError(f'{prefix}unknown option {name!r}')
            known[name].check(value, prefix)


def from_query(pairs: List[Tuple[str, str]]) -> Dict[str, Any]:
    """Keyword arguments from a URL's query.

    :param pairs: as from :func:`urllib.parse.parse_qsl`.
    :raises ConfigurationError: a name is unknown or repeated, or its value
                                is not of the option's type.
    """
    options = {each.name: each for each in OPTIONS if each.parse}
    values: Dict[str, Any] = {}
    for name, text in pairs:
        option = options.get(name)
        if option is None and any('@' in ''.join(each) for each in pairs):
            # An unescaped question mark in a password begins the query there.
            raise ConfigurationError(
                "url: there is an '@' in the query; if it ends a password, "
                "write each '?' of the password as %3F")
        if option is None or option.parse is None:
            raise ConfigurationError(f'unknown option {name!r} in the URL')
        if name in values:
            raise ConfigurationError(f'{name} is in the URL twice')
        try:
            values[name] = option.parse(text)
        except ValueError as exc:
            hidden = option._replace(secret='@' in text)
            raise ConfigurationError(
                f'{hidden.complaint(text)}, in the URL') from exc
    return values
