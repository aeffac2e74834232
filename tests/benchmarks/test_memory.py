"""When a node counts as growing, and the table of footprints."""
import pytest

from benchmarks import memory
from benchmarks.memory import Footprint, growth


def test_memory_that_stays_has_not_grown():
    assert growth([50.0] * 40, 4) == 0.0


def test_growth_before_the_memory_has_settled_does_not_count():
    assert growth([10.0, 30.0, 49.0, *[50.0] * 40], 3) == 0.0


def test_growth_is_from_the_first_quarter_to_the_last():
    assert growth([float(n) for n in range(8)], 0) == 6.0


def test_a_short_peak_is_not_growth():
    assert growth([50.0] * 10 + [90.0] + [50.0] * 10, 0) == 0.0


@pytest.mark.parametrize('arguments', [
    ['--minutes', '0'], ['--minutes', '-1'], ['--rate', '0'],
    ['--kind', 'nodejs']])
def test_options_that_make_no_sense(arguments):
    with pytest.raises(SystemExit):
        memory.parse(arguments)


def test_footprints_in_a_table():
    lines = memory.text({
        'redis': Footprint(40.0, 50.0, 0.25, None),
        'streams': Footprint(44.0, 51.0, 0.5, 5.5)}).splitlines()
    assert lines[0].split() == ['Redis', 'Streams']
    assert [line.split()[-2:] for line in lines[1:]] == [
        ['40.0', '44.0'], ['50.0', '51.0'], ['0.2', '0.5'], ['-', '5.5']]
