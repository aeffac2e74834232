"""From what an application gives, arguments or a URL, to :class:`Options`.

All options are checked at construction:
:class:`~redis_streams_adapter.errors.ConfigurationError` names the option and
the rule, and repeats the value unless that may be a secret.
"""
import re
from dataclasses import replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, \
    Tuple

from .errors import ConfigurationError
from .options import ARGUMENTS, DEFAULT_MAX_LEN, \
    DEFAULT_MAX_LEN_WITH_RETENTION, NAMES, Option, Options, OPTIONS, \
    RECOVERY, RETENTION_FACTOR, TABLE
from .parsing import ENCODE

#: How similar a name has to be to that of an option to be taken for it, from
#: 0 to 1: "block" and "block_time" are not, "maxlength" and "max_len" are.
CLOSE = 0.75

#: What may be meant in a URL, where ``connection_state_recovery`` is on, off,
#: or a number.
RECOVERY_IN_URL = {
    'recovery': 'connection_state_recovery',
    'max_disconnection_duration': 'connection_state_recovery, in seconds'}


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


def described(options: Options) -> Dict[str, Any]:
    """The options that others can be told of: texts, numbers and truths. Of
    recovery, the longest disconnection in seconds; 0: it is off."""
    recovery = options.recovery
    found = {each.name: getattr(options, each.name) for each in OPTIONS}
    found['connection_state_recovery'] = \
        0 if recovery is None else recovery.max_disconnection_duration
    # str(): the default of `publish` has a type of its own.
    return {name: str(value) if isinstance(value, str) else value
            for name, value in found.items()
            if value is None or isinstance(value, (str, int, float))}


def is_given(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether an argument of the constructor is not just its default."""
    default = next(each.default for each in TABLE if each.name == name)
    value = arguments.get(name, default)
    # Other types may not be comparable; and see `publish`.
    return value is not default and (
        type(value) is not type(default) or bool(value != default))


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
            raise ConfigurationError(
                f'unknown option {name!r}'
                f'{_suggestion(name, TABLE, _in_recovery())}')
    options = Options(**values)
    check(options)
    options = replace(options, connection_state_recovery=_recovery(
        options.connection_state_recovery))
    _check_recovery(options.connection_state_recovery)
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


def _recovery(value: Any) -> Any:
    """``connection_state_recovery``, with the meaning that its text has in a
    URL: the numbers 1 and 0 mean yes and no, any other is the
    ``max_disconnection_duration``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if isinstance(value, int) and value in (0, 1):
            return bool(value)
        return {'max_disconnection_duration': value}
    return value


def _check_recovery(recovery: Any) -> None:
    if isinstance(recovery, Mapping):
        prefix = 'connection_state_recovery: '
        known = {each.name: each for each in RECOVERY}
        for name, value in recovery.items():
            if name not in known:
                raise ConfigurationError(
                    f'{prefix}unknown option {name!r}'
                    f'{_suggestion(name, RECOVERY)}')
            known[name].check(value, prefix)


def _suggestion(name: Any, options: Iterable[Option],
                more: Mapping[str, str] = {}) -> str:
    """The end of the error for an unknown option: which one may be meant.

    :param options: the options that are known.
    :param more: further names, and how to say what is meant.
    """
    # Only errors need it, and it takes 0.1 MiB.
    from difflib import get_close_matches
    meant = {_bare(each): text for each, text in more.items()}
    meant.update(_names(each for each in options if each.name != name))
    close = get_close_matches(_bare(str(name)), meant, 1, CLOSE)
    return f'; did you mean {meant[close[0]]}?' if close else ''


def _names(options: Iterable[Option]) -> Dict[str, str]:
    """The names that options have here and in Node.js, as :func:`_bare`
    gives them, and what is meant."""
    found: Dict[str, str] = {}
    for option in options:
        found[_bare(option.name)] = option.name
        # In Node.js, times are in milliseconds.
        unit = ', in seconds' * (option.unit == 's')
        for word in re.findall('[a-z]+[A-Z][a-zA-Z]*', option.node):
            found[_bare(word)] = option.name + unit
    return found


def _in_recovery() -> Dict[str, str]:
    """What may be meant by names that are no arguments."""
    whole = 'connection_state_recovery'
    return {'recovery': whole, **{
        name: f'{text}, in {whole}' for name, text in _names(RECOVERY).items()
    }}


def spelling_of(name: str) -> Optional[str]:
    """The option whose name this is but for spelling conventions; ``None``:
    there is none."""
    return _names(each for each in OPTIONS if each.parse).get(_bare(name))


def _bare(name: str) -> str:
    """A name as far as spelling conventions do not change it."""
    return re.sub('[^a-z0-9]', '', name.lower())


def from_query(pairs: List[Tuple[str, str]],
               more: Iterable[str] = ()) -> Dict[str, Any]:
    """Keyword arguments from a URL's query.

    :param pairs: as from :func:`urllib.parse.parse_qsl`.
    :param more: other names that the query may have, for the text of an
                 error.
    :raises ConfigurationError: a name is unknown or repeated, or its value
                                is not of the option's type.
    """
    options = {each.name: each for each in OPTIONS if each.parse}
    meant = {**RECOVERY_IN_URL, **{each: each for each in more}}
    values: Dict[str, Any] = {}
    for name, text in pairs:
        option = options.get(name)
        if option is None and any('@' in ''.join(each) for each in pairs):
            # An unescaped question mark in a password begins the query there.
            raise ConfigurationError(
                f"url: there is an '@' in the query; {ENCODE}")
        if option is None or option.parse is None:
            raise ConfigurationError(
                f'unknown option {name!r} in the URL'
                f'{_suggestion(name, options.values(), meant)}')
        if name in values:
            raise ConfigurationError(f'{name} is in the URL twice')
        try:
            values[name] = option.parse.read(text)
        except ValueError as exc:
            raise ConfigurationError(
                option.complaint_of_text(text)) from exc
    return values
