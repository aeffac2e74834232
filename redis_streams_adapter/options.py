"""The options of ``RedisStreamsManager``, in one table.

The table has each option once, with its type, default, unit, rule, URL parser,
name in Node.js and explanation. Error texts are made from it. The
constructor's signature, its docstring and the tables of the documentation
repeat it for editors and readers; tests compare them with the table, and
``python -m tests.support.option_tables`` writes them again.
:mod:`redis_streams_adapter.configuration` makes :class:`Options` from what an
application gives.
"""
from dataclasses import dataclass, field, fields
from typing import Any, Callable, Dict, get_type_hints, Mapping, NamedTuple, \
    Optional, Tuple, Type, TYPE_CHECKING, Union

from . import parsing
from .errors import ConfigurationError
from .rules import ANYTHING, BOOL, count, FUNCTION, has, MAPPING, one_of, \
    OR_NONE, or_none, Rule, seconds, TEXT

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
PUBLISH_MODES = ('background', 'sync', 'confirmed')

#: The longest wait, in seconds: its milliseconds must fit into 31 bits, for
#: Redis and for sockets. And the longest retention, about 30 years.
LONGEST_TIME = 10**6
LONGEST_RETENTION = 10**9


# -- the table ------------------------------------------------------------

class Option(NamedTuple):
    """One row of the table.

    :param type: a type hint.
    :param text: explains the option to users; reStructuredText.
    :param unit: of numbers.
    :param shown: how the documentation shows the default, if not as its
                  ``repr`` with the unit.
    :param parse: reads the text in a URL; ``None``: the option is not
                  allowed in a URL.
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
    parse: Optional[parsing.Parser] = None
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

    def complaint_of_text(self, text: str) -> str:
        """The text of the error for a text in a URL that cannot be read."""
        parser = self.parse
        # No text means `None`.
        accepts = (parser and parser.accepts) \
            or self.rule.text.removesuffix(OR_NONE)
        # It may be the end of a password.
        given = '' if '@' in text else f', not {text!r}'
        return f'{self.name} must be {accepts}{given}, in the URL'


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
    return value is None or isinstance(value, (bool, int, float, Mapping))


class _Default(str):
    """A default that differs from the same value given by the caller."""


@dataclass(frozen=True)
class Options:
    """The options that the parts of the package work with."""

    stream_name: str = _option(
        'socket.io', TEXT,
        'Key of the stream, the same on all servers of a cluster.',
        parse=parsing.TEXT, node='streamName')
    stream_count: int = _option(
        1, count(1),
        'Number of streams. A hash of its name assigns a namespace to one of '
        'them. The same on all servers of a cluster.',
        parse=parsing.INTEGER, node='streamCount')
    max_len: Optional[int] = _option(
        None, or_none(count(1)),
        'About how many entries a stream keeps. A server that is cut off '
        'from Redis while more are added misses the oldest.',
        unit='entries', parse=parsing.INTEGER, node='maxLen',
        shown=f'{DEFAULT_MAX_LEN:,} entries; '
              f'{DEFAULT_MAX_LEN_WITH_RETENTION:,} with ``retention``')
    read_count: int = _option(
        100, count(1), 'How many entries one read returns at most.',
        unit='entries', parse=parsing.INTEGER, node='readCount')
    block_time: float = _option(
        5.0, seconds(LONGEST_TIME),
        'How long one read waits for entries.',
        unit='s', parse=parsing.NUMBER, node='blockTimeInMs')
    heartbeat_interval: float = _option(
        5.0, seconds(LONGEST_TIME),
        'A server that has sent no message for this many seconds sends a '
        'heartbeat.',
        unit='s', parse=parsing.NUMBER, node='heartbeatInterval')
    heartbeat_timeout: float = _option(
        10.0, seconds(LONGEST_TIME),
        'A server that has sent no message for this many seconds is '
        'considered gone. Must be above ``heartbeat_interval``.',
        unit='s', parse=parsing.NUMBER, node='heartbeatTimeout')
    request_transport: str = _option(
        'stream', one_of(*REQUEST_TRANSPORTS),
        "How requests travel: ``'stream'``, ``'pubsub'`` or "
        "``'sharded-pubsub'``, see ``docs/interop.rst``. Requests over "
        'PUB/SUB are lost while Redis is away, and time out.',
        parse=parsing.TEXT, node='the version, ``useShardedPubSub``')
    channel_prefix: str = _option(
        'socket.io', TEXT, 'Prefix of the names of PUB/SUB channels.',
        parse=parsing.TEXT, node='channelPrefix')
    only_plaintext: bool = _option(
        False, BOOL, 'Refuse ``bytes``, so that every entry is JSON.',
        parse=parsing.TRUTH, node='onlyPlaintext')
    connection_state_recovery: Union[
            None, bool, float, Mapping[str, Any]] = _option(
        None, Rule('True, False, None, a number of seconds or a mapping',
                   _is_recovery),
        'Give clients that reconnect their state and the events that they '
        'missed: ``True``; a number, the ``max_disconnection_duration`` in '
        'seconds; or a mapping with '
        + ', '.join(f'``{each.name}``' for each in RECOVERY)
        + ', see ``docs/recovery.rst``. With it, events to local clients, '
        'too, wait while Redis is away.',
        parse=parsing.RECOVERY,
        node="the server's ``connectionStateRecovery``")
    session_key_prefix: str = _option(
        'sio:session:', TEXT,
        'Prefix of the keys of the sessions that recovery stores.',
        parse=parsing.TEXT, node='sessionKeyPrefix')
    retention: Optional[float] = _option(
        None, or_none(seconds(LONGEST_RETENTION)),
        'For how many seconds entries are kept at least, up to ``max_len`` '
        f'of them. With recovery, at least {RETENTION_FACTOR} times '
        '``max_disconnection_duration``.',
        unit='s', parse=parsing.NUMBER)
    outbox_limit: int = _option(
        100_000, count(1),
        'How many events may wait for Redis. Above that ``emit`` raises '
        '``OutboxFullError``.',
        unit='events', parse=parsing.INTEGER)
    outbox_max_bytes: int = _option(
        64 * 2**20, count(1),
        'How much memory the events that wait for Redis may take. Above that '
        '``emit`` raises ``OutboxFullError``, or ``EventTooLargeError`` for '
        'an event that alone takes more.',
        unit='bytes', parse=parsing.INTEGER, shown='64 MiB')
    publish: str = _option(
        _Default('background'), one_of(*PUBLISH_MODES),
        "``'background'``: ``emit`` returns when the event is in the outbox. "
        "``'sync'``: ``emit`` returns when Redis has stored the event, or, "
        'while Redis is away, when it is in the outbox. '
        "``'confirmed'``: the same, but ``emit`` raises ``NotStoredError`` "
        'if Redis has not stored the event.',
        parse=parsing.TEXT,
        shown="``'background'`` in a member of the cluster, "
              "``'sync'`` in any other process")
    min_replicas: int = _option(
        0, count(0),
        'How many replicas must have an event before it counts as stored. '
        'While fewer have it, events wait in the outbox.',
        unit='replicas', parse=parsing.INTEGER)
    on_loss: Optional[Callable[[Any], Any]] = _option(
        None, FUNCTION,
        'Called with a ``redis_streams_adapter.losses.Loss`` for every loss '
        'that was detected, in a task of its own, so that the application '
        'can ask its clients to reload.')
    tracing: bool = _option(
        False, BOOL,
        'Make spans of OpenTelemetry for events, see ``docs/tracing.rst``. '
        'Needs the extra ``otel``.',
        parse=parsing.TRUTH)

    @property
    def recovery(self) -> Optional[RecoveryOptions]:
        """The options of recovery; ``None`` if it is off."""
        value = self.connection_state_recovery
        if value is None or value is False:
            return None
        # A number has become a mapping, see `configuration.make`.
        return RecoveryOptions(**(
            value if isinstance(value, Mapping) else {}))

    @property
    def summary(self) -> str:
        """The options that servers of one cluster share, for the log."""
        count = '' if self.stream_count == 1 else \
            f' in {self.stream_count} parts'
        state = 'off' if self.connection_state_recovery in (None, False) \
            else 'on'
        return f'stream {self.stream_name}{count}, ' \
            f'connection state recovery {state}'


OPTIONS = _rows(Options)
NAMES = tuple(each.name for each in OPTIONS)

#: The constructor's arguments that are not fields of :class:`Options`.
ARGUMENTS = (
    Option('url', Any, 'redis://localhost:6379/0', ANYTHING,
           'Where Redis is: ``redis``, ``rediss``, ``unix``, '
           '``redis+sentinel`` (as in python-socketio), ``redis+cluster``, '
           'the same with ``rediss`` and ``valkey``; or a client object of '
           'redis-py or valkey-py, whose settings are used but not its '
           'connections. Redis may be away at construction.',
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
