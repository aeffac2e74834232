"""Test an application without Redis and without a network.

:class:`LocalCluster` gives managers that share a Redis in memory, and
:class:`LocalClient` is a client of a server in the same process. Start
reading in :mod:`.cluster`. Nothing of this package is imported by the others;
it may import all that is below it.
"""
from .client import LocalClient
from .cluster import LocalCluster

__all__ = ['LocalClient', 'LocalCluster']
