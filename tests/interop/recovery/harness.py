"""What tests of recovery on servers in both languages share."""
from typing import Any, Callable, Dict, List

from ...support.js_client import JsClient
from ...support.js_server import JsServer
from ...support.node_process import NodeProcess
from ...support.wire_format import load_data
from ..helpers import TRANSPORTS
from ..moving_client import RecoveryCluster

ConnectJs = Callable[..., JsClient]

StartNodes = Callable[..., List[NodeProcess]]

StartJs = Callable[..., List[JsServer]]

DATA: Dict[str, Any] = {
    'user': 'Zoë 🎉', 'roles': [1, None, True, 0.5, -2 ** 40, {}],
    'key': b'\x00\xff', 'nested': {'inside': [b'\x01', []]}}

#: One request transport for each published adapter: recovery does not depend
#: on sharded channels.
ADAPTERS = [each for each in TRANSPORTS if not each.is_sharded]


def entry_id(cluster: RecoveryCluster, event: str) -> str:
    """The id of the one entry that has this event."""
    found, = [entry.decode() for entry, fields in cluster.redis.xrange(
        cluster.options['stream_name']) if fields[b'type'] == b'3'
        and load_data(fields[b'data'].decode())['packet']['data'][0] == event]
    return found
