"""Redis requires TLS, and a certificate of its clients."""
from pathlib import Path

import pytest

from redis_streams_adapter import RedisStreamsManager

from ...conftest import skip_incapable
from ...integration.conftest import STEADY
from ...integration.helpers import BACK_WITHIN
from ...support.certificates import Authority, Certificate, HOST
from ...support.client_library import REDIS_CLIENT
from ...support.redis_binaries import tls_binary
from ...support.redis_cluster import SLOTS
from ...support.redis_server import RedisServer
from ...support.replicated import ask
from ...support.wait import wait_until
from ..fixtures import Connect, StartNodes, Unique
from .accounts import start_pulses
from .conftest import tls_url


def test_killed_connections_lose_nothing(tls_server: RedisServer,
                                         certificate: Certificate,
                                         start_nodes: StartNodes,
                                         connect: Connect,
                                         unique: Unique) -> None:
    pulses = start_pulses(
        start_nodes, connect, unique, tls_url(tls_server, certificate.query),
        stream_name=unique('stream'), **STEADY)
    with tls_server.client() as admin:
        for _ in range(3):
            admin.execute_command('CLIENT', 'KILL', 'TYPE', 'normal')
            pulses.wait_flow()
    pulses.check_all_arrived()


def test_cluster_uses_certificate(authority: Authority,
                                  certificate: Certificate,
                                  unique: Unique) -> None:
    """A connection that reads the slots of a cluster, here of one server,
    needs the certificate, too."""
    binary = tls_binary()
    if binary is None:
        skip_incapable('no TLS')
    with RedisServer(
            binary=binary.path, arguments=(
                '--cluster-enabled', 'yes', '--tls-cluster', 'yes'),
            client_options={'ssl': True, **certificate.client_options},
            ) as server:
        server.start('--port', '0', '--tls-port', str(server.port),
                     *authority.issue('member').server_arguments)
        ask(server, 'CLUSTER', 'ADDSLOTS', *range(SLOTS))
        wait_until(lambda: 'cluster_state:ok' in ask(
            server, 'CLUSTER', 'INFO'), what='the cluster')
        stream = unique('stream')
        with RedisStreamsManager(
                f'{REDIS_CLIENT}s+cluster://{HOST}:{server.port}?'
                f'{certificate.query}',
                stream) as manager:
            manager.emit('event', None)
            assert manager.flush(BACK_WITHIN)
            assert manager.health()['status'] == 'ok'
        data = [fields[1::2] for _, fields
                in ask(server, 'XRANGE', stream, '-', '+')]
        assert sum('["event"]' in str(each) for each in data) == 1


@pytest.mark.parametrize('fault, error', [
    ('no certificate', 'certificate required'),
    ('of another authority', 'unknown ca'),
    ('trusts another authority', 'certificate verify failed'),
])
def test_wrong_certificate_is_reported(tls_server: RedisServer,
                                       certificate: Certificate,
                                       tmp_path: Path, start_nodes: StartNodes,
                                       connect: Connect, unique: Unique,
                                       fault: str, error: str) -> None:
    """The node reports the error, and serves its local clients."""
    other = Authority(tmp_path).issue('other')
    query = {
        'no certificate': f'ssl_ca_certs={certificate.authority}',
        'of another authority': certificate._replace(
            cert=other.cert, key=other.key).query,
        'trusts another authority': certificate._replace(
            authority=other.authority).query,
    }[fault]
    (node,) = start_nodes(1, tls_url(tls_server, query), **STEADY)
    client = connect(node)
    node.wait_health('degraded')
    # The server may close the connection before its reason has arrived. Then
    # the next attempt shows it.
    wait_until(lambda: error in node.health()['last_error'],
               what=lambda: f'{error!r}, not {node.health()["last_error"]!r}')
    event = unique('event')
    node.emit(event)
    client.wait_for(event)
