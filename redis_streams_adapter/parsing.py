"""How the text of an option in a URL is read.

The rules in :mod:`redis_streams_adapter.rules` are applied to the value
afterwards.
"""
from typing import Any, Callable, Dict, NamedTuple, Union

#: The words for true and false.
WORDS = {'true': True, '1': True, 'yes': True, 'on': True,
         'false': False, '0': False, 'no': False, 'off': False}

#: What to do about a password that seems to end too early in a URL.
ENCODE = 'in a password, percent-encode : / ? # [ ] @'


class Parser(NamedTuple):
    """Reads one kind of text.

    :param read: returns the value, or raises ``ValueError``.
    :param accepts: completes "the option must be ..."; if empty, the
                    option's rule says what is accepted.
    """

    read: Callable[[str], Any]
    accepts: str = ''


def _truth(text: str) -> bool:
    if text.lower() not in WORDS:
        raise ValueError(text)
    return WORDS[text.lower()]


def _recovery(text: str) -> Union[bool, Dict[str, float]]:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    return {'max_disconnection_duration': float(text)}


TEXT = Parser(str)
INTEGER = Parser(int)
NUMBER = Parser(float)
TRUTH = Parser(_truth, ', '.join(WORDS))
#: ``1`` means yes, as everywhere; one second is ``1.0``.
RECOVERY = Parser(
    _recovery, ', '.join(WORDS) + ', or a number of seconds, the '
    'max_disconnection_duration')
