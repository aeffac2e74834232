"""A node that counts its function calls.

Run as :mod:`.node`, whose commands it has, too.

Counted are the calls of Python functions and of those written in C, as
``cProfile`` counts them, in all greenlets of the process. The functions of
``benchmarks`` are left out. What they call is the same in each round, so a
round without messages shows how many of the calls are theirs.
"""
from . import node  # before all others: it patches the standard library

import cProfile
import sys
from pathlib import Path
from typing import Any

import redis_streams_adapter

from . import payload

OURS = f'{Path(redis_streams_adapter.__file__).parent}/'
BENCHMARKS = f'{Path(__file__).parent}/'


class ProfiledNode(node.Node):
    """A node whose calls the parent can ask for."""
    def __init__(self, *arguments: str) -> None:
        super().__init__(*arguments)
        self.profiler = cProfile.Profile()
        self.counting = False
        self.messages: list[str] = []

    def do_prepare(self, first: int, count: int) -> dict[str, Any]:
        """Make the data of the messages for the next ``work_chunk``."""
        self.messages = [payload.make(first + i) for i in range(count)]
        return {}

    def work_chunk(self, to: str) -> dict[str, Any]:
        """Emit the prepared messages."""
        emit = self.sio.emit
        for data in self.messages:
            emit(payload.EVENT, data, to=to)
        return {}

    def do_received(self) -> dict[str, Any]:
        """Answer how many entries were read; that is not counted."""
        self.profiler.disable()
        received = self.sio.manager.stats()['received']
        if self.counting:
            self.profiler.enable()
        return {'received': received}

    def do_profile(self) -> dict[str, Any]:
        """Begin to count, from zero."""
        self.counting = True
        self.profiler.clear()
        self.profiler.enable()
        return {}

    def do_calls(self) -> dict[str, Any]:
        """Stop; answer with the calls of the package, and of all."""
        self.counting = False
        self.profiler.disable()
        ours = every = 0
        for entry in self.profiler.getstats():
            name = getattr(entry.code, 'co_filename', '')
            if not name.startswith(BENCHMARKS):
                every += entry.callcount
            if name.startswith(OURS):
                ours += entry.callcount
        return {'ours': ours, 'every': every}


if __name__ == '__main__':
    ProfiledNode(*sys.argv[1:]).run()
