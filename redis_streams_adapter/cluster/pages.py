"""The answer to FETCH_SOCKETS, in small steps and in pages: a server with many
clients goes on serving them meanwhile, and no single answer is large.

A server that asks without ``pages``, one in Node.js say, gets all at once.
"""
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, \
    Sequence

from ..clients.descriptions import count_rooms, describe
from ..protocol.events import Act
from ..protocol.messages import FetchSockets, FetchSocketsResponse, Page, Room
from ..runtime.delivery import Client
from .requester import Requester

#: About how many bytes a page has, and the largest page with more than one
#: client.
PAGE_BYTES, PAGE_LIMIT = 1 << 15, 1 << 17

#: How many clients the first page has, and any page at most.
FIRST, MOST = 20, 500

#: How many rooms a page of counts has, at most.
ROOMS = 1000


def answer_with_sockets(requester: Requester, act: Act,
                        message: FetchSockets, server: Any,
                        clients: Sequence[Client],
                        is_sendable: Callable[[Any], bool]
                        ) -> Iterator[bool]:
    """Describe the local clients to another server.

    :return: work for :class:`~redis_streams_adapter.cluster.steps.Steps`.
    """
    def described() -> Iterator[Optional[Dict[str, Any]]]:
        return describe(server, act.namespace, clients, is_sendable) \
            if clients else iter(())

    if message.pages:
        yield from _answer_in_pages(
            Pages(requester, act, message.request_id), described())
    elif len(clients) <= FIRST or not (yield from requester.reply_in_parts(
            act, message.request_id, _batches(described()))):
        # A small answer; or some of it is binary data, which changes how all
        # of it is encoded.
        sockets = []
        for each in described():
            if each is None:
                yield False
            else:
                sockets.append(each)
        requester.reply(act, FetchSocketsResponse(
            message.request_id, tuple(sockets)))


def _answer_in_pages(pages: 'Pages',
                     described: Iterator[Optional[Dict[str, Any]]]
                     ) -> Iterator[bool]:
    batch: List[Dict[str, Any]] = []
    for each in described:
        if each is None:
            yield False
            continue
        batch.append(each)
        if len(batch) >= pages.size:
            yield from pages.send(batch, False)
            batch = []
    yield from pages.send(batch, True)


def _batches(described: Iterator[Optional[Dict[str, Any]]]
             ) -> Iterator[Optional[Sequence[Dict[str, Any]]]]:
    batch: List[Dict[str, Any]] = []
    for each in described:
        if each is None:
            yield None
            continue
        batch.append(each)
        if len(batch) >= FIRST:
            yield batch
            batch = []
    if batch:
        yield batch


def answer_with_counts(requester: Requester, act: Act,
                       message: FetchSockets, server: Any,
                       is_sendable: Callable[[Any], bool]) -> Iterator[bool]:
    """Count the local clients in each room for another server; as
    :func:`answer_with_sockets`."""
    counts: Dict[Room, int] = {}
    if server is not None:
        for _ in count_rooms(server.manager, act.namespace, is_sendable,
                             counts):
            yield False
    rooms = list(counts.items())
    for number, start in enumerate(range(0, max(1, len(rooms)), ROOMS)):
        while requester.crowded:
            yield True
        requester.reply(act, FetchSocketsResponse(
            message.request_id, (), Page(number, start + ROOMS >= len(rooms)),
            tuple(rooms[start:start + ROOMS])))
        yield False


def answer_with_stats(requester: Requester, act: Act, message: FetchSockets,
                      state: Mapping[str, Any],
                      work: Iterator[None]) -> Iterator[bool]:
    """Say to another server how this one is; as :func:`answer_with_sockets`.

    :param state: what to say, when the work is done.
    """
    for _ in work:
        yield False
    while requester.crowded:
        yield True
    requester.reply(act, FetchSocketsResponse(
        message.request_id, (), Page(0, True), stats=state))
    yield False


class Pages:
    """Sends the pages of one answer. Used by one task."""

    def __init__(self, requester: Requester, act: Act,
                 request_id: str) -> None:
        self._requester = requester
        self._act = act
        self._request_id = request_id
        self._number = 0
        #: How many clients to put into the next page.
        self.size = FIRST

    def send(self, sockets: Sequence[Dict[str, Any]],
             last: bool) -> Iterator[bool]:
        """Send these sockets, in more than one page if need be.

        :param last: whether no others follow.
        """
        while self._requester.crowded:
            yield True
        size, send = self._requester.encode_reply(
            self._act, FetchSocketsResponse(
                self._request_id, tuple(sockets), Page(self._number, last)))
        count = len(sockets)
        if size > PAGE_LIMIT and count > 1:
            yield False
            yield from self.send(sockets[:count // 2], False)
            yield from self.send(sockets[count // 2:], last)
            return
        self._number += 1
        self.size = max(1, min(MOST, count * PAGE_BYTES // size or 1))
        send()
        yield False
