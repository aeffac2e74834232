"""Each file tests one module, without other processes. The tests use the fake
stream of :mod:`redis_streams_adapter.testing.stream`, which has the contract
of Redis: ``tests/support/transport_contract.py`` tests both."""
