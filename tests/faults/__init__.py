"""What goes wrong around a cluster, and what must not come of it."""
import pytest

# So that its assertions tell what they compare.
pytest.register_assert_rewrite('tests.faults.load')
