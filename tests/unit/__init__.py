"""Tests of one module each, without processes and without waiting: what
speaks to a stream speaks to :mod:`.fake_transport`, which keeps the same
promises as Redis (``test_transport.py`` holds both to them)."""
