"""The gunicorn configuration of the demo's workers.

The demo runs three gunicorns with one worker each, not one with three: a
client can then choose its worker, as with a load balancer with sticky
sessions. If three workers share a socket, the kernel chooses one.
"""
from redis_streams_adapter.gunicorn import post_worker_init, worker_exit

__all__ = ['post_worker_init', 'worker_exit']

worker_class = 'gevent'
workers = 1
#: Newer gunicorns would leave a control socket in the home directory.
control_socket_disable = True
