"""Runs the tests of the queue for gevent, in a process of their own."""
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from ...conftest import skip_or_fail

SUPPORT = Path(__file__).parents[2] / 'support'


@pytest.mark.parametrize('cases', ['gevent_queue_cases.py',
                                   'gevent_thread_cases.py'])
def test_with_gevent(cases: str) -> None:
    if importlib.util.find_spec('gevent') is None:
        skip_or_fail('gevent is not installed')
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider',
         str(SUPPORT / cases)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
