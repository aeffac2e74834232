"""The data of requests and their answers, from the wire and to the wire.
Pure.

Keys that Node.js does not have, and ignores: of a request ``inbox``, the uid
of the node into whose inbox the answers go; ``pages``, if the answer may come
in pages; ``counts``, if rooms are to be counted; ``stats``, if the state of
the server is asked for; of an answer ``page`` and ``last``, the number of the
page and whether it is the last one, ``counts`` and ``stats``. See
:mod:`redis_streams_adapter.protocol.content`.
"""
from dataclasses import replace
from typing import Any, Dict, Optional, Tuple

from ..errors import DecodeError
from .content_parts import Data, MAX_NAME, opts_of, read_request_id, \
    read_rooms, read_target, want
from .json_parser import check_event
from .messages import Broadcast, BroadcastAck, BroadcastClientCount, \
    BroadcastRequest, FetchSockets, FetchSocketsResponse, is_room, Page, \
    Request, Room, ServerSideEmit, ServerSideEmitResponse
from .server_stats import read_stats


def with_inbox(message: Request, inbox: Optional[str]) -> Request:
    """A request whose answers may go into an inbox instead of the stream.

    :param inbox: the uid of the node that has the inbox, see
                  :mod:`redis_streams_adapter.cluster.inboxes`; ``None``: the
                  answers go where the request goes.
    """
    if inbox is None:
        return message
    if isinstance(message, Broadcast):
        return BroadcastRequest(message.args, message.target,
                                message.request_id, inbox)
    return replace(message, inbox=inbox)


def read_inbox(data: Dict[str, Any]) -> Optional[str]:
    """The inbox for the answers to a request, if there is one."""
    inbox = data.get('inbox')
    if inbox is not None:
        want(isinstance(inbox, str) and 0 < len(inbox) <= MAX_NAME, 'inbox')
    return inbox


def read_fetch(data: Dict[str, Any]) -> FetchSockets:
    return FetchSockets(
        read_target(data), read_request_id(data), data.get('pages') is True,
        data.get('counts') is True, read_inbox(data),
        data.get('stats') is True)


def read_fetched(data: Dict[str, Any]) -> FetchSocketsResponse:
    sockets = data.get('sockets')
    want(isinstance(sockets, list), 'sockets')
    for socket in sockets or ():
        want(isinstance(socket, dict), 'sockets[]')
        want(isinstance(socket.get('id'), str), 'sockets[].id')
        want(isinstance(socket.get('handshake'), dict),
             'sockets[].handshake')
        read_rooms(socket.get('rooms'), 'sockets[].rooms')
    return FetchSocketsResponse(
        read_request_id(data), tuple(sockets or ()), _read_page(data),
        _read_counts(data.get('counts')), read_stats(data.get('stats')))


def _read_page(data: Dict[str, Any]) -> Optional[Page]:
    number = data.get('page')
    if number is None:
        return None
    want(_is_number(number), 'page')
    return Page(number, data.get('last') is True)


def _read_counts(counts: Any) -> Optional[Tuple[Tuple[Room, int], ...]]:
    if counts is None:
        return None
    want(isinstance(counts, list), 'counts')
    for each in counts:
        want(isinstance(each, list) and len(each) == 2 and is_room(each[0])
             and _is_number(each[1]), 'counts[]')
    return tuple((room, count) for room, count in counts)


def _is_number(value: Any) -> bool:
    return type(value) is int and value >= 0


def read_server_side(data: Dict[str, Any]) -> ServerSideEmit:
    request_id = None
    if data.get('requestId') is not None:
        request_id = read_request_id(data)
    return ServerSideEmit(check_event(data.get('packet'), 'packet'),
                          request_id, read_inbox(data))


def read_response(data: Dict[str, Any]) -> ServerSideEmitResponse:
    return ServerSideEmitResponse(read_request_id(data), data.get('packet'))


def read_count(data: Dict[str, Any]) -> BroadcastClientCount:
    count = data.get('clientCount')
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise DecodeError('clientCount is missing or of the wrong type')
    return BroadcastClientCount(read_request_id(data), count)


def read_ack(data: Dict[str, Any]) -> BroadcastAck:
    # Only this package has `args`. Node.js sends the first argument, as
    # `packet`, and leaves it out if it is undefined.
    args = data.get('args')
    if args is None:
        args = [data['packet']] if 'packet' in data else []
    want(isinstance(args, list), 'args')
    return BroadcastAck(read_request_id(data), tuple(args))


def write_request(data: Data, request_id: Optional[str],
                  inbox: Optional[str]) -> Data:
    """Add what makes it a request, if it is one."""
    if request_id is not None:
        data['requestId'] = request_id
    if inbox is not None:
        data['inbox'] = inbox
    return data


def write_fetch(_: str, message: FetchSockets) -> Data:
    data = write_request({'opts': opts_of(message.target)},
                         message.request_id, message.inbox)
    for name in ('pages', 'counts', 'stats'):
        if getattr(message, name):
            data[name] = True
    return data


def write_fetched(_: str, message: FetchSocketsResponse) -> Data:
    data: Data = {'requestId': message.request_id, 'sockets': message.sockets}
    if message.page is not None:
        data['page'], data['last'] = message.page
    if message.counts is not None:
        data['counts'] = message.counts
    if message.stats is not None:
        data['stats'] = message.stats
    return data


def write_server_side(_: str, message: ServerSideEmit) -> Data:
    return write_request({'packet': message.args}, message.request_id,
                         message.inbox)


def write_response(_: str, message: ServerSideEmitResponse) -> Data:
    return {'requestId': message.request_id, 'packet': message.response}


def write_count(_: str, message: BroadcastClientCount) -> Data:
    return {'requestId': message.request_id,
            'clientCount': message.client_count}


def write_ack(_: str, message: BroadcastAck) -> Data:
    data: Data = {'requestId': message.request_id, 'args': message.args}
    if message.args:
        data['packet'] = message.args[0]
    return data
