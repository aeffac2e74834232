"""Measures the package, next to python-socketio's own manager and the
adapter of Node.js.

Not part of the installed package; run it from a checkout, first with
``python -m benchmarks.compare``. ``README.rst`` in this directory has the
other programs.
"""
