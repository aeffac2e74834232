"""What an application learns of the servers of a cluster."""
from typing import Any, Dict, List, NamedTuple, Optional

#: The languages of servers.
PYTHON, JAVASCRIPT = 'python', 'javascript'


class NodeInfo(NamedTuple):
    """A node of the cluster.

    :param uid: its id.
    :param last_seen: how many seconds ago it was last heard of; 0 for this
                      one.
    :param host: the name of its host; ``None``: it has not said so, as no
                 server in Node.js does.
    :param pid: the id of its process; as ``host``.
    :param language: ``'python'`` or ``'javascript'``; ``None``: another server
                     has named it, and it has not been heard of yet.
    """

    uid: str
    last_seen: float
    host: Optional[str] = None
    pid: Optional[int] = None
    language: Optional[str] = None


class NodeStats(NamedTuple):
    """The state of a node. Of a server in Node.js, and of one with an older
    version of this package, only the first three fields are known; the others
    are ``None``.

    :param uid: its id.
    :param language: ``'python'`` or ``'javascript'``.
    :param last_seen: how many seconds ago it was last heard of in a stream; 0
                      for this one.
    :param host: the name of its host.
    :param pid: the id of its process.
    :param version: the version of this package.
    :param uptime: for how many seconds it has been in the cluster.
    :param clients: how many clients it has; a client of two namespaces counts
                    twice.
    :param rooms: how many rooms its clients are in, without those named like
                  a client's sid.
    :param namespaces: the namespaces that it serves, 1,000 at most.
    :param memory: its resident memory in bytes; ``None`` also if its system
                   does not say.
    :param stats: ``stats()`` of its manager.
    :param health: ``health()`` of its manager.
    :param cpu_seconds: for how many seconds its process has used a processor.
    :param latencies: ``latencies()`` of its manager.
    :param options: its options, as far as they are texts, numbers or truths.
                    Of ``connection_state_recovery``, the longest
                    disconnection in seconds; 0: it is off.
    """

    uid: str
    language: str
    last_seen: float
    host: Optional[str] = None
    pid: Optional[int] = None
    version: Optional[str] = None
    uptime: Optional[float] = None
    clients: Optional[int] = None
    rooms: Optional[int] = None
    namespaces: Optional[List[str]] = None
    memory: Optional[int] = None
    stats: Optional[Dict[str, Any]] = None
    health: Optional[Dict[str, Any]] = None
    cpu_seconds: Optional[float] = None
    latencies: Optional[Dict[str, Dict[str, float]]] = None
    options: Optional[Dict[str, Any]] = None
