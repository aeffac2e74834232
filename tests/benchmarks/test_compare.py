"""What the comparison reports, and its exit status."""
import json
from typing import Any

import pytest

from benchmarks import compare
from benchmarks.channel import ChildError
from benchmarks.measuring import Measurement


class Redis:
    """Stands in for a server."""
    version = '7.0.0'

    def __enter__(self) -> 'Redis':
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """Compares nodes that are not started: ``run(measurements, fault,
    *arguments)`` returns the exit status, and what is in the JSON file."""
    monkeypatch.setattr(compare, 'RedisServer', Redis)
    monkeypatch.setattr(compare, 'available', lambda *_: [])
    monkeypatch.setattr(compare.signal, 'signal', lambda *_: None)

    def run(measured: Any, fault: Any, *arguments: str) -> Any:
        def fill(options: Any, kinds: Any, redis: Any, results: Any) -> None:
            results['single'] += measured
            if fault:
                raise fault

        path = tmp_path / 'results.json'
        monkeypatch.setattr(compare, 'run', fill)
        status = compare.main(['--json', str(path), *arguments])
        return status, json.loads(path.read_text()) if path.exists() else {}

    return run


def measured(ours: float, lost: int = 0) -> Any:
    return [{'redis': Measurement(sender_cpu=100.0, lost=3),
             'streams': Measurement(sender_cpu=ours, lost=lost)}]


def test_faults_of_a_peer_fail_nothing(run: Any) -> None:
    status, found = run(measured(50.0), None)
    assert status == 0
    assert found['summary']['single']['faults'] == {
        'redis': ['3 lost'], 'streams': []}


def test_own_faults_fail_the_run(run: Any) -> None:
    assert run(measured(5.0, lost=1), None)[0] == 1


@pytest.mark.parametrize('ours, status', [(5.0, 0), (50.0, 1)])
def test_missed_targets_fail_it_on_request(run: Any, ours: float,
                                           status: int) -> None:
    assert run(measured(ours), None)[0] == 0
    assert run(measured(ours), None, '--check')[0] == status


ENDS = [(ChildError('a node has ended'), 2), (KeyboardInterrupt(), 130)]


@pytest.mark.parametrize('fault, status', ENDS)
def test_what_was_measured_before_the_end_is_reported(
        run: Any, fault: BaseException, status: int) -> None:
    returned, found = run(measured(5.0), fault)
    assert returned == status
    assert found['rounds']['single'][0]['streams']['sender_cpu'] == 5.0


@pytest.mark.parametrize('fault, status', ENDS)
def test_an_end_before_anything_was_measured(
        run: Any, fault: BaseException, status: int) -> None:
    assert run([], fault) == (status, {})


def test_an_error_is_reported(
        run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run([], ChildError('a node has ended'))
    assert 'a node has ended' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [
    ['--rounds', '0'], ['--scenario', 'other'], ['--kind', 'other'],
    ['--recovery', '--scenario', 'nodes8']])
def test_options_that_are_refused(arguments: Any) -> None:
    with pytest.raises(SystemExit):
        compare.parse(arguments)
