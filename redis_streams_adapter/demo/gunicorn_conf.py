"""The gunicorn configuration of the demo's workers.

Three gunicorns with one worker each, not one with three: a WebSocket can
then be opened to a worker of one's choice, as behind a load balancer with
sticky sessions. Of three workers that share a socket the kernel chooses one.
"""
from redis_streams_adapter.gunicorn import post_worker_init, worker_exit

__all__ = ['post_worker_init', 'worker_exit']

worker_class = 'gevent'
workers = 1
#: Newer gunicorns would leave a control socket in the home directory.
control_socket_disable = True
