"""What the browser notes of a page: a test that sees no error would pass on a
page that is broken."""
import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Iterator

import pytest

from .browser import Browser


@pytest.fixture
def serve() -> Iterator[Callable[[str], str]]:
    """Serves a page: ``serve(html)`` returns its URL."""
    with contextlib.ExitStack() as stack:
        def start(page: str) -> str:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    found = self.path == '/'
                    self.send_response(200 if found else 404)
                    self.send_header('Content-Type', 'text/html')
                    self.end_headers()
                    self.wfile.write(page.encode() if found else b'')

                def log_message(self, *_: Any) -> None:
                    pass

            # Chromium connects more often than it asks.
            server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
            server.block_on_close = False
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f'http://127.0.0.1:{server.server_port}/'

        yield start


#: A page without a fault.
GOOD = ('<!doctype html><link rel="icon" href="data:,"><title>good</title>'
        '<meta name="viewport" content="width=device-width">'
        '<p id="here">hello</p>')


def test_good_page(browser: Browser, serve: Callable[[str], str]) -> None:
    url = serve(GOOD)
    browser.open(url)
    browser.wait_for_text('#here', 'hello')
    assert browser.errors() == []
    assert not browser.overflows()
    assert browser.hosts() == [url.split('/')[2]]


def test_errors(browser: Browser, serve: Callable[[str], str]) -> None:
    browser.open(serve(GOOD + '<script>nothing.here()</script>'))
    assert any('nothing is not defined' in each for each in browser.errors())


def test_missing_file(browser: Browser, serve: Callable[[str], str]) -> None:
    browser.open(serve(GOOD + '<img src="missing.png" alt="">'))
    browser.wait_for('document.readyState === "complete"')
    assert any('404' in each for each in browser.errors())


def test_other_host(browser: Browser, serve: Callable[[str], str]) -> None:
    other = serve(GOOD)
    url = serve(GOOD + f'<iframe src="{other}"></iframe>')
    browser.open(url)
    browser.wait_for('document.readyState === "complete"')
    assert browser.hosts() == sorted(
        each.split('/')[2] for each in (url, other))


def test_screens(browser: Browser, serve: Callable[[str], str]) -> None:
    browser.open(serve(GOOD + '<div style="width: 500px">wide</div>'))
    dark = 'matchMedia("(prefers-color-scheme: dark)").matches'
    assert not browser.run(f'return {dark}')
    browser.resize(360, dark=True)
    assert browser.run('return innerWidth') >= 360
    assert browser.run('return document.documentElement.clientWidth') == 360
    assert browser.run(f'return {dark}')
    assert browser.overflows()
    assert browser.screenshot('screens').read_bytes().startswith(b'\x89PNG')
