"""Servers for tests, and a JSON module for them."""
import json
from typing import Any

import socketio

from redis_streams_adapter.testing import LocalClient

#: The name that the tests use.
FakeClient = LocalClient


def make_server(**options: Any) -> socketio.Server:
    """A server with threads, and handlers for two namespaces."""
    server = socketio.Server(async_mode='threading', **options)
    for namespace in ('/', '/chat'):
        server.on('hello', lambda sid, *args: None, namespace=namespace)
    return server


class DateJSON:
    """An application's JSON module, which also serialises dates."""

    loads = staticmethod(json.loads)

    @staticmethod
    def dumps(value: Any, **kwargs: Any) -> str:
        def default(each: Any) -> Any:
            return each.isoformat()

        return json.dumps(value, **{'default': default, **kwargs})
