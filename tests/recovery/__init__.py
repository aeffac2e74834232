import pytest

# So that failed assertions of the helpers show the values.
pytest.register_assert_rewrite('tests.recovery.helpers')
