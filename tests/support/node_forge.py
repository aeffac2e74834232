"""Forks processes that run a module like :mod:`.node_app`, on request.

The imports of a server take a second of CPU, and the tests start thousands.
``python -m tests.support.node_forge gevent`` makes them once. It reads
requests from its standard input, one JSON object a line, and answers each on
its standard output:

- ``start``, the module, ``arguments``, those of its ``main``, ``output``, the
  file for the output, and ``env``, the environment: forks a process, and
  answers with its pid;
- ``poll``, a pid: answers with the exit code as ``subprocess`` has it, or
  ``null`` while the process runs; ``wait`` waits until it has ended.

It has no threads, and no hub of gevent or eventlet is running when it forks.
:class:`.forged.Forge` is the other end.
"""
# The patching must precede all other imports. These are the functions as they
# are without it: those that replace them would need a hub.
from os import fork, read, waitpid, WNOHANG, write
import sys

from tests.support import modes

if __name__ == '__main__':
    modes.prepare(sys.argv[1])

import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
from typing import Any, Dict, Iterator  # noqa: E402

from tests.support import leash  # noqa: E402

#: What a server of each mode imports when it starts.
SERVERS = {'threading': ('werkzeug.serving', 'simple_websocket'),
           'gevent': ('gevent.pywsgi', 'simple_websocket'),
           'eventlet': ('eventlet.wsgi',)}


def requests() -> Iterator[Dict[str, Any]]:
    """The requests, until the input ends."""
    rest = b''
    while True:
        *lines, rest = rest.split(b'\n')
        for line in lines:
            yield json.loads(line)
        more = read(0, 1 << 16)
        if not more:
            return
        rest += more


def answer(value: Any) -> None:
    """Answer a request."""
    write(1, json.dumps(value).encode() + b'\n')


def exit_code(pid: int, flags: int) -> Any:
    """How a process has ended; ``None``: it runs."""
    found, status = waitpid(pid, flags)
    return os.waitstatus_to_exitcode(status) if found else None


def become(mode: str, output: str, env: Dict[str, str]) -> None:
    """What a process does first that was forked."""
    leash.end_with_parent()
    os.environ.clear()
    os.environ.update(env)
    if mode == 'gevent':
        import gevent
        gevent.reinit()
    if mode == 'eventlet':
        from eventlet import hubs
        # All processes would share one epoll, and hear of the files of the
        # others.
        hubs.use_hub()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for path, flags, places in (
            (os.devnull, os.O_RDONLY, (0,)),
            (output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, (1, 2))):
        opened = os.open(path, flags)
        for place in places:
            os.dup2(opened, place)
        os.close(opened)


def main(mode: str) -> None:
    """Serve requests. In a process that was forked: run the application."""
    for name in (*SERVERS[mode], 'redis_streams_adapter',
                 'tests.support.node_app'):
        importlib.import_module(name)
    for request in requests():
        if 'start' in request:
            pid = fork()
            if not pid:
                become(mode, request['output'], request['env'])
                break
            answer(pid)
        elif 'poll' in request:
            answer(exit_code(request['poll'], WNOHANG))
        else:
            answer(exit_code(request['wait'], 0))
    else:
        return
    # It ends as any process does.
    importlib.import_module(request['start']).main(**request['arguments'])


if __name__ == '__main__':
    main(sys.argv[1])
