"""Clients that return: their sessions, the replay of what they missed,
take-over from another server, and delivery in the stream's order.

Imports :mod:`~redis_streams_adapter.clients` and what lies below it. Start
reading at :mod:`~redis_streams_adapter.recovery.session` (what a session
holds) and :mod:`~redis_streams_adapter.recovery.states` (how it changes), then
:mod:`~redis_streams_adapter.recovery.tracker` (what happens to a client, from
its connection to its end).
"""
