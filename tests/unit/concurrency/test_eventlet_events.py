"""Events of eventlet, in separate processes; ``test_engines`` tests that any
thread may set them."""
import importlib.util
import subprocess
import sys

import pytest

from ...conftest import skip_or_fail

PREPARE = '''
import eventlet
eventlet.monkey_patch()
import os
import time
from redis_streams_adapter.concurrency.eventlet_events import *

event, woken = EventletEvent(), []


def wait(timeout=20):
    try:
        woken.append(event.wait(timeout))
    except eventlet.Timeout:
        woken.append('struck')


'''

#: One task is woken once, whatever wakes it; a task that is struck leaves
#: nothing.
WAITING = '''
waiting = [eventlet.spawn(wait) for _ in range(3)]
eventlet.sleep(0)
event.set()
event.set()
[each.wait() for each in waiting]
assert woken == [True] * 3
assert event.wait() and event.is_set()
event.clear()
begun = time.monotonic()
assert not event.wait(0.1) and time.monotonic() - begun >= 0.09
with eventlet.Timeout(0.01):
    wait()
assert woken[3:] == ['struck']
event.set()
# Nothing switches to this task, which no longer waits for the event.
begun = time.monotonic()
eventlet.sleep(0.05)
assert time.monotonic() - begun >= 0.05
assert not event._waiting
'''

#: What a call raises does not silence the bell.
BELL = '''
import eventlet.tpool
hub = hub_of_this_thread() or eventlet.hubs.get_hub()
assert bell_of(hub) is bell_of(hub)
called = []
for number in range(3):
    eventlet.tpool.execute(bell_of(hub).call, lambda: called.append(1 / 0))
    eventlet.tpool.execute(bell_of(hub).call, lambda: called.append(7))
    eventlet.sleep(0.01)
assert called == [7, 7, 7]
# In a thread without a hub there is none after it has waited.
eventlet.tpool.execute(wait, 0.01)
assert eventlet.tpool.execute(hub_of_this_thread) is None
'''

#: A child process has its own bell.
FORK = '''
import eventlet.tpool
import eventlet.hubs
hub = eventlet.hubs.get_hub()
bell = bell_of(hub)
child = os.fork()
if not child:
    assert bell_of(hub) is not bell
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert bell_of(hub) is bell
waiting = eventlet.spawn(wait)
eventlet.sleep(0)
eventlet.tpool.execute(event.set)
waiting.wait()
assert woken == [True]
'''


#: A child process shares the epoll of eventlet's hub. So the hub hears of the
#: child's files, one of which has the number of the bell.
SHARED = '''
import eventlet.hubs
import eventlet.tpool
import select
original = eventlet.patcher.original('os')
hub = eventlet.hubs.get_hub()
bell = bell_of(hub)
begun, end = original.pipe(), original.pipe()
if not original.fork():
    full = original.pipe()
    original.write(full[1], b'1')
    original.dup2(full[0], bell._ends[0])
    hub.poll.register(bell._ends[0], select.EPOLLIN)
    original.write(begun[1], b'1')
    original.close(end[1])
    original.read(end[0], 1)
    os._exit(0)
original.read(begun[0], 1)
# The hub looks at all files.
eventlet.sleep(0.01)
called = []
eventlet.tpool.execute(bell.call, lambda: called.append(7))
deadline = time.monotonic() + 20
while not called and time.monotonic() < deadline:
    eventlet.sleep(0.01)
assert called
original.close(end[1])
assert os.wait()[1] == 0
'''


@pytest.mark.parametrize('script', [WAITING, BELL, FORK, SHARED],
                         ids=['waiting', 'bell', 'fork', 'shared'])
def test_events(script: str) -> None:
    if importlib.util.find_spec('eventlet') is None:
        skip_or_fail('eventlet is not installed')
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', PREPARE + script],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
