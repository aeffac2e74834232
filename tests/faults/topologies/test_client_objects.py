"""A manager that was given a client object connects as that client does, also
after its connections were killed."""
from typing import Any

import pytest

from redis_streams_adapter import RedisStreamsManager

from ...integration.helpers import BACK_WITHIN
from ...support.client_library import library
from ...support.replicated import ask
from ...support.wait import wait_until
from ..fixtures import Unique


@pytest.fixture(params=['server', 'sentinels', 'cluster'])
def topology(request: Any) -> Any:
    return request.getfixturevalue({'server': 'redis_server'}.get(
        request.param, request.param))


def client_of(topology: Any) -> Any:
    """A client object for the servers."""
    if hasattr(topology, 'sentinels'):
        return library.sentinel.Sentinel(
            [('127.0.0.1', each.port) for each in topology.sentinels],
            ).master_for('mymaster')
    if hasattr(topology, 'servers'):
        return library.RedisCluster(
            host='127.0.0.1', port=topology.servers[0].port)
    return library.Redis(host='127.0.0.1', port=topology.port)


def test_client_object(topology: Any, unique: Unique) -> None:
    name = unique('stream')
    server = topology.master_of(name) if hasattr(topology, 'master_of') \
        else topology
    with client_of(topology) as client:
        with RedisStreamsManager(
                client, name, request_transport='pubsub',
                connection_state_recovery=True) as manager:
            manager.emit('first', None)
            assert manager.flush(BACK_WITHIN)
            restarts = manager.stats()['writer_restarts']
            ask(server, 'CLIENT', 'KILL', 'TYPE', 'normal')
            wait_until(lambda: manager.stats()['writer_restarts'] > restarts,
                       what='the writer to notice')
            manager.emit('second', None)
            assert manager.flush(BACK_WITHIN)
            wait_until(lambda: manager.health()['status'] == 'ok',
                       BACK_WITHIN, lambda: f'{manager.health()}')
    entries = str(ask(server, 'XRANGE', name, '-', '+'))
    for event in 'first', 'second':
        assert entries.count(f'["{event}"]') == 1
