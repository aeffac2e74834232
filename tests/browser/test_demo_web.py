"""The page of ``redis-streams-adapter demo --web``: each button is pressed, as
a visitor does, and no client loses an event."""
import re
import signal
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from ..support.demo_page import BUTTONS, DemoPage
from ..support.demo_run import DEMO, Run, RUN_TIMEOUT
from ..support.wait import wait_until
from .browser import Browser

#: Seconds for a button, and for all clients' return.
BUTTON_TIMEOUT = 60.0

ERRORS = ('lost', 'twice', 'disordered')

#: What the page says of each button, in the order in which they are pressed.
SAID = {'kill-server': 'another server', 'freeze-redis': 'Redis goes on',
        'restart-redis': 'Redis has started again',
        'cut-connections': 'connections to Redis are cut',
        'drop-client': 'without a goodbye'}


@pytest.fixture
def demo(redis_binary: str, tmp_path: Path) -> Iterator[Run]:
    """The demo, with its page."""
    run = Run([*DEMO, '--web', '--port', '0'], tmp_path)
    yield run
    run.process.stop(RUN_TIMEOUT)
    assert run.processes() == []


class Shown:
    """What a visitor sees.

    :param browser: with the page open.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def clients(self) -> List[Dict[str, str]]:
        """The table of clients: cells by the names of their columns."""
        found: List[Dict[str, str]] = self._browser.run(
            'const [head, ...rows] = Array.from('
            'document.querySelectorAll("#clients tr"), row => Array.from('
            'row.cells, cell => cell.textContent.trim()));'
            'return rows.map(row => Object.fromEntries('
            'row.map((text, at) => [head[at], text])))')
        return found

    def received(self) -> List[int]:
        return [int(each['received'].replace(',', ''))
                for each in self.clients()]

    def totals(self) -> Dict[str, str]:
        return {name: self._browser.text(f'#{name}') for name in ERRORS}

    def states(self) -> List[str]:
        """Those of the servers and of Redis."""
        return self._browser.texts('#servers td:nth-child(2)')

    def wait_until_idle(self) -> None:
        """Wait until the buttons can be pressed again, and every client has
        received more."""
        wait_until(lambda: self._browser.run(
            'return document.querySelectorAll("button:enabled").length')
            == len(BUTTONS), BUTTON_TIMEOUT, lambda: self._browser.text())
        before = max(self.received())
        wait_until(lambda: min(self.received()) > before, BUTTON_TIMEOUT,
                   lambda: self._browser.text())


def test_each_button_is_pressed(browser: Browser, demo: Run) -> None:
    browser.resize(920, dark=True)
    browser.open(DemoPage(demo).url)
    shown = Shown(browser)
    shown.wait_until_idle()
    assert len(shown.clients()) == 6
    assert sorted(SAID) == sorted(BUTTONS)
    for button, said in SAID.items():
        browser.click(f'[data-name={button}]')
        browser.wait_for_text('#log', said)
        shown.wait_until_idle()
        assert shown.totals() == dict.fromkeys(ERRORS, '0')
        for each in shown.clients():
            assert (each['lost'], each['twice'], each['out of order']) \
                == ('0', '0', '0')
        browser.screenshot(f'demo-{button}')
    assert shown.states() == [*['serving'] * 3, 'running']
    # Two of the server that was killed, and the one that was dropped.
    back = [each['recovered'].split(' of ') for each in shown.clients()
            if each['recovered'] != '–']
    assert sum(int(returns) for _, returns in back) >= 3
    assert all(recovered == returns for recovered, returns in back)
    # The dashboard in the page shows all clients.
    browser.wait_for('document.querySelector("iframe").contentDocument.body'
                     '.innerText.includes(arguments[0])', 'live, ')
    browser.wait_for('/Clients\\s+6\\b/.test(document.querySelector("iframe")'
                     '.contentDocument.body.innerText)')
    assert browser.errors() == []
    assert browser.hosts() == [DemoPage(demo).url.split('/')[2]]
    browser.screenshot('demo')
    demo.process.signal(signal.SIGINT)
    browser.wait_for_text('#busy', 'PASS')
    assert demo.wait() == 0, demo.text
    # The dashboard logs no outage between the lines of what happened.
    happened = demo.text.partition('  Open ')[2].partition('the demo ends')[0]
    assert [line for line in happened.splitlines()[2:] if not re.match(
        r'  \d\d:\d\d:\d\d  ', line)] == []


def test_state_of_what_is_broken(browser: Browser, demo: Run) -> None:
    """A server and a client show it while it lasts."""
    browser.open(DemoPage(demo).url)
    Shown(browser).wait_until_idle()
    browser.click('[data-name=kill-server]')
    browser.wait_for_text('#servers', 'killed')
    browser.wait_for_text('#clients', 'away')
    browser.wait_for_text('#servers', 'starting')
    browser.screenshot('demo-broken')
    assert not browser.run(
        'return document.querySelector("[data-name=drop-client]").matches('
        '":enabled")')
    Shown(browser).wait_until_idle()
    browser.click('[data-name=freeze-redis]')
    browser.wait_for_text('#servers', 'frozen')
    Shown(browser).wait_until_idle()


@pytest.mark.parametrize('width, dark', [(360, False), (360, True),
                                         (1280, False)])
def test_screens(browser: Browser, demo: Run, width: int, dark: bool) -> None:
    browser.resize(width, dark=dark)
    browser.open(DemoPage(demo).url)
    Shown(browser).wait_until_idle()
    assert not browser.overflows()
    for button in BUTTONS:
        assert browser.run(
            'const place = document.querySelector(arguments[0])'
            '.getBoundingClientRect();'
            'return place.left >= 0 && place.right <= innerWidth'
            ' && place.width > 40', f'[data-name={button}]')
    browser.screenshot(f'demo-{width}-{"dark" if dark else "light"}')
    assert browser.errors() == []
