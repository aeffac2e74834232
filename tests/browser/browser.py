"""A browser without a window, which notes all that a page does wrong."""
import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional
from urllib.parse import urlsplit

from ..support.wait import wait_until

#: The names of the programs in Debian and elsewhere.
CHROMIUM = ('chromium', 'chromium-browser', 'google-chrome')
DRIVER = 'chromedriver'

#: A browser that asks no one but the page's own server.
ARGUMENTS = (
    '--headless=new', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--disable-default-apps', '--disable-extensions',
    '--disable-dev-shm-usage', '--force-device-scale-factor=1')

#: Seconds for a page to show something, on a busy machine.
PATIENCE = 30.0

#: Where screenshots are kept; without it, in the directory of the test.
SCREENSHOTS = 'SCREENSHOTS'


def find_obstacle() -> Optional[str]:
    """The reason why there is no browser; ``None``: there is one."""
    if _chromium() is None:
        return 'there is no Chromium on PATH'
    if shutil.which(DRIVER) is None:
        return f'there is no {DRIVER} on PATH'
    try:
        import selenium  # noqa: F401
    except ImportError:
        return 'selenium is not installed'
    return None


def _chromium() -> Optional[str]:
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


class Browser:
    """A browser, which takes seconds to start: see :meth:`renew`.

    :param directory: where its profile is, and screenshots are kept.
    """

    def __init__(self, directory: Path) -> None:
        from selenium.webdriver import Chrome, ChromeOptions
        from selenium.webdriver.chrome.service import Service

        options = ChromeOptions()
        options.binary_location = _chromium()
        for argument in (*ARGUMENTS, f'--user-data-dir={directory}/profile'):
            options.add_argument(argument)
        if os.geteuid() == 0:
            # The sandbox of Chromium refuses root.
            options.add_argument('--no-sandbox')
        options.set_capability('goog:loggingPrefs', {
            'browser': 'ALL', 'performance': 'ALL'})
        self._directory = Path(os.environ.get(SCREENSHOTS) or directory)
        self.driver = Chrome(options, Service(shutil.which(DRIVER)))
        self._errors: List[str] = []
        self._requests: List[str] = []

    def close(self) -> None:
        """End it."""
        self.driver.quit()

    def renew(self) -> None:
        """Forget cookies, storage, and what was noted. No page is open."""
        for origin in {f'{parts.scheme}://{parts.netloc}' for parts in map(
                urlsplit, self.requests()) if parts.scheme == 'http'}:
            self._command('Storage.clearDataForOrigin', {
                'origin': origin, 'storageTypes': 'all'})
        self.driver.get('about:blank')
        self._command('Network.clearBrowserCookies', {})
        self._command('Network.clearBrowserCache', {})
        self.errors(), self.requests()
        self._errors, self._requests = [], []
        self.resize(1280)

    def resize(self, width: int, height: int = 900,
               dark: bool = False) -> None:
        """Be a screen of so many pixels.

        :param dark: prefer dark colours.
        """
        self._command('Emulation.setDeviceMetricsOverride', {
            'width': width, 'height': height, 'deviceScaleFactor': 1,
            'mobile': width < 600})
        self._command('Emulation.setEmulatedMedia', {'features': [{
            'name': 'prefers-color-scheme',
            'value': 'dark' if dark else 'light'}]})

    def _command(self, name: str, arguments: Dict[str, Any]) -> None:
        self.driver.execute_cdp_cmd(name, arguments)

    def open(self, url: str) -> None:
        """Show a page."""
        self.driver.get(url)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that JavaScript returns, which is a function's body."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str = 'body') -> str:
        """What is shown in the first element that matches a selector of
        CSS; nothing without one."""
        return str(self.run(
            'const found = document.querySelector(arguments[0]);'
            'return found === null ? "" : found.innerText', selector))

    def texts(self, selector: str) -> List[str]:
        """What is shown in each element that matches."""
        return list(self.run(
            'return Array.from(document.querySelectorAll(arguments[0]), '
            'each => each.innerText)', selector))

    def wait_for(self, script: str, *arguments: Any) -> Any:
        """Wait until an expression of JavaScript is true.

        :return: its value.
        """
        return wait_until(
            lambda: self.run(f'return {script}', *arguments), PATIENCE,
            lambda: f'{script} {arguments} in the page:\n{self.text()}\n'
                    f'errors: {self.errors()}')

    def wait_for_text(self, selector: str, text: str) -> None:
        """Wait until an element shows a text."""
        self.wait_for(
            'Array.from(document.querySelectorAll(arguments[0])).some('
            'each => each.innerText.includes(arguments[1]))', selector, text)

    def click(self, selector: str) -> None:
        """Click on the first element that matches."""
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def write(self, selector: str, text: str) -> None:
        """Write into a field, which is emptied before."""
        from selenium.webdriver.common.by import By

        field = self.driver.find_element(By.CSS_SELECTOR, selector)
        field.clear()
        field.send_keys(text)

    def overflows(self) -> bool:
        """Whether the page is wider than the screen."""
        return bool(self.run(
            'const all = document.scrollingElement;'
            'return all.scrollWidth > all.clientWidth'))

    def errors(self) -> List[str]:
        """The errors in the console so far: exceptions, what the policy of
        the page forbids, and what could not be loaded."""
        self._errors += [
            each['message'] for each in self.driver.get_log('browser')
            if each['level'] == 'SEVERE']
        return list(self._errors)

    def requests(self) -> List[str]:
        """The URLs that were asked for so far."""
        for each in self.driver.get_log('performance'):
            message = json.loads(each['message'])['message']
            if message['method'] == 'Network.requestWillBeSent':
                self._requests.append(message['params']['request']['url'])
            elif message['method'] == 'Network.webSocketCreated':
                self._requests.append(message['params']['url'])
        return list(self._requests)

    def hosts(self) -> List[str]:
        """The hosts, with ports, that were asked so far."""
        return sorted({urlsplit(url).netloc for url in self.requests()
                       if not url.startswith(('data:', 'blob:', 'about:',
                                              'chrome'))})

    def screenshot(self, name: str) -> Path:
        """Keep a picture of the whole page, as a PNG."""
        size = self.run('const all = document.scrollingElement;'
                        'return [all.clientWidth, all.scrollHeight]')
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f'{name}.png'
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd(
            'Page.captureScreenshot', {
                'captureBeyondViewport': True, 'clip': {
                    'x': 0, 'y': 0, 'width': size[0], 'height': size[1],
                    'scale': 1}})['data']))
        return path
