"""A server with green threads forks a child process, which emits.

``python -m tests.support.green_fork MODE REDIS_URL STREAM`` prints what it has
found, as JSON.
"""
import sys

from tests.support import modes

if __name__ == '__main__':
    modes.prepare(sys.argv[1])

import json  # noqa: E402
import multiprocessing  # noqa: E402
import warnings  # noqa: E402
from typing import Any, List  # noqa: E402

import socketio  # noqa: E402

from redis_streams_adapter import RedisStreamsManager  # noqa: E402
from tests.support.wait import wait_until  # noqa: E402

#: How many events each process emits.
EVENTS = 10


def work(mode: str, manager: RedisStreamsManager) -> None:
    """What the child process does."""
    if mode == 'eventlet':
        from eventlet import hubs
        hubs.use_hub()
    for number in range(EVENTS):
        manager.server_side_emit('event', 'child', number)
    assert manager.server_count() == 3
    assert manager.flush(10)
    manager.close()


def main(mode: str, url: str, stream: str) -> None:
    """Fork while two managers are members. The child uses one of them."""
    heard: List[Any] = []
    managers = [RedisStreamsManager(url, stream_name=stream) for _ in range(2)]
    for manager in managers:
        socketio.Server(client_manager=manager, async_mode=mode,
                        namespaces=['/'])
        manager.start()
    emitter, listener = managers
    listener.on_server_side('event', lambda *args: heard.append(args))
    assert emitter.server_count() == 2
    context = multiprocessing.get_context('fork')
    child = context.Process(target=work, args=(mode, emitter))
    with warnings.catch_warnings():
        # There are threads; that forks may hang then is what is tested.
        warnings.simplefilter('ignore')
        child.start()
    for number in range(EVENTS):
        emitter.server_side_emit('event', 'parent', number)
    wait_until(lambda: len(heard) == 2 * EVENTS)
    child.join()
    print(json.dumps({
        'exit code': child.exitcode, 'heard': sorted(heard),
        'health': [each.health()['status'] for each in managers],
        'restarts': [each.stats()[f'{task}_restarts'] for each in managers
                     for task in ('reader', 'writer')]}))
    for manager in managers:
        manager.close()


if __name__ == '__main__':
    main(*sys.argv[1:])
