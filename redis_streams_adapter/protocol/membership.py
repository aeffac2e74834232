"""Who is in the cluster: when each node was last heard of, per namespace.

The rules are those of ``ClusterAdapterWithHeartbeat`` in the npm package
``socket.io-adapter`` 2.5: any message is a sign of life, a node that says
goodbye is dropped at once, and one that is silent for the heartbeat timeout
is dropped by the next :meth:`Membership.tick`.

Account is kept of every namespace that is heard of, whether or not it is
served here: a process can ask the servers of any namespace. A namespace is
dropped with its last member.

One rule is our own: only a node that we *could have heard* is dropped. While
the stream cannot be read, and after this process has been asleep, silence
says nothing about the others, and :meth:`Membership.refresh` gives each of
them the whole timeout again.

Times are seconds of the receiver's own monotonic clock, and come in as
``now``; clocks of different machines are never compared.
"""
from typing import Dict, List, Set, Tuple


class Membership:
    """Last-seen times of the *other* nodes.

    Not synchronised: whoever owns it lets one task in at a time.

    :param timeout: seconds of silence after which a node is gone.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._seen: Dict[str, Dict[str, float]] = {}

    def heard(self, namespace: str, uid: str, now: float) -> bool:
        """Note a sign of life.

        :return: whether the node is new here.
        """
        nodes = self._seen.get(namespace)
        if nodes is None:
            self._seen[namespace] = {uid: now}
            return True
        new = uid not in nodes
        nodes[uid] = now
        return new

    def left(self, namespace: str, uid: str) -> bool:
        """Note that a node has said goodbye.

        :return: whether it was known.
        """
        nodes = self._seen.get(namespace)
        if nodes is None or nodes.pop(uid, None) is None:
            return False
        if not nodes:
            del self._seen[namespace]
        return True

    def tick(self, now: float) -> List[Tuple[str, str]]:
        """Drop who is silent.

        :return: the (namespace, uid) of each node that was dropped.
        """
        gone = [(namespace, uid)
                for namespace, nodes in self._seen.items()
                for uid, seen in nodes.items()
                if now - seen > self._timeout]
        for namespace, uid in gone:
            self.left(namespace, uid)
        return gone

    def refresh(self, now: float) -> None:
        """Take every node as heard of just now."""
        for nodes in self._seen.values():
            for uid in nodes:
                nodes[uid] = now

    def nodes(self, namespace: str) -> Dict[str, float]:
        """The last-seen time of each other node, by uid."""
        return dict(self._seen.get(namespace, {}))

    def count(self, namespace: str) -> int:
        """The number of other nodes."""
        return len(self._seen.get(namespace, ()))

    @property
    def uids(self) -> Set[str]:
        """The other nodes of all namespaces."""
        known: Set[str] = set()
        for nodes in list(self._seen.values()):
            known.update(nodes)
        return known
