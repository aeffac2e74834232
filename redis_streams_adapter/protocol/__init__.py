"""What servers say to each other, and the rules of it. Pure: no I/O, no
clock, no threads, no logging; time comes in as ``now``.

Imports :mod:`~redis_streams_adapter.errors` and
:mod:`~redis_streams_adapter.options` only. Start reading at
:mod:`~redis_streams_adapter.protocol.messages` (what is said), then
:mod:`~redis_streams_adapter.protocol.node` (what one server makes of it).
"""
