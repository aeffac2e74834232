"""The demonstration behind ``redis-streams-adapter demo``.

It starts a whole cluster on this machine, has every kind of event sent
through it, and checks who received what. Nothing in here is needed by an
application, and importing this package imports none of its modules.
"""
