"""What an option's value may be: predicates, each with its text.

The text of a rule is made from the same data as its predicate, so that errors
and the documentation never name another limit than the one that is applied.
"""
from typing import Any, Callable, Mapping, NamedTuple

#: How many bits Redis' integers have, besides the sign.
INTEGER_BITS = 63


class Rule(NamedTuple):
    """What an option's value must be.

    :param text: completes "the option must be ...".
    :param allows: whether a value keeps to the rule.
    """

    text: str
    allows: Callable[[Any], bool]


def seconds(limit: int) -> Rule:
    """A length of time.

    :param limit: the longest, in seconds.
    """
    return Rule(
        f'a number of seconds above 0, {limit:,} at most',
        lambda value: isinstance(value, (int, float))
        and not isinstance(value, bool) and 0 < value <= limit)


def count(least: int) -> Rule:
    """A whole number that Redis can take.

    :param least: the lowest.
    """
    return Rule(
        f'a whole number from {least} to 2**{INTEGER_BITS} - 1',
        lambda value: isinstance(value, int) and not isinstance(value, bool)
        and least <= value < 2**INTEGER_BITS)


def one_of(*choices: str) -> Rule:
    """One of some texts."""
    # Values that cannot be compared are wrong, too, not an error.
    return Rule(' or '.join(map(repr, choices)),
                lambda value: isinstance(value, str) and value in choices)


#: The end of the text of :func:`or_none`.
OR_NONE = ', or None'


def or_none(rule: Rule) -> Rule:
    """``None``, or what another rule allows."""
    return Rule(rule.text + OR_NONE,
                lambda value: value is None or rule.allows(value))


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and value.encode() != b''
    except UnicodeEncodeError:
        return False


def has(*names: str) -> Callable[[Any], bool]:
    """Whether a value has these methods."""
    return lambda value: all(
        callable(getattr(value, name, None)) for name in names)


ANYTHING = Rule('any value', lambda value: True)
BOOL = Rule('True or False', lambda value: isinstance(value, bool))
FUNCTION = or_none(Rule('a function', callable))
MAPPING = Rule('a mapping', lambda value: isinstance(value, Mapping))
TEXT = Rule('a string that is not empty and can be encoded as UTF-8',
            _is_text)
