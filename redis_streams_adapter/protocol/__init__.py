"""The messages between servers, and their rules. Pure: no I/O, no clock, no
threads, no logging; time comes in as ``now``.

Imports :mod:`~redis_streams_adapter.errors` only. Start reading at
:mod:`~redis_streams_adapter.protocol.messages` (what servers say), then
:mod:`~redis_streams_adapter.protocol.node` (what a message changes for one
server) and :mod:`~redis_streams_adapter.protocol.events` (what that server has
to do).
"""
