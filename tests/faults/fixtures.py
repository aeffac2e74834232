"""The types of the fixtures that tests of faults take."""
from typing import Callable, List

from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer

Connect = Callable[..., Client]
StartNodes = Callable[..., List[NodeProcess]]
Unique = Callable[[str], str]
MakeRedis = Callable[..., RedisServer]
MakeProxy = Callable[[int], Proxy]
