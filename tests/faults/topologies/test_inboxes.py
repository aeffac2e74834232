"""Inboxes for answers in a Redis Cluster, on whichever server they are."""
from concurrent.futures import ThreadPoolExecutor

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN
from ...support.redis_cluster import RedisCluster
from ...support.wait import wait_until
from ..fixtures import StartNodes, Unique


def test_inboxes_in_a_cluster(cluster: RedisCluster, start_nodes: StartNodes,
                              unique: Unique) -> None:
    """Requests are answered while an inbox moves to another server, and
    after that into the inbox again."""
    stream = unique('stream')
    nodes = start_nodes(3, cluster.url, stream_name=stream, **STEADY)
    start_managers(nodes)
    for node in nodes:
        node.handle_server_side('name', node.name)
        node.wait_server_count(3)

    def ask_all() -> None:
        for node in nodes:
            assert sorted(node.server_side_call(
                'name', timeout=BACK_WITHIN)) == sorted(
                each.name for each in nodes if each is not node)

    def in_stream() -> int:
        with cluster.master_of(stream).client() as admin:
            return len([fields for _, fields in admin.xrange(stream)
                        if fields[b'type'] == b'10'])

    ask_all()
    assert in_stream() == 0
    keys = [f'{stream}:answers:{node.identify()[1]}' for node in nodes]
    for key in keys:
        assert cluster.count_keys(key, cluster.master_of(key)) == 1
    key = keys[0]
    source = cluster.master_of(key)
    target = cluster.others(source)[0]
    cluster.begin_move(key, source, target)
    ask_all()
    cluster.move_keys(key, source, target)
    with ThreadPoolExecutor(1) as pool:
        # The server that asks follows when the move has ended, as it does
        # with the stream.
        asking = pool.submit(ask_all)
        cluster.end_move(key, source, target)
        asking.result()

    def is_in_inbox() -> bool:
        before = in_stream()
        ask_all()
        return in_stream() == before

    wait_until(is_in_inbox, BACK_WITHIN, what='answers in inboxes')
    assert cluster.count_keys(key, source) == 0
    for node in nodes:
        assert node.stats()['requests_dropped'] == 0
