"""What the parts of an event cost, by the published run."""
import math

import pytest

from benchmarks.costs import checks, Cost, fit, line, published


@pytest.mark.parametrize('rate, cost', [
    (0, 100), (2000, 55), (math.inf, 10)])
def test_events_that_are_near_share_a_batch(rate: float, cost: float) -> None:
    assert Cost(10, 100).at(rate, 0.0005) == cost


def test_costs_of_the_published_run() -> None:
    costs = fit(published()['summary'])
    for name, value in vars(costs).items():
        if isinstance(value, Cost):
            assert 0 <= value.busy <= value.alone, name
        else:
            assert value > 0, name


def test_predictions_of_the_published_run() -> None:
    """Those for Redis and one to eight nodes; in between, at 5,000 events a
    second, the model says only what it is at most."""
    summary = published()['summary']
    for check in checks(summary, fit(summary)):
        assert check.redis
        predicted, measured = check.redis
        assert 0.5 * measured < predicted, check
        assert predicted < 2 * measured or '5,000' in check.what, check


def test_a_line_through_points() -> None:
    assert line([(1, 3), (2, 5), (4, 9)]) == pytest.approx((1, 2))
