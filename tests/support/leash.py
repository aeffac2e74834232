"""Runs a command that does not outlive who started it.

``python leash.py command args...`` asks the kernel to kill the process when
its parent ends, in whatever way, and then becomes the command: the pid stays
the same, and it can be interrupted. Where the kernel cannot do that (it is
Linux's own) the command just runs.
"""
import ctypes
import os
import signal
import sys

#: From <sys/prctl.h>.
PR_SET_PDEATHSIG = 1


def main() -> None:
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A shell lets what it runs in the background ignore it, and whoever it
    # starts.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == '__main__':
    main()
