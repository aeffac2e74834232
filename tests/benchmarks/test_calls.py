"""How many function calls a message takes: what no busy machine changes.

The figures differ by the versions of Python and of the packages that are
called, so the limits are those of one environment, "benchmarks" in tox.ini.
"""
import platform
from importlib import metadata
from typing import Any, Dict

import pytest

from benchmarks import calls

from ..conftest import skip_or_fail

#: What the figures were counted with.
PYTHON = '3.11'
PACKAGES = {
    'python-socketio': '5.18.1', 'python-engineio': '4.15.1',
    'redis': '8.1.0', 'hiredis': '3.5.0', 'gevent': '26.9.0',
    'gevent-websocket': '0.10.1',
}

#: Calls for a message, of the package's functions and of all. In the fan-out
#: they are for a message and client.
FIGURES = {
    'streams': {
        'sending': calls.Calls(22.6, 68.7),
        'receiving': calls.Calls(13.2, 54.6),
        'nobody': calls.Calls(6.2, 19.5),
        'fanout': calls.Calls(0.28, 3.1),
    },
    'recovery': {
        'sending': calls.Calls(28.7, 90.9),
        'receiving': calls.Calls(15.2, 58.6),
        'nobody': calls.Calls(7.2, 24.5),
        'fanout': calls.Calls(0.33, 3.2),
    },
}

#: How far a count may be above its figure, in times of it: what chance does
#: to the counts is a tenth of that.
ROOM = 1.02

#: How far it may be below before the figure has to follow.
GAIN = 0.95


def judge(counted: float, figure: float) -> str:
    """Return what is wrong with a count, if anything."""
    if counted > figure * ROOM:
        return (f'{counted:.2f} calls, {figure:g} before: find out what '
                f'became longer')
    if counted < figure * GAIN:
        return (f'{counted:.2f} calls, {figure:g} before: lower the figure '
                f'in {__name__}')
    return ''


@pytest.fixture(scope='module')
def pinned() -> None:
    """The versions that the figures were counted with."""
    versions = {'python': '.'.join(platform.python_version_tuple()[:2])}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = 'none'
    if versions != {'python': PYTHON, **PACKAGES}:
        skip_or_fail(f'the figures are for other versions (tox -e '
                     f'benchmarks has them) than {versions}')


@pytest.fixture(scope='module')
def counted(pinned: None, redis_server: Any
            ) -> Dict[str, Dict[str, calls.Calls]]:
    """Two pairs of nodes, one after the other; each has its own stream."""
    return {kind: calls.measure(kind, redis_server.url) for kind in FIGURES}


@pytest.mark.parametrize('of', calls.Calls._fields)
@pytest.mark.parametrize('case', calls.CASES)
@pytest.mark.parametrize('kind', FIGURES)
def test_calls_of_a_message(counted: Dict[str, Dict[str, calls.Calls]],
                            kind: str, case: str, of: str) -> None:
    fault = judge(getattr(counted[kind][case], of),
                  getattr(FIGURES[kind][case], of))
    assert not fault


@pytest.mark.parametrize('counted, fault', [
    (100.0, ''), (101.9, ''), (95.1, ''),
    (102.1, 'find out'), (94.9, 'lower the figure')])
def test_judging(counted: float, fault: str) -> None:
    assert fault in judge(counted, 100.0)
    assert bool(fault) == bool(judge(counted, 100.0))
