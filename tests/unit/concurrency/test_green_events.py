"""Events of gevent's tasks, in a process of its own."""
import importlib.util
import subprocess
import sys

from ...conftest import skip_or_fail

#: Keeps gevent's loop from looking at the clock, and then waits.
SCRIPT = '''
import time
import gevent
from redis_streams_adapter.concurrency.tasks import GeventEvent

gevent.sleep(0.01)
event, begun = GeventEvent(), time.monotonic()
while time.monotonic() < begun + 0.2:
    pass
begun = time.monotonic()
assert not event.wait(0.1)
print(time.monotonic() - begun)
'''


def test_a_wait_is_no_shorter_than_it_is_told() -> None:
    """Also by a loop that has not looked at the clock for a while."""
    if importlib.util.find_spec('gevent') is None:
        skip_or_fail('gevent is not installed')
    waited = subprocess.run([sys.executable, '-c', SCRIPT], check=True,
                            timeout=30, capture_output=True, text=True)
    assert float(waited.stdout) >= 0.099
