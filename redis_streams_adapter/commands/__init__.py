"""What the command ``redis-streams-adapter`` shows of a cluster, and does in
it: a module for each command.

Imports :mod:`redis_streams_adapter.manager` and what is below. Start reading
at :mod:`.catalogue`, which lists the commands, then at :mod:`.tail`, which is
one of them. The cluster is watched from outside: no command becomes a member
of it.
"""
