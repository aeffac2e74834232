"""The version is that of the installed package."""
import redis_streams_adapter
from redis_streams_adapter.version import VERSION


def test_version() -> None:
    assert VERSION == redis_streams_adapter.__version__
    assert VERSION[0].isdigit()
