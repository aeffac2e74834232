"""The log on Redis: writer, outbox, reader, reconciliation after a broken
connection, connections and topologies; the session store and the PUB/SUB
connections beside it.

Imports :mod:`~redis_streams_adapter.concurrency` and what lies below it; the
only package that talks to Redis. Start reading at
:mod:`~redis_streams_adapter.stream.writer` and
:mod:`~redis_streams_adapter.stream.reader`.
"""
