"""Which targets a run has met."""
from typing import Any, Optional

import pytest

from benchmarks import report
from benchmarks.measuring import Measurement
from benchmarks.scenarios import RECOVERY_SCENARIOS, SCENARIOS, quick
from benchmarks.targets import RECOVERY_TARGETS, TARGETS, Target


def rounds(*pairs: Any, metric: str = 'sender_cpu') -> Any:
    """Rounds of two kinds, from ``(ours, base)``."""
    return [{'streams': Measurement(**{metric: ours}),
             'redis': Measurement(**{metric: base})} for ours, base in pairs]


@pytest.mark.parametrize('bound, least, reached', [
    (0.2, False, True), (0.1, False, False),
    (0.2, True, True), (0.3, True, False)])
def test_the_median_of_the_ratios_decides(bound: float, least: bool,
                                          reached: bool) -> None:
    judged = Target('sender_cpu', bound, least=least).judge(
        rounds((10.0, 100.0), (20.0, 100.0), (90.0, 100.0)))
    assert (judged['lowest'], judged['value'], judged['highest']) == (
        0.1, 0.2, 0.9)
    assert judged['reached'] is reached


@pytest.mark.parametrize('how, value', [
    ('ratio', 1.5), ('difference', 5.0), ('value', 15.0)])
def test_how_it_is_compared(how: str, value: float) -> None:
    judged = Target('sender_cpu', 1.0, how=how).judge(rounds((15.0, 10.0)))
    assert judged['value'] == value


@pytest.mark.parametrize('ours, base, least, most', [
    ('recovery', 'streams', 1 / 1.3, 1.3), ('fallback', 'redis', 5, 0.14),
    ('fallback', 'nodejs', 1.8 / 1.4, 0.56)])
def test_other_kinds_may_be_further_away(ours: str, base: str, least: float,
                                         most: float) -> None:
    bounds = {each.metric: each.bound for each in TARGETS['single']
              if (each.ours, each.base) == (ours, base)}
    assert bounds['throughput'] == pytest.approx(least)
    assert bounds['sender_cpu'] == pytest.approx(most)


@pytest.mark.parametrize('measured', [
    [], [{}], rounds((None, 1.0)), rounds((1.0, None)),
    [{'streams': Measurement(sender_cpu=1.0)}]])
def test_what_was_not_measured_is_neither_met_nor_missed(
        measured: Any) -> None:
    judged = Target('sender_cpu', 1.0).judge(measured)
    assert judged['value'] is judged['reached'] is None


@pytest.mark.parametrize('scenarios, targets', [
    (SCENARIOS, TARGETS), (RECOVERY_SCENARIOS, RECOVERY_TARGETS)])
def test_each_target_is_one_of_a_scenario(scenarios: Any,
                                          targets: Any) -> None:
    kinds = {scenario.name: scenario.kinds for scenario in scenarios}
    assert set(targets) <= set(kinds)
    for name, each in targets.items():
        for target in each:
            assert target.metric in report.METRICS
            assert target.ours in kinds[name]
            assert target.how == 'value' or target.base in kinds[name]


def test_a_quick_run_is_short() -> None:
    names = {scenario.name for scenario in SCENARIOS}
    short = quick(SCENARIOS)
    assert {each.name for each in short} == names - {
        'nodes2', 'nodes8', 'paced2', 'paced4', 'paced8'}
    assert sum(each.count for each in short if not each.rate) < 10_000
    assert sum(each.count / each.rate for each in short if each.rate) < 2


@pytest.mark.parametrize('value, mark', [
    (0.5, 'met'), (2.0, 'MISSED'), (None, '-')])
def test_the_report_says_which_are_met(value: Optional[float],
                                       mark: str) -> None:
    judged = Target('sender_cpu', 1.0).judge(rounds((value, 1.0)))
    line = report.targets_text([{'scenario': 'single', **judged}])
    assert line.splitlines()[-1].split()[:2] == [mark, 'single']


def test_a_summary_has_medians_and_ratios() -> None:
    scenario = SCENARIOS[0]
    found = report.summary(scenario, rounds((1.0, 10.0), (3.0, 10.0)))
    assert found['metrics']['sender_cpu'] == {
        'median': {'streams': 2.0, 'redis': 10.0},
        'ratio': {'streams/redis': 0.2}}
    assert scenario.title in report.text(found)
    assert 'every message once, in order' in report.text(found)


def test_a_picture_of_a_part_of_a_run(tmp_path: Any) -> None:
    pytest.importorskip('matplotlib')
    from benchmarks import plot

    scenarios = [each for each in SCENARIOS
                 if each.name in ('single', 'nodes1', 'nodes4')]
    plot.draw({'summary': {
        each.name: report.summary(each, rounds((1.0, 2.0)))
        for each in scenarios}}, str(tmp_path / 'plot.png'))
    assert (tmp_path / 'plot.png').read_bytes().startswith(b'\x89PNG')
