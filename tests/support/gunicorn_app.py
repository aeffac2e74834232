"""The application of :mod:`.node_app` for gunicorn.

``gunicorn tests.support.gunicorn_app:application``, with its parameters in
the environment.
"""
import os

from tests.support import modes

modes.prepare(os.environ['NODE_MODE'])

import itertools  # noqa: E402
import json  # noqa: E402

from tests.support import node_app  # noqa: E402

node, application = node_app.make_plain(
    os.environ['NODE_MODE'], os.environ['NODE_REDIS_URL'],
    json.loads(os.environ['NODE_OPTIONS']))
manager = node.targets['manager']


def count(event: str, directory: str) -> None:
    """Emit 0, 1, 2, … in the background, for as long as that is accepted.

    The event's name gets the worker's pid, and so does the file with what
    was tried, a line for each number; of those that were accepted the line
    is complete.
    """
    server, pid = node.targets['server'], os.getpid()

    def go_on() -> None:
        # Each write reaches the file at once, whenever the process ends.
        with open(f'{directory}/{pid}.tried', 'wb', buffering=0) as record:
            for number in itertools.count():
                record.write(b'%d' % number)
                server.emit(f'{event}-{pid}', number)
                record.write(b'\n')
                if number % 20 == 0:
                    # Meanwhile some wait in the outbox.
                    server.sleep(0.01)

    server.start_background_task(go_on)
