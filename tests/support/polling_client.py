"""A client that polls only when the test says so."""
import http.client
import io
import json
import urllib.parse
from typing import Any, Callable, List, Tuple

from .wait import DEADLINE

#: What separates the packets of a response.
SEPARATOR = '\x1e'

#: Sends a request. It takes the method, the query and the body, and returns
#: the status and the text of the response.
Request = Callable[[str, str, bytes], Tuple[int, str]]


def over_http(url: str) -> Request:
    """Send requests to a server process, each on a connection of its own."""
    def request(method: str, query: str, body: bytes) -> Tuple[int, str]:
        connection = http.client.HTTPConnection(
            urllib.parse.urlsplit(url).netloc, timeout=DEADLINE)
        try:
            connection.request(method, f'/socket.io/?{query}', body)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    return request


def in_process(server: Any) -> Request:
    """Let a server of python-socketio handle requests."""
    def request(method: str, query: str, body: bytes) -> Tuple[int, str]:
        statuses: List[str] = []
        response = server.handle_request({
            'REQUEST_METHOD': method, 'QUERY_STRING': query,
            'PATH_INFO': '/socket.io/', 'wsgi.input': io.BytesIO(body),
            'CONTENT_LENGTH': str(len(body))},
            lambda status, headers: statuses.append(status))
        status, = statuses
        return int(status[:3]), b''.join(response).decode()

    return request


class PollingClient:
    """A connection that uses HTTP requests.

    :param request: sends them.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._query = 'EIO=4&transport=polling'
        #: The status of the last response.
        self.status = 0
        self.eio_sid = str(json.loads(self._send('GET')[1:])['sid'])
        self._query += f'&sid={self.eio_sid}'

    def connect(self, namespace: str = '/') -> str:
        """Connect to a namespace. What else the server has sent is lost.

        :return: the client's sid.
        """
        start = '40' if namespace == '/' else f'40{namespace},'
        self.post(start)
        while True:
            for packet in self.poll():
                if packet.startswith(start + '{'):
                    return str(json.loads(packet[len(start):])['sid'])

    def poll(self, query: str = '') -> List[str]:
        """The packets of a response; of an error its text.

        :param query: is added to the query.
        """
        return self._send('GET', query=query).split(SEPARATOR)

    def post(self, *packets: str) -> None:
        """Send packets."""
        self._send('POST', SEPARATOR.join(packets).encode())

    def _send(self, method: str, body: bytes = b'', query: str = '') -> str:
        self.status, text = self._request(method, self._query + query, body)
        return text
