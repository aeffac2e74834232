"""Clients that come back: their sessions, replay of what they missed,
take-over from another server, and delivery in the stream's order.

Imports :mod:`~redis_streams_adapter.clients` and what lies below it. Start
reading at :mod:`~redis_streams_adapter.recovery.session` (what a session
holds) and :mod:`~redis_streams_adapter.recovery.states` (what can become of
it), then :mod:`~redis_streams_adapter.recovery.tracker` (a client's way from
its connection to its end).
"""
