"""The published page of Socket.IO's admin UI, served by one of two servers."""
from typing import Any, Callable, Iterator, List, NamedTuple

import pytest

from ..conftest import skip_or_fail
from ..integration.conftest import start_managers, STEADY
from ..support.client import Client
from ..support.js_server import SCRIPTS
from ..support.node_process import NodeProcess
from .browser import Browser

USER, PASSWORD = 'admin', 'open sesame'


@pytest.fixture(scope='session')
def page() -> str:
    """The directory of the page."""
    from ..support.npm import find_obstacle

    obstacle = find_obstacle()
    if obstacle is not None:
        skip_or_fail(obstacle)
    return str(SCRIPTS / 'node_modules/@socket.io/admin-ui/ui/dist')


class Watched(NamedTuple):
    """Two servers, of which the first has the page, with a client each."""

    nodes: List[NodeProcess]
    clients: List[Client]

    def open(self, browser: Browser) -> None:
        """Log in."""
        url = self.nodes[0].url
        browser.open(f'{url}/admin-ui/')
        browser.wait_for('document.querySelectorAll("form input").length > 2')
        # Its fields have no names.
        browser.run('document.querySelectorAll("form input").forEach('
                    '(each, index) => each.id = `field-${index}`)')
        for index, text in enumerate((url, USER, PASSWORD)):
            browser.write(f'#field-{index}', text)
        browser.click('form button[type=submit]')
        browser.wait_for(
            'document.querySelector(".v-dialog--active") === null')

    def show(self, browser: Browser, view: str) -> None:
        """Go to a view of the page."""
        browser.run('location.hash = arguments[0]', f'#/{view}/')


@pytest.fixture(autouse=True)
def stay_here(browser: Browser) -> Iterator[None]:
    """The page asks two other servers for fonts: not in tests."""
    def block(*urls: str) -> None:
        browser.driver.execute_cdp_cmd(
            'Network.setBlockedURLs', {'urls': [*urls]})

    browser.driver.execute_cdp_cmd('Network.enable', {})
    block('*fonts.googleapis.com*', '*cdn.jsdelivr.net*')
    yield
    block()


@pytest.fixture(params=[False, True], ids=['plain', 'recovery'])
def start_watched(request: Any, redis_server: Any, start_nodes: Any,
                  connect: Callable[..., Client], page: str,
                  unique: Callable[[str], str]) -> Callable[..., Watched]:
    stream = unique('stream')

    def start(**options: Any) -> Watched:
        nodes = [start_nodes(
            1, redis_server.url, stream_name=stream,
            connection_state_recovery=request.param, admin={
                'auth': {'username': USER, 'password': PASSWORD},
                'server_id': f'server {number}', 'page': page, **options},
            **STEADY)[0] for number in range(2)]
        start_managers(nodes)
        return Watched(nodes, [connect(node) for node in nodes])

    return start


@pytest.mark.parametrize('whole', [False, True])
def test_servers(start_watched: Callable[..., Watched], browser: Browser,
                 whole: bool) -> None:
    """Both are listed, also with python-socketio's own call."""
    watched = start_watched(whole=whole, **(
        {} if whole else {'mode': 'production'}))
    watched.open(browser)
    watched.show(browser, 'servers')
    for number, node in enumerate(watched.nodes):
        browser.wait_for_text('tbody tr', f'server {number}')
        browser.wait_for_text('tbody tr', str(node.identify()[0]))


def test_clients(start_watched: Callable[..., Watched], browser: Browser,
                 ) -> None:
    """The clients of both servers are shown, and a button disconnects the one
    of the other server."""
    watched = start_watched(refresh=0.5)
    watched.open(browser)
    mine, other = watched.clients
    browser.wait_for_text('nav', 'Sockets')
    watched.show(browser, 'sockets')
    for client in watched.clients:
        browser.wait_for_text('tbody tr', client.sid)
    browser.screenshot('admin-ui-sockets')
    browser.run('Array.from(document.querySelectorAll("tbody tr")).find('
                'each => each.innerText.includes(arguments[0])'
                ').querySelector("button").click()', other.sid)
    other.wait_disconnected('/')
    # The button has opened the page of the client, too.
    watched.show(browser, 'sockets')
    browser.wait_for_text('tbody tr', mine.sid)
    browser.wait_for('!document.querySelector("main").innerText.includes('
                     'arguments[0])', other.sid)
    assert mine.call('echo', 1)
