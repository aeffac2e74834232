"""Tests of one module each, without processes and without waiting. What
speaks to a stream speaks to :mod:`redis_streams_adapter.testing.stream`, which
keeps the same promises as Redis: ``test_transport.py`` tests both."""
