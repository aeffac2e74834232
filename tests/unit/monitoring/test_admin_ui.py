"""What the admin UI is told of a client. The rest needs servers:
tests/integration/test_admin_ui.py."""
from types import SimpleNamespace
from typing import Any

import pytest
import socketio

from redis_streams_adapter.errors import ConfigurationError
from redis_streams_adapter.monitoring.admin_ui import described, HIDDEN, \
    instrument


def client(**handshake: Any) -> Any:
    return SimpleNamespace(sid='sid', namespace='/chat', rooms=['sid', 5],
                           data={'secret': 'plans'}, handshake=handshake)


def test_nothing_secret_is_told() -> None:
    found = described(client(
        auth={'token': 'secret'}, address='::1', query={
            'transport': 'websocket'}, headers={
                'Cookie': 'secret', 'authorization': 'secret',
                'host': 'here'}))
    assert 'secret' not in str(found) and 'plans' not in str(found)
    assert found['handshake']['headers'] == {
        'Cookie': HIDDEN, 'authorization': HIDDEN, 'host': 'here'}
    assert found['handshake']['address'] == '::1'
    assert (found['id'], found['nsp'], found['transport']) == (
        'sid', '/chat', 'websocket')
    assert found['rooms'] == ['sid', '5']


def test_client_of_which_little_is_known() -> None:
    """A server in another language may leave anything out."""
    found = described(client())
    assert found['transport'] == 'polling'
    assert found['handshake']['headers'] == found['handshake']['query'] == {}


def test_other_manager_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        instrument(socketio.Server(async_mode='threading'), auth=False)
