"""Processes that emit and are no servers, with the real task queues and
uWSGI."""
