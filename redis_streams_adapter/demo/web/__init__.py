"""The page of ``redis-streams-adapter demo --web``.

Servers emit numbered events without end, clients count what they receive, and
buttons break something meanwhile. Who writes what:

==================== ====================================================
state                task that writes it
==================== ====================================================
:class:`.board.Board` all tasks, through its methods; its lock protects it
processes, Redis     see :mod:`redis_streams_adapter.demo.cluster`
the session of a     the reading task of its connection; a connection ends
client               before the next one is made
the emitting tasks   the main thread, then the task of the button
==================== ====================================================

If the demo is killed, its processes stay, as without ``--web``. A signal
raises an exception in the main thread only, which then holds no lock: it waits
for nothing but the signal.

Imports the rest of the demo. Start reading at
:mod:`~redis_streams_adapter.demo.web.run`.
"""
