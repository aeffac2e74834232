"""The application of :mod:`.node_app` for gunicorn.

``gunicorn tests.support.gunicorn_app:application``, with its parameters in
the environment.
"""
import os

from tests.support import modes

modes.prepare(os.environ['NODE_MODE'])

import json  # noqa: E402

from tests.support import node_app  # noqa: E402

node, application = node_app.make_plain(
    os.environ['NODE_MODE'], os.environ['NODE_REDIS_URL'],
    json.loads(os.environ['NODE_OPTIONS']))
manager = node.targets['manager']
