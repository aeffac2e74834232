"""Fixtures shared by the tests of the protocol."""
import pytest

from redis_streams_adapter.protocol import json_parser
from redis_streams_adapter.protocol.pending_requests import PendingRequests


@pytest.fixture
def requests() -> PendingRequests:
    return PendingRequests()


@pytest.fixture(params=['msgspec', 'standard library'])
def parser(request: pytest.FixtureRequest,
           monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the parsers, one after the other."""
    if request.param == 'standard library':
        monkeypatch.setattr(json_parser, '_fast', None)
    elif json_parser._fast is None:
        pytest.skip('msgspec is not installed')
