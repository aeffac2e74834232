"""What the tests of requests share."""
import pytest

from redis_streams_adapter.protocol.pending_requests import PendingRequests


@pytest.fixture
def requests() -> PendingRequests:
    return PendingRequests()
