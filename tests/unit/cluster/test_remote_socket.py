"""A client of any server, made from its description."""
from typing import Any, Dict, List, Tuple

import pytest

from redis_streams_adapter import ClusterTimeoutError
from redis_streams_adapter.cluster.remote_socket import RemoteSocket

DESCRIPTION: Dict[str, Any] = {
    'id': 's', 'handshake': {'issued': 1}, 'rooms': ('s', 'x', 7),
    'data': {'name': 'ann'}}


class Manager:
    """Records its calls.

    :param responses: the acknowledgements.
    """

    def __init__(self, *responses: Any) -> None:
        self.calls: List[Tuple[str, Any, Any]] = []
        self._responses = list(responses)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            return self._responses if name == 'emit_with_ack' else None

        return call


def make(manager: Any, **described: Any) -> RemoteSocket:
    return RemoteSocket(manager, '/chat', 'node', {**DESCRIPTION, **described})


def test_attributes() -> None:
    socket = make(Manager())
    assert socket.sid == 's'
    assert socket.node == 'node'
    assert socket.namespace == '/chat'
    assert socket.rooms == ['s', 'x', 7]
    assert socket.data == {'name': 'ann'}
    assert socket.handshake == {'issued': 1}
    assert 's' in repr(socket) and 'node' in repr(socket)


@pytest.mark.parametrize('data', ['', 0, [], False, 'text', [1]])
def test_data_of_node_js_may_be_anything(data: Any) -> None:
    assert make(Manager(), data=data).data == data
    assert type(make(Manager(), data=data).data) is type(data)


@pytest.mark.parametrize('described', [{**DESCRIPTION, 'data': None},
                                       {key: DESCRIPTION[key] for key in (
                                           'id', 'handshake', 'rooms')}])
def test_missing_data(described: Any) -> None:
    """``undefined`` in Node.js."""
    assert RemoteSocket(Manager(), '/', 'node', described).data == {}


def test_description_is_copied() -> None:
    described = {**DESCRIPTION, 'rooms': ['s'], 'handshake': {'issued': 1}}
    socket = make(Manager(), **described)
    socket.rooms.append('y')
    socket.handshake['issued'] = 2
    assert described['rooms'] == ['s']
    assert described['handshake'] == {'issued': 1}


@pytest.mark.parametrize('method, args, expected', [
    ('emit', ('hello', 1),
     ('emit', ('hello', 1), {'namespace': '/chat', 'room': 's'})),
    ('call', ('hello', 1, 3),
     ('emit_with_ack', ('hello', 1, 's'),
      {'namespace': '/chat', 'timeout': 3})),
    ('enter_room', ('x',),
     ('sockets_join', ('x', 's'), {'namespace': '/chat'})),
    ('leave_room', (['x', 'y'],),
     ('sockets_leave', (['x', 'y'], 's'), {'namespace': '/chat'})),
    ('disconnect', (),
     ('disconnect_sockets', ('s',), {'namespace': '/chat', 'close': False})),
    ('disconnect', (True,),
     ('disconnect_sockets', ('s',), {'namespace': '/chat', 'close': True}))])
def test_methods(method: str, args: Any, expected: Any) -> None:
    """Only this client is affected, in its namespace."""
    manager = Manager('yes')
    getattr(make(manager), method)(*args)
    assert manager.calls == [expected]


@pytest.mark.parametrize('response', ['yes', None, ('yes', 2), [1]])
def test_answer(response: Any) -> None:
    assert make(Manager(response)).call('hello') == response


def test_no_answer_of_a_disconnected_client() -> None:
    with pytest.raises(ClusterTimeoutError) as info:
        make(Manager()).call('hello')
    assert info.value.missing == ['node']
    assert str(info.value) == ('timeout reached: only 0 responses received '
                               'out of 1')
