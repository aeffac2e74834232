"""The local clients, those that are connected to this server: their rooms and
acknowledgements, delivery to them, and the hooks on python-socketio. No other
package touches private names of python-socketio and python-engineio, apart
from :mod:`~redis_streams_adapter.testing`, which stands for Engine.IO.

Imports :mod:`~redis_streams_adapter.runtime` and what lies below it. Start
reading at :mod:`~redis_streams_adapter.clients.delivery`.
"""
