"""What differs between the versions of python-socketio and python-engineio
that are admitted."""
import inspect

import pytest
from engineio.socket import Socket
from socketio.admin import InstrumentedServer

#: What the disconnect handler is told of a WebSocket that was lost; before
#: python-engineio 4.12 nobody had said what it was.
LOST = 'transport close' if 'TRANSPORT_CLOSE' in inspect.getsource(
    Socket._websocket_handler) else 'server disconnect'

#: Before python-socketio 5.13 or so, an instrumented server hears of no
#: disconnect at all: it hands them on without their reason.
NEEDS_ADMIN = pytest.mark.skipif(
    'reason' not in inspect.signature(
        InstrumentedServer._handle_eio_disconnect).parameters,
    reason='instrument() of this python-socketio loses disconnects')
