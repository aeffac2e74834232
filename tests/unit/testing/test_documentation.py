"""The example in the documentation, as it is printed there."""
import inspect
import re
import textwrap
from typing import Any, Dict

import pytest

from redis_streams_adapter.testing import LocalClient, LocalCluster

from ...support.option_tables import ROOT

TEXT = (ROOT / 'docs' / 'testing.rst').read_text('utf-8')
EXAMPLE = textwrap.dedent(TEXT.partition('.. code:: python\n')[2].partition(
    '\nThe cluster\n')[0])
TESTS = re.findall(r'^def (test_\w+)', EXAMPLE, re.MULTILINE)


def test_documentation_has_example() -> None:
    assert len(TESTS) == 2


@pytest.mark.parametrize('name', TESTS)
def test_example_works(name: str) -> None:
    names: Dict[str, Any] = {}
    exec(compile(EXAMPLE, 'docs/testing.rst', 'exec'), names)
    names[name]()


def test_tables_name_existing_calls() -> None:
    cluster = LocalCluster(0)
    rows = TEXT[TEXT.index('\nThe cluster\n'):]
    of_cluster, _, of_client = rows.partition('\nThe client\n')
    for text, public in ((of_cluster, cluster), (of_client, LocalClient)):
        cells = re.findall(r'^   \* - (.*)$', text, re.MULTILINE)
        for name in re.findall(r'``(\w+)', ' '.join(cells)):
            assert hasattr(public, name), name
    explained = set(re.findall(r'\* - ``(\w+)', of_cluster))
    assert explained == {
        name for name, _ in inspect.getmembers(cluster)
        if not name.startswith('_')} - {'redis'}
