"""Differences between the supported versions of python-socketio and
python-engineio."""
import inspect

import pytest
from engineio.socket import Socket
from socketio.admin import InstrumentedServer

#: The disconnect handler's reason for a lost WebSocket. Before python-engineio
#: 4.12 the reason was not specified.
LOST = 'transport close' if 'TRANSPORT_CLOSE' in inspect.getsource(
    Socket._websocket_handler) else 'server disconnect'

#: Before about python-socketio 5.13, an instrumented server gets no
#: disconnects, because they are passed on without their reason.
NEEDS_ADMIN = pytest.mark.skipif(
    'reason' not in inspect.signature(
        InstrumentedServer._handle_eio_disconnect).parameters,
    reason='instrument() of this python-socketio loses disconnects')
