"""Faults in random order around a cluster under load, and the exact account
at the end: ``python -m tests.soak --seconds 60 --seed 1``."""
