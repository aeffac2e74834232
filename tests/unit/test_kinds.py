"""The classes that a manager has without options that change them."""
from redis_streams_adapter import kinds
from redis_streams_adapter.clients.direct_delivery import DirectDelivery


def test_plain_kinds_add_nothing() -> None:
    """No runtime is needed, and functions are not wrapped."""
    def hear(*_: object) -> None:
        raise AssertionError

    assert kinds.PLAIN.hear(None, hear) is hear
    direct = kinds.PLAIN.direct(None, None, None, None, False)
    assert type(direct) is DirectDelivery


def test_recovery_has_its_own_delivery() -> None:
    from redis_streams_adapter.recovery.deliveries import \
        StreamOrderDeliveries
    made = kinds.PLAIN.ordered(None, *range(10))
    assert type(made) is StreamOrderDeliveries
