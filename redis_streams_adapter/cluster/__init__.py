"""What servers ask and command each other: requests and answers, commands to
clients, events between servers, over the stream or PUB/SUB.

Imports :mod:`~redis_streams_adapter.recovery` and what lies below it. Start
reading at :mod:`~redis_streams_adapter.cluster.calls`.
"""
