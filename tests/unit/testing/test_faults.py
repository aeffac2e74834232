"""What happens to single commands."""
from redis_streams_adapter.testing.faults import Fault


def test_names_are_what_a_test_prints() -> None:
    assert {fault.value: fault for fault in Fault} == {
        fault.name.lower().replace('_', ' '): fault for fault in Fault}
