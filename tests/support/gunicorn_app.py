"""The application of :mod:`.node_app` for gunicorn.

``gunicorn tests.support.gunicorn_app:application`` has its parameters in the
environment.
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
    """Emit 0, 1, 2, … in the background until an emit is refused.

    The name of the event ends with the worker's pid. So does the name of a
    file with a line for each number. The line is complete if the number was
    accepted.
    """
    server, pid = node.targets['server'], os.getpid()

    def emit_numbers() -> None:
        # Each write reaches the file at once, even if the process then ends.
        with open(f'{directory}/{pid}.tried', 'wb', buffering=0) as record:
            for number in itertools.count():
                record.write(b'%d' % number)
                server.emit(f'{event}-{pid}', number)
                record.write(b'\n')
                if number % 20 == 0:
                    # Some events wait in the outbox during this time.
                    server.sleep(0.01)

    server.start_background_task(emit_numbers)
