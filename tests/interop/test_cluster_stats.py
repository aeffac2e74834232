"""The state of all servers, in a cluster with servers in Node.js."""
from redis_streams_adapter import NodeStats

from .helpers import Cluster


def test_cluster_stats(cluster: Cluster) -> None:
    """Those in Python answer, those in Node.js are only seen."""
    for server in (cluster.python, cluster.other_python):
        found = [NodeStats(*each)
                 for each in server.invoke('manager', 'cluster_stats')]
        python = [each for each in found if each.language == 'python']
        assert {each.uid for each in python} == {
            cluster.python.uid(), cluster.other_python.uid()}
        for each in python:
            assert each.pid and each.host and each.clients
        for each in found:
            if each not in python:
                assert each.language == 'javascript'
                assert set(each[3:]) == {None}


def test_servers_in_node_js_are_not_disturbed(cluster: Cluster) -> None:
    """They go on answering, and have emitted nothing to their clients."""
    before = {name: len(client.received('stats'))
              for name, client in cluster.client_of.items()}
    for _ in range(20):
        cluster.python.invoke('manager', 'cluster_stats')
    for server in cluster.servers:
        assert len(server.fetch_sockets()) == len(cluster.client_of)
    assert {name: len(client.received('stats'))
            for name, client in cluster.client_of.items()} == before
