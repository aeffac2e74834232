"""Runs a command that ends with its parent process.

``python leash.py command args...`` asks the kernel to kill this process when
the parent ends for any reason. It then executes the command, so the pid stays
the same and the process can be interrupted. Kernels other than Linux cannot do
that; there the command is only executed.
"""
import ctypes
import os
import signal
import sys

#: From <sys/prctl.h>.
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Let the kernel kill this process when the parent ends."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    end_with_parent()
    # Background processes of a shell, and their children, ignore this signal.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == '__main__':
    main()
