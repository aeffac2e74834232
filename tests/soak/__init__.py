"""Faults in random order around a cluster under load, with an exact account
at the end: ``python -m tests.soak --seconds 60 --seed 1``."""
