"""Differences between the supported versions of python-socketio and
python-engineio."""
import inspect

import pytest
from engineio.socket import Socket
from socketio.admin import InstrumentedServer

#: The reason that the disconnect handler gets for a lost WebSocket; before
#: python-engineio 4.12 it was not specified.
LOST = 'transport close' if 'TRANSPORT_CLOSE' in inspect.getsource(
    Socket._websocket_handler) else 'server disconnect'

#: Before python-socketio 5.13 or so, an instrumented server receives no
#: disconnects: they are passed on without their reason.
NEEDS_ADMIN = pytest.mark.skipif(
    'reason' not in inspect.signature(
        InstrumentedServer._handle_eio_disconnect).parameters,
    reason='instrument() of this python-socketio loses disconnects')
