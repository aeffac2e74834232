"""The demo, run from its command line."""
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from ..support.demo_run import DEMO, Run, RUN_TIMEOUT


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts the demo; stops it at the end of the test."""
    runs: List[Run] = []

    def start(*options: str, **environment: str) -> Run:
        runs.append(Run([*DEMO, *options], tmp_path, **environment))
        return runs[-1]

    yield start
    for each in runs:
        each.process.stop(RUN_TIMEOUT)
