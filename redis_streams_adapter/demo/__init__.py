"""The demonstration that ``redis-streams-adapter demo`` runs.

It starts a whole cluster on this machine, sends every kind of event through
it, and checks what each client received. Applications do not need it, and
importing this package imports none of its modules.

Imports the rest of the package, apart from
:mod:`~redis_streams_adapter.cli`. Start reading at
:mod:`~redis_streams_adapter.demo.run`.
"""
