"""The places that repeat the table of options agree with it."""
import inspect
import re
import typing
from logging import Logger

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.options import Option, Options, RECOVERY, TABLE

from ..support.option_tables import Place, PLACES, ROOT

RENEW = 'run `python -m tests.support.option_tables`'

SIGNATURE = inspect.signature(RedisStreamsManager)


def ids(options: typing.Iterable[Option]) -> typing.List[str]:
    return [each.name for each in options]


def test_the_parameters() -> None:
    names = [name for name, parameter in SIGNATURE.parameters.items()
             if parameter.kind is not parameter.VAR_KEYWORD]
    assert names == ids(TABLE)
    assert len(names) == 25
    positional = [name for name, parameter in SIGNATURE.parameters.items()
                  if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert positional == ['url', 'stream_name', 'write_only', 'logger',
                          'json', 'redis_options']


@pytest.mark.parametrize('option', TABLE, ids=ids(TABLE))
def test_the_signature(option: Option) -> None:
    parameter = SIGNATURE.parameters[option.name]
    assert parameter.default == option.default
    assert type(parameter.default) is type(option.default)
    # The module of the table does not import logging.
    expected = typing.Optional[Logger] if option.name == 'logger' \
        else option.type
    assert parameter.annotation == expected


def test_the_default_that_depends_on_another_option() -> None:
    assert SIGNATURE.parameters['publish'].default is Options.publish


@pytest.mark.parametrize('place', PLACES, ids=[
    place.path for place in PLACES])
def test_what_the_table_writes(place: Place) -> None:
    assert place.text == place.expected(), RENEW


def test_the_docstring_explains_every_parameter() -> None:
    found = re.findall(r'^:param (\w+):(.*?)(?=^:)',
                       inspect.getdoc(RedisStreamsManager) or '',
                       re.MULTILINE | re.DOTALL)
    assert [name for name, _ in found] == ids(TABLE)
    for option, (_, text) in zip(TABLE, found):
        assert option.text in ' '.join(text.split())


@pytest.mark.parametrize('option', [*TABLE, *RECOVERY],
                         ids=ids([*TABLE, *RECOVERY]))
def test_the_explanations(option: Option) -> None:
    assert option.text[0].isupper() or option.text.startswith('`')
    assert option.text.endswith('.')


@pytest.mark.parametrize('option', [*TABLE, *RECOVERY],
                         ids=ids([*TABLE, *RECOVERY]))
def test_a_number_has_a_unit(option: Option) -> None:
    """An option needs a unit unless its name says what is counted."""
    if isinstance(option.default, (int, float)) \
            and not isinstance(option.default, bool) \
            and option.name != 'stream_count':
        assert option.unit


def test_the_names_in_nodejs() -> None:
    """The documentation has them in its tables, too."""
    text = (ROOT / 'docs' / 'interop.rst').read_text('utf-8')
    found = dict(re.findall(r'^``(\w+)``\s+``(\w+)``  ', text, re.MULTILINE))
    assert found
    names = {option.name: option.node for option in TABLE}
    assert found == {name: names[name] for name in found}


def test_the_defaults_of_recovery() -> None:
    """The documentation has them in an example, too."""
    text = (ROOT / 'docs' / 'recovery.rst').read_text('utf-8')
    example = text[text.index('connection_state_recovery={'):]
    found = dict(re.findall(r"^ +'(\w+)': ([\d_]+),", example, re.MULTILINE))
    assert {name: float(value) for name, value in found.items()} == {
        option.name: option.default for option in RECOVERY
        if option.default is not None}
