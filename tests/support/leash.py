"""Runs a command that does not outlive its parent process.

``python leash.py command args...`` asks the kernel to kill the process when
its parent ends, in whatever way, and then becomes the command: the pid stays
the same, and it can be interrupted. On systems other than Linux, whose kernels
cannot do that, the command is simply run.
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
    # A shell makes its background processes ignore it, and so do their
    # children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == '__main__':
    main()
