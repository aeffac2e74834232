"""The values that each rule allows. The text of the rule agrees."""
import math
from typing import Any

import pytest

from redis_streams_adapter import rules
from redis_streams_adapter.rules import INTEGER_BITS, Rule

SECONDS = rules.seconds(1000)
COUNT = rules.count(1)
CHOICE = rules.one_of('a', 'b')

#: Values of all kinds. No rule may raise for any of them.
VALUES = [None, True, 0, 1, -1, 1.5, math.nan, math.inf, '', 'a', b'a', [],
          {}, set(), object(), print, '\ud800']


class Unequal:
    """A value that cannot be compared. An application may pass it by
    mistake."""

    def __eq__(self, other: object) -> bool:
        raise TypeError('not to be compared')

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize('rule, allowed, refused', [
    (SECONDS, [1, 0.001, 1000], [0, -1, 1000.1, True, '1', None, math.nan,
                                 math.inf]),
    (COUNT, [1, 2**INTEGER_BITS - 1], [0, 2**INTEGER_BITS, 1.0, True, '1']),
    (rules.count(0), [0], [-1, False]),
    (CHOICE, ['a', 'b'], ['c', '', None, ['a']]),
    (rules.or_none(CHOICE), ['a', None], ['c', False]),
    (rules.BOOL, [True, False], [0, 1, None, 'True']),
    (rules.FUNCTION, [print, None, dict], ['print', 1]),
    (rules.MAPPING, [{}, {'a': 1}], [None, [], [('a', 1)]]),
    (rules.TEXT, ['a', 'ü'], ['', b'a', None, '\ud800']),
    (rules.ANYTHING, VALUES, [])])
def test_values_that_a_rule_allows(rule: Rule, allowed: Any,
                                   refused: Any) -> None:
    assert [value for value in allowed if not rule.allows(value)] == []
    assert [value for value in refused if rule.allows(value)] == []


@pytest.mark.parametrize('rule', [
    SECONDS, COUNT, CHOICE, rules.or_none(SECONDS), rules.BOOL,
    rules.FUNCTION, rules.MAPPING, rules.TEXT, rules.ANYTHING],
    ids=lambda rule: rule.text)
def test_rules_never_raise(rule: Rule) -> None:
    for value in [*VALUES, Unequal()]:
        assert rule.allows(value) in (True, False)


def test_text_names_the_limit() -> None:
    """The text is made from the same number."""
    assert '1,000' in SECONDS.text
    assert 'from 1 to 2**63 - 1' in COUNT.text
    assert CHOICE.text == "'a' or 'b'"
    assert rules.or_none(SECONDS).text == f'{SECONDS.text}, or None'


def test_has() -> None:
    check = rules.has('dumps', 'loads')
    import json
    assert check(json)
    assert not check(None)
    assert not rules.has('__file__')(json)
