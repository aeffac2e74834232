"""Gunicorn reads this file by itself: ``gunicorn app:app`` in this directory.
"""
import os

# post_worker_init lets each worker join the cluster at once, not when its
# first client connects; worker_exit lets it shut down gracefully.
from redis_streams_adapter.gunicorn import post_worker_init, worker_exit

__all__ = ['post_worker_init', 'worker_exit']

bind = f'127.0.0.1:{os.environ.get("PORT", 5000)}'
worker_class = 'gevent'
workers = 2
