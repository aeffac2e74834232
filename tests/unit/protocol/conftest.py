"""Fixtures shared by the tests of requests."""
import pytest

from redis_streams_adapter.protocol.pending_requests import PendingRequests


@pytest.fixture
def requests() -> PendingRequests:
    return PendingRequests()
