"""The clients that are connected to this server: their rooms, delivery to
them, and the hooks on python-socketio, whose private names no other package
touches.

Imports :mod:`~redis_streams_adapter.runtime` and what lies below it. Start
reading at :mod:`~redis_streams_adapter.clients.delivery`.
"""
