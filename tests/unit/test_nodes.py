"""What an application learns of the servers of a cluster."""
from redis_streams_adapter.nodes import JAVASCRIPT, NodeInfo, NodeStats
from redis_streams_adapter.protocol.server_stats import RULES


def test_only_little_is_known_of_a_server_in_node_js() -> None:
    stats = NodeStats('a', JAVASCRIPT, 1.5)
    assert stats[:3] == ('a', 'javascript', 1.5)
    assert set(stats[3:]) == {None}


def test_fields_are_those_of_an_answer() -> None:
    assert NodeStats._fields[3:] == tuple(RULES)


def test_positional_use() -> None:
    uid, last_seen, *_ = NodeInfo('a', 1.5)
    assert (uid, last_seen) == ('a', 1.5)
