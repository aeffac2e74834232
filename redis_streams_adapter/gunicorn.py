"""Hooks for gunicorn. In ``gunicorn.conf.py``::

    from redis_streams_adapter.gunicorn import post_worker_init, worker_exit

A worker is then a member of the cluster from its start, also before its
first client, and says goodbye when it ends, after sending all that was
emitted in it. The names are those that gunicorn looks for; a configuration
with hooks of its own calls these from them.

gunicorn reads its configuration before a gevent worker patches ssl: hence the
imports within the functions.
"""
from typing import Any, List


def _managers() -> List[Any]:
    from .life import managers
    return list(managers)


def post_worker_init(worker: Any) -> None:
    """Start the managers of the application that this worker has loaded.

    While Redis is away a worker starts all the same.

    :raises RuntimeError: as :meth:`~redis_streams_adapter.\
RedisStreamsManager.start`.
    """
    for manager in _managers():
        if manager.server is not None and not manager.write_only:
            manager.start()


def worker_exit(server: Any, worker: Any) -> None:
    """Close the managers of this worker.

    Waits for as long as :meth:`~redis_streams_adapter.RedisStreamsManager.\
close` does where Redis is away.
    """
    for manager in _managers():
        manager.close()
