"""The npm packages of the tests: those of ``package-lock.json``, installed
on demand."""
import fcntl
import hashlib
import shutil
import subprocess
from typing import Optional

from .js_server import SCRIPTS

#: The oldest Node.js that the packages support.
OLDEST = 18

#: Seconds that an installation may take on a slow network.
INSTALL_TIMEOUT = 100.0


def find_obstacle() -> Optional[str]:
    """Why the packages cannot be used; ``None``: they are installed."""
    for program in ('node', 'npm'):
        if shutil.which(program) is None:
            return f'there is no {program} on PATH'
    version = subprocess.run(['node', '--version'], check=True, text=True,
                             stdout=subprocess.PIPE).stdout.strip()
    if int(version.lstrip('v').split('.')[0]) < OLDEST:
        return f'Node.js {version} is too old, {OLDEST} is needed'
    lock_file = SCRIPTS / 'package-lock.json'
    # Inside the directory, so that deleting the packages deletes it too.
    stamp = SCRIPTS / 'node_modules' / '.installed'
    with lock_file.open('rb') as file:
        wanted = hashlib.sha256(file.read()).hexdigest()
        # Several test processes may arrive at once; one of them installs.
        fcntl.flock(file, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return None
        try:
            done = subprocess.run(
                ['npm', 'ci', '--ignore-scripts'], cwd=SCRIPTS, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=INSTALL_TIMEOUT)
        except subprocess.TimeoutExpired:
            return f'npm ci took more than {INSTALL_TIMEOUT:g} s'
        if done.returncode:
            return f'npm ci failed:\n{done.stdout}'
        stamp.write_text(wanted)
    return None
