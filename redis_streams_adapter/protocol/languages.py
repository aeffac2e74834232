"""Which of the other nodes run this package, and which are servers in Node.js?
Pure.

A server in Python is known by the fields of its entries that only this package
writes. A node that was only listed by another one may be in either language,
see :mod:`redis_streams_adapter.protocol.discovery`.
"""
from typing import Dict, Iterable, List, Optional, Tuple

from ..nodes import JAVASCRIPT, NodeInfo, PYTHON
from .membership import Membership
from .presence import Process


class Languages:
    """The languages of the members.

    Not synchronised: the owner, the node, is called by one task at a time.
    """

    def __init__(self, members: Membership) -> None:
        self._members = members

    def asked(self, namespace: str, python_only: bool) -> Iterable[str]:
        """The uids of the nodes that have to answer a request.

        :param python_only: without those that are known to be servers in
                            Node.js.
        """
        members = self._members
        nodes = members.nodes(namespace)
        return nodes if not python_only else [
            uid for uid in nodes
            if members.language(namespace, uid) != JAVASCRIPT]

    def groups(self) -> List[str]:
        """Namespaces in which to ask so that each node is asked that may run
        this package: ``/`` alone, if they all serve it."""
        left: Dict[str, str] = {}
        for namespace in self._members.seen:
            for uid in self.asked(namespace, True):
                left.setdefault(uid, namespace)
        for server in self._members.servers.by_writer.values():
            for namespace in server.known.names:
                left.setdefault(server.uid, namespace)
                break
        groups: List[str] = []
        for namespace in ['/', *left.values()]:
            inside = [uid for uid in self.asked(namespace, True)
                      if left.pop(uid, None) is not None]
            if inside:
                groups.append(namespace)
        return groups

    def infos(self, namespace: str, now: float) -> List[NodeInfo]:
        """What is known of the other nodes of a namespace."""
        members, found = self._members, []
        for uid, seen in members.nodes(namespace).items():
            process = next((each.process for each in members.servers.of(uid)),
                           Process())
            found.append(NodeInfo(uid, max(0.0, now - seen), *process,
                                  members.language(namespace, uid)))
        return found

    def all(self) -> Dict[str, Tuple[Optional[str], float]]:
        """The language of each node, as far as it is known, and when the node
        was last heard of, by uid.

        A server in Node.js has another uid in each namespace. It always
        serves ``/``, and is counted there alone.
        """
        members = self._members
        found: Dict[str, Tuple[Optional[str], float]] = {}
        for namespace, nodes in members.seen.items():
            for uid, seen in nodes.items():
                language, before = found.get(uid, (None, seen))
                found[uid] = language or members.language(namespace, uid), \
                    max(seen, before)
        for server in members.servers.by_writer.values():
            _, before = found.get(server.uid, (None, server.seen))
            found[server.uid] = PYTHON, max(server.seen, before)
        return {uid: each for uid, each in found.items()
                if each[0] != JAVASCRIPT or uid in members.seen.get('/', ())}
