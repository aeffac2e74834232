"""Supervised tasks, locks, events and a limiter that work the same under
threads, gevent and eventlet.

Imports :mod:`~redis_streams_adapter.protocol` and what lies below it. Start
reading at :mod:`~redis_streams_adapter.concurrency.tasks`.
"""
