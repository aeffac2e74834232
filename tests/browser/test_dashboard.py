"""The dashboard in a browser, with real servers and a real Redis."""
import json
from pathlib import Path
from typing import Any, Callable, Iterator, List
from urllib.parse import urlsplit

import pytest

from ..commands.conftest import COMMAND, environment
from ..support.process import OwnProcess
from ..support.wait import wait_until
from .browser import Browser

#: The sum of a column of the table of servers.
SUM = ('Array.from(document.querySelectorAll('
       '"#servers tbody td:nth-child(" + arguments[0] + ")")).reduce('
       '(sum, each) => sum + (parseFloat(each.innerText) || 0), 0)')
CLIENTS, DELIVERED = 4, 8

TOKEN = 'a token that is long enough'


class Page:
    """The command ``dashboard``.

    :param url: what it has printed.
    """

    def __init__(self, process: OwnProcess) -> None:
        self.process = process
        self.url = wait_until(self._printed, 60.0, process.tail)

    def _printed(self) -> str:
        for line in self.process.output().splitlines():
            if line.startswith('{'):
                return str(json.loads(line)['url'])
        return ''

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


@pytest.fixture
def show(tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Starts the command: ``show(redis_url, *arguments)``."""
    started: List[OwnProcess] = []

    def start(url: str, *arguments: str, **variables: str) -> Page:
        process = OwnProcess(
            [*COMMAND, 'dashboard', '--port', '0', '--json', '--interval',
             '0.5', *arguments], tmp_path / f'{len(started)}.out',
            {**environment(url), **variables})
        started.append(process)
        return Page(process)

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def redis(make_redis: Callable[..., Any]) -> Any:
    return make_redis().start()


def test_page_shows_the_cluster(
        browser: Browser, redis: Any, show: Callable[..., Page],
        start_nodes: Callable[..., List[Any]],
        connect: Callable[..., Any], unique: Callable[[str], str]) -> None:
    """One test, because the servers and the browser take long to start."""
    nodes = start_nodes(2, redis.url)
    room = '<b>tea & cake</b>'
    clients = [connect(node) for node in nodes]
    for node, client in zip(nodes, clients):
        node.enter_room(client.sids['/'], room)
    page = show(redis.url)
    browser.open(page.url)
    # The servers, and that they have clients.
    browser.wait_for(
        'document.querySelectorAll("#servers tbody tr").length === 2')
    browser.wait_for(f'{SUM} === 2', CLIENTS)
    assert browser.texts('#servers tbody td:nth-child(2)') == ['Python'] * 2
    assert browser.texts('#servers tbody td:nth-child(3)') == ['ok'] * 2
    # A room, whose name is a text.
    browser.wait_for_text('#rooms tbody td', room)
    assert browser.run('return document.querySelector("#rooms b")') is None
    # Numbers move after emits.
    for node in nodes:
        node.start_pulse(unique('event'))
    browser.wait_for(f'{SUM} > 10', DELIVERED)
    browser.wait_for(
        'document.querySelector("[data-chart=Entries] path")'
        '.getAttribute("d").includes("L")')
    entries = browser.text('[data-chart="Entries"] strong')
    browser.wait_for(
        'document.querySelector("[data-chart=Entries] strong").innerText'
        '!== arguments[0]', entries)
    browser.screenshot('dashboard-light')
    # Redis goes away and comes back: the page says so, and goes on.
    redis.kill()
    browser.wait_for_text('#state', 'Redis is away')
    assert 'Redis cannot be used' in browser.text('#problem')
    browser.wait_for_text('#events .outage', 'until now')
    redis.start()
    browser.wait_for_text('#state', 'live')
    browser.wait_for('document.getElementById("problem").hidden')
    browser.wait_for(
        'document.querySelector("#events .outage").innerText.match('
        '/for [0-9.]+ (ms|s) \\(/)')
    assert browser.run('return document.querySelectorAll('
                       '"#timeline .outage").length') == 1
    browser.wait_for(f'{SUM} > 10', DELIVERED)
    for node in nodes:
        each = browser.text('#servers tbody')
        assert str(node.process.pid) in each or node.uid() in each
    # A telephone in the dark.
    background = ('return getComputedStyle(document.body)'
                  '.backgroundColor')
    light = browser.run(background)
    browser.resize(360, 740, dark=True)
    assert browser.run(background) != light
    assert not browser.overflows()
    browser.screenshot('dashboard-dark-360')
    # A server leaves.
    nodes[1].close_manager()
    browser.wait_for_text('#events .left', 'server left')
    assert browser.errors() == []
    assert browser.hosts() == [page.host]


def test_token(browser: Browser, redis: Any,
               show: Callable[..., Page]) -> None:
    page = show(redis.url, REDIS_STREAMS_DASHBOARD_TOKEN=TOKEN)
    browser.open(page.url)
    browser.wait_for_text('button', 'Show')
    browser.write('input', TOKEN)
    browser.click('button')
    browser.wait_for_text('#state', 'live')
    # Not in the address, nor where scripts could read it.
    assert browser.driver.current_url == page.url
    assert TOKEN not in browser.run('return document.cookie')
    browser.open(page.url)
    browser.wait_for_text('#state', 'live')
    # The first page was refused.
    assert [each for each in browser.errors() if '401' not in each] == []
    assert TOKEN not in page.process.output()


def test_dashboard_comes_back(browser: Browser, redis: Any,
                              show: Callable[..., Page]) -> None:
    page = show(redis.url)
    port = str(urlsplit(page.url).port)
    browser.open(page.url)
    browser.wait_for_text('#state', 'live')
    page.process.kill()
    browser.wait_for_text('#state', 'does not answer')
    show(redis.url, '--port', port)
    browser.wait_for_text('#state', 'live')
