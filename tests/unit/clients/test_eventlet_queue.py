"""The queue of packets for a client, with eventlet, in a separate process."""
import importlib.util
import subprocess
import sys

from ...conftest import skip_or_fail

#: A thread of the system puts packets into the queue of a client.
PUT = '''
import eventlet
eventlet.monkey_patch()
import eventlet.tpool
import socketio
from eventlet.queue import Empty
from redis_streams_adapter.clients.send_queue import install

server = socketio.Server(async_mode='eventlet')
install(server)
install(server)
packets, got = server.eio.create_queue(), []


def client():
    while (packet := packets.get(timeout=20)) is not None:
        packets.task_done()
        got.append(packet)


reading = eventlet.spawn(client)
for number in range(0, 100, 2):
    eventlet.sleep(0)
    eventlet.tpool.execute(packets.put, number)
    packets.put(number + 1)
packets.join()
assert packets.empty()
packets.put(None)
reading.wait()
assert got == list(range(100)), got

# Once it was empty, if only for a moment: python-engineio adds a last packet
# when the connection ends, which no task takes.
packets.put('last')
joining = eventlet.spawn(packets.join)
eventlet.sleep(0)
assert packets.get() == 'last'
packets.put(None)
with eventlet.Timeout(10):
    joining.wait()
assert packets.get() is None
for options in {'block': False}, {'timeout': 0.01}:
    try:
        packets.get(**options)
    except Empty:
        print('empty')
'''


def test_queue_of_eventlet_takes_packets_of_any_thread() -> None:
    if importlib.util.find_spec('eventlet') is None:
        skip_or_fail('eventlet is not installed')
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', PUT],
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.split() == ['empty', 'empty']
