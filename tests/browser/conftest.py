"""Chromium, for tests of pages."""
import tempfile
from pathlib import Path
from typing import Iterator

import pytest

from ..conftest import skip_or_fail
from .browser import Browser, find_obstacle


@pytest.fixture(scope='session')
def chromium() -> Iterator[Browser]:
    """A browser for all tests. Without one they are skipped: at home, never
    in CI."""
    obstacle = find_obstacle()
    if obstacle is not None:
        skip_or_fail(obstacle)
    # Not tmp_path, which may be too long for the sockets of Chromium.
    with tempfile.TemporaryDirectory(
            prefix='browser-', ignore_cleanup_errors=True) as directory:
        each = Browser(Path(directory))
        try:
            yield each
        finally:
            each.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser as it is when new: without cookies, 1280 pixels wide."""
    chromium.renew()
    yield chromium
    # The server of the test is about to end: let no page ask it.
    chromium.driver.get('about:blank')
