"""Test an application without Redis and without a network.

:class:`LocalCluster` makes managers that share a Redis in memory;
:class:`LocalClient` is a client of a server in the same process.

Imports :mod:`~redis_streams_adapter.manager` and what lies below it; no other
package imports it. Start reading at
:mod:`~redis_streams_adapter.testing.cluster`.
"""
from .client import LocalClient
from .cluster import LocalCluster

__all__ = ['LocalClient', 'LocalCluster']
