"""Times of entries are counted in buckets."""
import pytest

from redis_streams_adapter.stream.latency import BOUNDS, Latency, NAMES, SUM, \
    total


def test_buckets() -> None:
    latency = Latency()
    for seconds in 0.001, 0.0011, 0.3, 1000.0:
        latency.add(seconds, 2)
    found = total([latency])
    assert list(found) == [*NAMES, SUM]
    assert found['0.001'] == 2 and found['0.0025'] == 4
    assert found['0.25'] == 4 and found['0.5'] == 6
    assert found['300.0'] == 6 and found['+Inf'] == 8
    assert found[SUM] == pytest.approx(2 * (0.001 + 0.0011 + 0.3 + 1000))


def test_several_together() -> None:
    each = [Latency(), Latency()]
    each[0].add(0.02, 5)
    each[1].add(0.2, 7)
    found = total(each)
    assert (found['0.025'], found['0.25']) == (5, 12)
    assert found[SUM] == pytest.approx(5 * 0.02 + 7 * 0.2)


def test_none_together() -> None:
    assert set(total([Latency()]).values()) == {0}


def test_clocks_that_differ() -> None:
    """An entry seems to be read before it was stored."""
    latency = Latency()
    latency.add(-0.5, 3)
    assert total([latency])['0.001'] == 3
    assert latency.sum == 0


def test_bounds_rise() -> None:
    assert list(BOUNDS) == sorted(set(BOUNDS))
