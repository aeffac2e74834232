"""Ports for the servers of tests."""
import fcntl
import os
import random
import socket
import tempfile
from functools import lru_cache
from typing import Set

#: These are below the ports of outgoing connections. Otherwise a client of a
#: server that is down could get the server's port for its own end, and would
#: be connected to itself. The second port of a cluster member is 10,000
#: higher, and is below them, too.
PORTS = range(12_000, 22_000)

#: The ports that this process has been given. Test runs are divided into
#: processes, not threads, so no lock is needed.
_given: Set[int] = set()


def free_port() -> int:
    """A port of the loopback interface on which no process listens, and that
    no other process with tests has been given.

    It stays this process's own until the process ends. A server may start on
    it late, and may be down for a while.
    """
    while True:
        port = random.choice(PORTS)
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                fcntl.lockf(_lock_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1,
                            port)
                probe.bind(('127.0.0.1', port))
            except OSError:
                continue
        _given.add(port)
        return port


@lru_cache(maxsize=None)
def _lock_file() -> int:
    """A file with a byte for each port, open. Who locks a byte has the port.

    The system frees the locks of a process that ends.
    """
    path = os.path.join(tempfile.gettempdir(),
                        f'ports-of-tests-{os.getuid()}.lock')
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
