"""The npm packages of ``package-lock.json``, which are installed on
demand."""
import fcntl
import hashlib
import shutil
import subprocess
from typing import Optional

from .js_server import SCRIPTS

#: The oldest version of Node.js that the packages support.
OLDEST = 18

#: Seconds: the time limit of an installation, for a slow network.
INSTALL_TIMEOUT = 100.0


def find_obstacle() -> Optional[str]:
    """The reason why the packages cannot be used; ``None`` if they are
    installed."""
    for program in ('node', 'npm'):
        if shutil.which(program) is None:
            return f'there is no {program} on PATH'
    version = subprocess.run(['node', '--version'], check=True, text=True,
                             stdout=subprocess.PIPE).stdout.strip()
    if int(version.lstrip('v').split('.')[0]) < OLDEST:
        return f'Node.js {version} is too old, {OLDEST} is needed'
    lock_file = SCRIPTS / 'package-lock.json'
    # The file is in this directory, so that it is deleted with the packages.
    stamp = SCRIPTS / 'node_modules' / '.installed'
    with lock_file.open('rb') as file:
        wanted = hashlib.sha256(file.read()).hexdigest()
        # If several test processes start at once, one of them installs.
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
