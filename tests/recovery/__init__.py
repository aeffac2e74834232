import pytest

# That what differs is shown.
pytest.register_assert_rewrite('tests.recovery.helpers')
