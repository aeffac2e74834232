"""Faults around a cluster, and what must not come of them."""
import pytest

# So that a failed assertion in it shows the compared values.
pytest.register_assert_rewrite('tests.faults.load')
