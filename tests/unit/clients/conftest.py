"""Fixtures for tests of delivery: a server, its clients, and a delivery to
them."""
import functools
import logging
from typing import Callable

import pytest
import socketio

from redis_streams_adapter.clients.delivery import Delivery

from ..fake_server import FakeClient, make_server

Connect = Callable[..., FakeClient]


@pytest.fixture
def server() -> socketio.Server:
    return make_server(client_manager=socketio.Manager())


@pytest.fixture
def delivery(server: socketio.Server,
             logger: Callable[[], logging.Logger]) -> Delivery:
    return Delivery(server.manager, server, logger)


@pytest.fixture
def connect(server: socketio.Server) -> Connect:
    return functools.partial(FakeClient, server)
