"""Comparison of the package with python-socketio's own manager.

Not part of the installed package; run it from a checkout with
``python -m benchmarks.compare``.
"""
