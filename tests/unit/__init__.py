"""Tests of one module each, without processes and without waiting. They use
the stream of :mod:`redis_streams_adapter.testing.stream`, which keeps the
contract of Redis: ``tests/support/transport_contract.py`` tests both."""
