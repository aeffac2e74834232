"""The memory of a process (``/proc``, so Linux)."""
import re

from .channel import Child


def memory(process: Child) -> tuple[float, float]:
    """Return the MiB of memory that a process has, and has had at most."""
    with open(f'/proc/{process.pid}/status', encoding='ascii') as file:
        found = dict(re.findall(r'^(VmRSS|VmHWM):\s+(\d+) kB$', file.read(),
                                re.MULTILINE))
    return int(found['VmRSS']) / 1024, int(found['VmHWM']) / 1024


def forget_peak(process: Child) -> None:
    """Let the peak of a process's memory begin anew."""
    with open(f'/proc/{process.pid}/clear_refs', 'w',
              encoding='ascii') as file:
        file.write('5')
