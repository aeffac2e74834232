"""What the admin UI is told of a client. The rest needs servers:
tests/integration/test_admin_ui.py."""
from types import SimpleNamespace
from typing import Any

import pytest
import socketio

from redis_streams_adapter.errors import ClusterTimeoutError, \
    ConfigurationError
from redis_streams_adapter.monitoring.admin_ui import AdminUI, described, \
    HIDDEN, instrument


def client(**handshake: Any) -> Any:
    return SimpleNamespace(sid='sid', namespace='/chat', rooms=['sid', 5],
                           data={'secret': 'plans'}, handshake=handshake)


def test_nothing_secret_is_told() -> None:
    found = described(client(
        auth={'token': 'secret'}, address='::1',
        url='/socket.io/?token=secret', query={
            'transport': 'websocket', 'token': 'secret'}, headers={
                'Cookie': 'secret', 'authorization': 'secret',
                'X-Api-Key': 'secret', 'host': 'here'}))
    assert 'secret' not in str(found) and 'plans' not in str(found)
    assert found['handshake']['headers'] == {
        'Cookie': HIDDEN, 'authorization': HIDDEN, 'X-Api-Key': HIDDEN,
        'host': 'here'}
    assert found['handshake']['url'] == '/socket.io/'
    assert found['handshake']['query'] == {'transport': 'websocket'}
    assert found['handshake']['address'] == '::1'
    assert (found['id'], found['nsp'], found['transport']) == (
        'sid', '/chat', 'websocket')
    assert found['rooms'] == ['sid', '5']


def test_client_of_which_little_is_known() -> None:
    """A server in another language may leave anything out."""
    found = described(client())
    assert found['transport'] == 'polling'
    assert found['handshake']['headers'] == found['handshake']['query'] == {}


@pytest.mark.parametrize('value', [None, 5, ['x'], 'text'])
def test_description_of_another_form(value: Any) -> None:
    found = described(client(query=value, headers=value, url=value))
    assert found['handshake']['headers'] == found['handshake']['query'] == {}
    one = client()
    one.handshake = value
    assert described(one)['transport'] == 'polling'


@pytest.mark.parametrize('name', ['refresh', 'max_clients'])
@pytest.mark.parametrize('value', [0, -1, None, '5', True, float('nan')])
def test_wrong_parameter_is_named(name: str, value: Any) -> None:
    wrong: Any = {name: value}
    with pytest.raises(ConfigurationError, match=f'^{name} must be'):
        instrument(object(), auth=False, **wrong)


def test_answers_of_some_servers() -> None:
    def ask(*args: Any) -> Any:
        raise ClusterTimeoutError(args, ['missing'])

    assert AdminUI._ask(ask, 'one', 'two') == ['one', 'two']
    with pytest.raises(ClusterTimeoutError):
        AdminUI._ask(ask)


def test_other_manager_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        instrument(socketio.Server(async_mode='threading'), auth=False)
