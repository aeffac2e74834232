"""The state of one server, as it travels in an answer to FETCH_SOCKETS. Pure.

A server in Python that is asked for ``stats`` answers with a mapping of these
keys. One that it does not know, or has no room for, is missing.

==============  ============================================================
``host``        the name of its host
``pid``         the id of its process
``version``     the version of this package
``uptime``      for how many seconds it has been in the cluster
``clients``     how many clients it has, in all namespaces
``rooms``       how many rooms its clients are in, without their sids
``namespaces``  the namespaces that it serves, :data:`MAX_NAMESPACES` at most
``memory``      its resident memory in bytes
``stats``       ``stats()`` of its manager
``health``      ``health()`` of its manager
``cpu_seconds`` for how many seconds its process has used a processor
``latencies``   ``latencies()`` of its manager
``options``     its options, those that are texts, numbers or truths
==============  ============================================================

A key that is not known here is skipped: a newer version has sent it.
"""
from typing import Any, Callable, Dict, Mapping, Optional

from ..errors import DecodeError

#: How many namespaces a server names at most. With more, the answer would take
#: the reader more time than it may hold other tasks up.
MAX_NAMESPACES = 1000

#: The longest text in an answer, in characters.
MAX_TEXT = 1024

#: How many figures, and how many keys of ``health``, are accepted.
MAX_KEYS = 256

#: The largest number that is accepted: what 64 bits can hold.
MAX_NUMBER = 2**64


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_NUMBER


def _is_number(value: Any) -> bool:
    # A comparison that NaN does not pass either.
    return type(value) in (int, float) and -MAX_NUMBER <= value <= MAX_NUMBER


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_NAMESPACES \
        and all(map(_is_text, value))


def _has_few_keys(value: Any) -> bool:
    return isinstance(value, dict) and len(value) <= MAX_KEYS \
        and all(map(_is_text, value))


def _are_figures(value: Any) -> bool:
    return _has_few_keys(value) and all(map(_is_number, value.values()))


def _are_latencies(value: Any) -> bool:
    return _has_few_keys(value) and all(map(_are_figures, value.values()))


def _are_options(value: Any) -> bool:
    return _has_few_keys(value) and all(
        each is None or isinstance(each, bool) or _is_text(each)
        or _is_number(each) for each in value.values())


#: What each value has to be.
RULES: Dict[str, Callable[[Any], bool]] = {
    'host': _is_text, 'pid': _is_count, 'version': _is_text,
    'uptime': _is_number, 'clients': _is_count, 'rooms': _is_count,
    'namespaces': _are_names, 'memory': _is_count,
    'stats': _are_figures, 'health': _has_few_keys,
    'cpu_seconds': _is_number, 'latencies': _are_latencies,
    'options': _are_options,
}


def read_stats(value: Any) -> Optional[Mapping[str, Any]]:
    """Read what a server says of itself.

    :return: the keys that are known here, as far as there is a value;
             ``None``: it says nothing.
    :raises DecodeError: it is not what it should be.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise DecodeError('stats is of the wrong type')
    found = {}
    for name, is_right in RULES.items():
        each = value.get(name)
        if each is None:
            continue
        if not is_right(each):
            raise DecodeError(f'stats.{name} is of the wrong type')
        found[name] = each
    return found
