"""How one server shows its state to others: health checks over HTTP, and
metrics.

:mod:`~redis_streams_adapter.monitoring.wsgi` has a middleware for any WSGI
application, :mod:`~redis_streams_adapter.monitoring.blueprint` a blueprint for
Flask. ``docs/monitoring.rst`` shows how to use them.

Imports :mod:`~redis_streams_adapter.manager` and what lies below it; no other
package but the command line imports it. Nothing here waits for Redis. Start
reading at :mod:`~redis_streams_adapter.monitoring.checks`.
"""
