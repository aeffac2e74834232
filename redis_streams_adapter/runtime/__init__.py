"""One process's membership in the cluster: its node, its streams, its tasks;
fork and close.

Imports :mod:`~redis_streams_adapter.stream` and what lies below it. Start
reading at :mod:`~redis_streams_adapter.runtime.runtime`.
"""
