"""The application of :mod:`.gunicorn_app`, with a collector of its metrics.

``gunicorn tests.support.metrics_app:application``
"""
from prometheus_client import REGISTRY

from redis_streams_adapter.monitoring.prometheus import StreamsCollector

from .gunicorn_app import application, manager

__all__ = ['application']

REGISTRY.register(StreamsCollector(manager))
