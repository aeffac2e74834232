"""A page on which people watch a cluster: :class:`Dashboard` is a WSGI
application, for the command ``dashboard`` or within another application.
``docs/dashboard.rst`` shows how to use it.

It watches through an :class:`~redis_streams_adapter.observer.Observer`, so it
is no member of the cluster. However many people look, there is one set of
questions for each interval, and none while nobody looks.

Imports :mod:`~redis_streams_adapter.commands` and what lies below it; only
the demo and the command line import it. Start reading at
:mod:`~redis_streams_adapter.dashboard.app`.
"""
from .app import Dashboard

__all__ = ['Dashboard']
