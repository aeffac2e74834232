"""The documentation shows the published run."""
import json
from typing import Any

import pytest

from benchmarks import publish
from benchmarks.costs import published
from benchmarks.scenarios import SCENARIOS
from benchmarks.targets import TARGETS


def test_the_pages_show_the_published_run() -> None:
    for path, text in publish.pages(published()):
        assert path.read_text('utf-8') == text, (
            f'{path.name}: python -m benchmarks.publish')


def test_each_row_is_of_a_scenario() -> None:
    names = {scenario.name for scenario in SCENARIOS}
    assert {row.scenario for row in publish.ROWS} <= names
    assert set(publish.SHORT) <= {row.scenario for row in publish.ROWS}


def test_each_target_is_in_the_table() -> None:
    shown = {(row.scenario, row.metric) for row in publish.ROWS}
    for name, targets in TARGETS.items():
        for target in targets:
            assert (name, target.metric) in shown
            assert (target.ours, target.base) in publish.COLUMNS


def test_faults_of_the_delivery_are_reported() -> None:
    result: Any = {'summary': {'single': {
        'title': '9 messages', 'faults': {'redis': []}}}}
    assert publish.delivery(result) == (
        'Every message arrived once and in order.')
    result['summary']['single']['faults']['redis'] = ['3 lost', '1 twice']
    assert publish.delivery(result).replace('\n', ' ').endswith(
        ', except with RedisManager, of 9 messages: 3 lost; 1 twice.')


def test_a_block_is_replaced() -> None:
    text = 'a\n.. begin: x\n\nold\n\n.. end: x\nb\n'
    assert publish.replaced(text, 'x', 'new') == text.replace('old', 'new')


@pytest.mark.parametrize('text', ['', '.. begin: x\n', '.. end: x\n'])
def test_a_page_without_the_block(text: str) -> None:
    with pytest.raises(ValueError, match="no block 'x'"):
        publish.replaced(text, 'x', 'new')


def test_the_command_writes_pages_pictures_and_medians(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    pytest.importorskip('matplotlib')
    pages = {}
    for path, blocks in publish.BLOCKS.items():
        page = tmp_path / path.name
        page.write_text(path.read_text('utf-8'), 'utf-8')
        pages[page] = blocks
    monkeypatch.setattr(publish, 'BLOCKS', pages)
    monkeypatch.setattr(publish, 'PICTURES', {
        tmp_path / path.name: draw
        for path, draw in publish.PICTURES.items()})
    before = published()
    written = tmp_path / 'published.json'
    monkeypatch.setattr(publish, 'PUBLISHED', written)
    result = {**before, 'repeated': 7, 'rounds': {}}
    (tmp_path / 'result.json').write_text(json.dumps(result))

    assert publish.main([str(tmp_path / 'result.json')]) == 0
    assert 'Rounds: 7,' in (tmp_path / 'README.rst').read_text('utf-8')
    for path in publish.PICTURES:
        assert path.read_bytes().startswith(b'\x89PNG')
    assert json.loads(written.read_text()) == {**before, 'repeated': 7}


def test_a_part_of_a_run_is_refused(
        tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('matplotlib')
    result = published()
    del result['summary']['paced4']
    (tmp_path / 'result.json').write_text(json.dumps(result))
    with pytest.raises(SystemExit):
        publish.main([str(tmp_path / 'result.json')])
    assert 'not measured: paced4' in capsys.readouterr().err


@pytest.mark.parametrize('path', publish.BLOCKS)
def test_the_pages_are_valid(path: Any) -> None:
    core = pytest.importorskip('docutils.core')
    core.publish_doctree(
        path.read_text('utf-8'), source_path=str(path),
        settings_overrides={'report_level': 2, 'halt_level': 2})
