"""Processes that are forked by :mod:`.node_forge`."""
import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Dict, Optional

from . import leash
from .process import OwnProcess, ROOT


class Forge:
    """The process that forks the others, for one mode. They end with it, and
    it ends with this process.

    :param mode: ``'threading'``, ``'gevent'`` or ``'eventlet'``.
    """

    def __init__(self, mode: str) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, '-I', '-S', leash.__file__, sys.executable,
             '-m', 'tests.support.node_forge', mode],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        #: One request at a time: tests start processes from several threads.
        self._lock = threading.Lock()
        atexit.register(self._popen.kill)

    def start(self, module: str, arguments: Dict[str, Any],
              output: Path) -> 'Forged':
        """Start a process.

        :param module: the module that it runs.
        :param arguments: those of the module's ``main``.
        :param output: the file for its output.
        """
        return Forged(self, self.ask(
            start=module, arguments=arguments, output=str(output),
            env=dict(os.environ)))

    def ask(self, **request: Any) -> Any:
        """Send a request, and wait for the answer."""
        stdin, stdout = self._popen.stdin, self._popen.stdout
        assert stdin is not None and stdout is not None
        with self._lock:
            stdin.write(json.dumps(request).encode() + b'\n')
            stdin.flush()
            answer = stdout.readline()
        if not answer:
            raise AssertionError(
                f'the forge has ended: {self._popen.wait()}')
        return json.loads(answer)


class Forged:
    """A process of a forge, with the methods of ``subprocess.Popen`` that
    :class:`.process.OwnProcess` needs.

    Its pid is its own until the forge was asked, and has said that it has
    ended.
    """

    def __init__(self, forge: Forge, pid: int) -> None:
        self._forge = forge
        self._lock = threading.RLock()
        self.pid = pid
        self.returncode: Optional[int] = None

    def poll(self) -> Optional[int]:
        return self._ask('poll')

    def wait(self) -> Optional[int]:
        return self._ask('wait')

    def send_signal(self, number: int) -> None:
        with self._lock:
            if self.poll() is None:
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ask(self, what: str) -> Optional[int]:
        with self._lock:
            if self.returncode is None:
                self.returncode = self._forge.ask(**{what: self.pid})
            return self.returncode


@functools.lru_cache(maxsize=None)
def forge_of(mode: str) -> Forge:
    """The forge of this process for a mode."""
    return Forge(mode)


def start_node(mode: str, module: str, arguments: Dict[str, Any],
               output: Path) -> OwnProcess:
    """Start a process that runs a module like :mod:`.node_app`.

    :param arguments: those of the module's ``main`` besides the mode.
    :param output: the file for its output.
    """
    return OwnProcess.adopt(
        f'{module} of {mode}',
        forge_of(mode).start(module, {'mode': mode, **arguments}, output),
        output)
