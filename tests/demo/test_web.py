"""The page of the demo: its command, its processes, its buttons."""
import json
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from tests.support.demo_page import BUTTONS, DemoPage, errors
from tests.support.demo_run import Run
from tests.support.redis_server import RedisServer

NOTHING_LOST = (r'PASS  (\d+) events, (\d+) of \2 deliveries exactly once, '
                r'0 out of order; median \d+\.\d ms')


def returns(state: Dict[str, Any]) -> int:
    return sum(each['returns'] for each in state['clients'])


def test_each_button_loses_nothing(run: Callable[..., Run],
                                   redis_binary: str) -> None:
    demo = run('--web', '--port', '0')
    page = DemoPage(demo)
    before = page.state()
    assert [each['state'] for each in before['servers']] == ['serving'] * 3
    for button in BUTTONS:
        state = page.press_and_wait(button)
        assert errors(state) == {}
    assert sorted(state['buttons']) == sorted(BUTTONS)
    assert [each['state'] for each in state['servers']] == ['serving'] * 3
    # One server is another process. Its two clients, and the one that was
    # dropped, have come back, and were recovered.
    assert len({each['pid'] for each in state['servers']}
               - {each['pid'] for each in before['servers']}) == 1
    assert returns(state) >= 3
    assert all(each['recovered'] == each['returns']
               for each in state['clients'])
    demo.process.signal(signal.SIGINT)
    assert demo.wait() == 0, demo.text
    assert re.fullmatch(NOTHING_LOST, demo.summary), demo.text
    for said in ('SIGKILL', 'SIGSTOP', 'append-only', 'connections to Redis',
                 'without a goodbye', 'recovered, with'):
        assert said in demo.text
    assert 'Traceback' not in demo.text
    assert demo.processes() == []


@pytest.mark.parametrize('button', ['freeze-redis', 'kill-server'])
def test_end_while_a_button_is_in_progress(
        run: Callable[..., Run], redis_binary: str, button: str) -> None:
    """Redis is resumed, and the new server is started, before the last events
    are counted."""
    demo = run('--web', '--port', '0')
    page = DemoPage(demo)
    page.wait_for(lambda state: state['events'] > 10, 'events')
    assert page.press(button) == 202
    demo.process.signal(signal.SIGTERM)
    assert demo.wait() == 0, demo.text
    assert re.fullmatch(NOTHING_LOST, demo.summary), demo.text
    assert demo.processes() == []


def test_one_button_at_a_time(run: Callable[..., Run],
                              redis_binary: str) -> None:
    page = DemoPage(run('--web', '--port', '0'))
    assert page.press('freeze-redis') == 202
    assert page.press('drop-client') == 409
    state = page.wait_for(lambda state: not state['busy'], 'the thaw')
    assert returns(state) == 0
    assert errors(state) == {}


def test_state_is_sent_as_it_changes(run: Callable[..., Run],
                                     redis_binary: str) -> None:
    """The last one has the result."""
    demo = run('--web', '--port', '0')
    page = DemoPage(demo)
    states: List[Dict[str, Any]] = []
    with socket.create_connection(('127.0.0.1', page.port), 30) as stream:
        stream.sendall(f'GET /events HTTP/1.1\r\nHost: 127.0.0.1:{page.port}'
                       '\r\n\r\n'.encode())
        with stream.makefile('rb') as lines:
            assert b' 200 ' in lines.readline()
            for line in lines:
                if line.startswith(b'data: '):
                    states.append(json.loads(line[6:]))
                    if len(states) == 5:
                        demo.process.signal(signal.SIGINT)
    assert demo.wait() == 0
    assert states[0]['events'] < states[-1]['events']
    assert states[-1]['verdict'] == demo.summary


def test_other_pages_cannot_press(run: Callable[..., Run],
                                  redis_binary: str) -> None:
    page = DemoPage(run('--web', '--port', '0'))
    right = {'X-Demo-Token': page.token}
    for headers in ({}, {'X-Demo-Token': 'wrong'},
                    {**right, 'Origin': 'http://example.com'},
                    {**right, 'Origin': 'null'},
                    {**right, 'Host': 'example.com'}):
        assert page.ask('POST', '/press/kill-server', headers)[0] == 403
    # A name that leads to this machine is another origin.
    status, text = page.ask('GET', '/', {'Host': f'evil.test:{page.port}'})
    assert (status, page.token in text) == (403, False)
    own = {**right, 'Origin': page.url.rstrip('/')}
    assert page.ask('POST', '/press/drop-client', own)[0] == 202
    page.wait_for(lambda state: returns(state) == 1, 'the return')


def test_given_redis_is_not_broken(
        run: Callable[..., Run],
        make_redis: Callable[..., RedisServer]) -> None:
    """Others may use it, too."""
    server = make_redis().start()
    demo = run('--web', '--port', '0', '--redis-url', server.url)
    page = DemoPage(demo)
    assert page.state()['buttons'] == ['kill-server', 'drop-client']
    for button in ('freeze-redis', 'restart-redis', 'cut-connections'):
        assert page.press(button) == 409
    assert errors(page.press_and_wait('drop-client')) == {}
    demo.process.signal(signal.SIGINT)
    assert demo.wait() == 0, demo.text
    with server.client() as client:
        assert not [key for key in client.keys('*')
                    if b'redis-streams-adapter-demo' in key]


def test_lost_events_are_reported(tmp_path: Path, redis_binary: str) -> None:
    """A server whose events reach its own clients only."""
    code = ('import sys; from redis_streams_adapter.demo.web.run import run; '
            'sys.exit(run(sys.stdout, sys.stderr, timeout=10.0, port=0, '
            'application="tests.demo.falsified:app"))')
    demo = Run([sys.executable, '-c', code], tmp_path, FALSIFY='all muted')
    try:
        page = DemoPage(demo)
        page.wait_for(lambda state: any(each['waiting'] > 5 for each in
                                        state['clients']), 'lost events')
        demo.process.signal(signal.SIGINT)
        assert demo.wait() == 1, demo.text
    finally:
        demo.process.stop()
    assert demo.summary.startswith('FAIL  '), demo.text
    assert demo.processes() == []


@pytest.mark.parametrize('moment', ['for this run', 'Server 1'])
def test_signal_before_the_page_is_ready(
        run: Callable[..., Run], redis_binary: str, moment: str) -> None:
    demo = run('--web', '--port', '0')
    demo.wait_for(moment)
    demo.process.signal(signal.SIGINT)
    assert demo.wait() in (0, 128 + signal.SIGINT), demo.text
    assert 'Traceback' not in demo.text
    assert demo.processes() == []


def test_port_in_use(run: Callable[..., Run], redis_binary: str) -> None:
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        demo = run('--web', '--port', str(port))
        assert demo.wait() == 1, demo.text
    assert f'cannot be served on port {port}: ' in demo.summary
    assert demo.processes() == []
