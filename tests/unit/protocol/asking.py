"""Requests to the nodes or to the clients of a cluster."""
from redis_streams_adapter.protocol.pending_requests import PendingRequests
from redis_streams_adapter.protocol.requests import ClientsRequest, \
    NodesRequest

#: Stands for the object on which the caller waits.
WAITER = object()


def is_open(requests: PendingRequests) -> bool:
    return len(requests) == 1


def ask_clients(requests: PendingRequests, *nodes: str) -> ClientsRequest:
    request = ClientsRequest('/', WAITER)
    requests.open('r', request, nodes, 0.0)
    return request


def ask_nodes(requests: PendingRequests, *nodes: str) -> NodesRequest:
    request = NodesRequest('/', WAITER)
    requests.open('r', request, nodes, 0.0)
    return request
