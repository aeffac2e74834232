"""The orders of the demo: what a worker or the external process is to emit.

An order is a small JSON object, so that one format serves the HTTP route of
a worker and the standard input of the external process:

=========  ==============================================================
``step``   number of the line in the report; goes along in the data
``text``   the text for the clients; absent if only a marker is due
``to``     a room, a client's sid, or absent for everyone
``ask``    true if the worker waits for the client's answer
``wait``   seconds to wait for it
=========  ==============================================================

Behind the page of :mod:`.web`, an order has only these:

==========  =============================================================
``source``  the name of the sender
``number``  how many events that makes, from 1; both go along in the data
==========  =============================================================

After each order of the first kind the same sender emits a marker to everyone.
The messages of one sender arrive in the order in which they were emitted, so a
client that has the marker has all that the order brought it, and nothing is
left to wait for.
"""
from __future__ import annotations

import time
from typing import Any

#: Names of the events.
NEWS, QUESTION, MARKER = 'news', 'question', 'marker'
COUNT = 'count'

#: The room that some of the clients are in.
ROOM = 'tea'

#: Names of the environment variables that give the worker its number and
#: its cluster's Redis. The URL comes this way because every user of the
#: machine can read a command line.
WORKER, QUEUE, STREAM = 'DEMO_WORKER', 'DEMO_MESSAGE_QUEUE', 'DEMO_STREAM'


def news(step: int, text: str) -> dict[str, Any]:
    """Return the data of an event that is emitted now.

    ``sent`` is the system's monotonic clock, in seconds, which Linux and
    macOS give to all processes alike.
    """
    return {'step': step, 'text': text, 'sent': time.monotonic()}


def carry_out(sender: Any, order: dict[str, Any]) -> Any:
    """Emit what an order says, then its marker if it has a step, and return
    the answer.

    :param sender: a ``flask_socketio.SocketIO``, with a server or without.
    :param order: see above.
    """
    answer = None
    if 'number' in order:
        sender.emit(COUNT, {'source': order['source'],
                            'number': order['number'],
                            'sent': time.monotonic()})
        return None
    if 'text' in order:
        data = news(order['step'], order['text'])
        if order.get('ask'):
            answer = sender.call(QUESTION, data, to=order['to'],
                                 timeout=order['wait'])
        else:
            sender.emit(NEWS, data, to=order.get('to'))
    sender.emit(MARKER, order['step'])
    return answer
