"""The dashboard mounted into an application, with real servers."""
import http.client
import json
import sys
import time
from typing import Any, Callable, Dict, Iterator, List

import pytest

from ..support.controlled import ControlledProcess
from ..support.wait import wait_until

#: Seconds between two questions.
INTERVAL = 0.3


class App(ControlledProcess):
    """An application with a dashboard."""

    def __init__(self, mode: str, url: str, **options: Any) -> None:
        super().__init__('dashboard', [
            sys.executable, '-m', 'tests.support.dashboard_app', mode, url,
            json.dumps({'interval': INTERVAL, **options})])

    def get(self, path: str) -> Any:
        """The answer to a request, with its connection."""
        connection = http.client.HTTPConnection(
            '127.0.0.1', self.port, timeout=30)
        connection.request('GET', path)
        response = connection.getresponse()
        response.connection = connection
        return response

    @property
    def counts(self) -> Dict[str, Any]:
        return dict(json.loads(self.get('/state').read()))


class Viewer:
    """Someone who looks."""

    def __init__(self, app: App) -> None:
        self._response = app.get('/watch/events')
        assert self._response.status == 200
        self._lines = iter(self._response)

    def next(self) -> Dict[str, Any]:
        """The next message."""
        return next(json.loads(line[len(b'data: '):])
                    for line in self._lines if line.startswith(b'data: '))

    def wait_for(self, condition: Callable[[Dict[str, Any]], Any],
                 ) -> Dict[str, Any]:
        """The state of the first message for which a condition holds."""
        for _ in range(300):
            state = self.next()['state']
            if state is not None and condition(state):
                return dict(state)
        raise AssertionError(f'not found; the last state was {state}')

    def ends(self) -> bool:
        """Read to the end."""
        for _ in self._lines:
            pass
        return True

    def leave(self) -> None:
        self._response.close()
        self._response.connection.close()


@pytest.fixture
def watch(mode: str) -> Iterator[Callable[..., App]]:
    """Starts an application: ``watch(redis_url, **options)``."""
    started: List[App] = []

    def start(url: str, **options: Any) -> App:
        started.append(App(mode, url, **options).launch())
        return started[-1].wait_ready()

    yield start
    for each in started:
        each.kill()


def test_cluster(make_redis: Callable[..., Any],
                 watch: Callable[..., App],
                 start_nodes: Callable[..., List[Any]],
                 connect: Callable[..., Any],
                 unique: Callable[[str], str]) -> None:
    redis = make_redis().start()
    nodes = start_nodes(2, redis.url, connection_state_recovery=True)
    # A server joins with its first client.
    client, _ = [connect(node) for node in nodes]
    room = unique('room')
    nodes[0].enter_room(client.sids['/'], room)
    app = watch(redis.url)
    viewer = Viewer(app)
    assert viewer.next()['streams'] == ['socket.io']
    state = viewer.wait_for(lambda each: len(each['servers']) == 2
                            and each['rooms'])
    assert {each['uid'] for each in state['servers']} == {
        node.uid() for node in nodes}
    assert all(each['language'] == 'python' and each['status'] == 'ok'
               for each in state['servers'])
    assert state['rooms'] == {'count': 1, 'largest': [[room, 1]]}
    assert state['recoveries']['recovered'] == 0
    assert set(state['losses'].values()) == {0}
    assert state['problem'] is None
    # It is no member.
    assert nodes[0].invoke('manager', 'server_count') == 2
    # Numbers move.
    nodes[0].start_pulse(unique('event'))
    # Before version 7, Redis does not count the entries of a stream.
    counts = redis.binary.version >= (7,)
    viewer.wait_for(lambda each: bool(
        each['streams'][0]['rate']) == counts and sum(
            row['sent_rate'] or 0 for row in each['servers']) > 5)
    # An outage appears and ends.
    redis.kill()
    state = viewer.wait_for(lambda each: each['problem'])
    assert state['events'][0]['to'] is None
    redis.start()
    # All servers have seen it, and it is one.
    viewer.wait_for(lambda each: len(each['servers']) == 2 and any(
        event['kind'] == 'outage' and event['to'] and len(event['by']) == 3
        for event in each['events']))
    # A server is killed.
    uid = nodes[1].uid()
    nodes[1].kill()
    viewer.wait_for(lambda each: uid in each['missing'])
    viewer.wait_for(lambda each: len(each['servers']) == 1
                    and not each['missing'])


def test_viewers_share_the_questions(redis_server: Any,
                                     watch: Callable[..., App]) -> None:
    begun, interval = time.monotonic(), 1.0
    app = watch(redis_server.url, interval=interval)
    viewers = [Viewer(app) for _ in range(5)]
    wait_until(lambda: app.counts['viewers'] == 5)
    # After "hello", of which the first one may have nothing in it.
    seen = [[each.next() for _ in range(3)][-1]['point']['time']
            for each in viewers]
    asked = app.counts['asked']
    # Each for itself would ask five times as often.
    assert asked <= (time.monotonic() - begun) / interval + 2
    assert len(set(seen)) <= asked
    # When they leave, that is noticed, and no more is asked.
    for each in viewers:
        each.leave()
    wait_until(lambda: app.counts['viewers'] == 0, 30.0)


def test_close_lets_viewers_go(redis_server: Any,
                               watch: Callable[..., App]) -> None:
    app = watch(redis_server.url)
    viewer = Viewer(app)
    viewer.next()
    assert app.counts['viewers'] == 1
    app.get('/close').read()
    assert viewer.ends()
    counts = app.counts
    assert (counts['viewers'], counts['connected']) == (0, False)
    assert app.get('/watch/events').status == 503


def test_mounted_page(redis_server: Any, watch: Callable[..., App]) -> None:
    app = watch(redis_server.url)
    response = app.get('/watch')
    assert response.status == 303
    assert response.headers['Location'] == './watch/'
    assert b'dashboard.js' in app.get('/watch/').read()
    assert app.counts == {'viewers': 0, 'asked': 0, 'connected': False}


def test_several_streams(redis_server: Any, watch: Callable[..., App],
                         unique: Callable[[str], str]) -> None:
    name = unique('stream')
    app = watch(redis_server.url, stream_name=name, stream_count=3)
    viewer = Viewer(app)
    assert viewer.next()['streams'] == [f'{name}-{n}' for n in range(3)]
    state = viewer.wait_for(lambda each: each['streams'])
    assert [each['stream'] for each in state['streams']] == [
        f'{name}-{n}' for n in range(3)]
