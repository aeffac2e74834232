"""The client library with which the nodes of tests reach their servers.

``REDIS_CLIENT=valkey`` runs a suite with valkey-py instead of redis-py, on any
server.
"""
import importlib
import os

#: The scheme of URLs, and the name of the package.
REDIS_CLIENT = os.environ.get('REDIS_CLIENT', 'redis')

#: The package. valkey has the names of redis, too.
library = importlib.import_module(REDIS_CLIENT)
