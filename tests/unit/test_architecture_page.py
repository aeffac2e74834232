"""``docs/architecture.rst`` names only objects that exist. It names all
modules and locks."""
import ast
import importlib
import re
from pathlib import Path
from typing import Any, List

import pytest

from .test_architecture import LIBRARY, PACKAGE, ROOT

#: The repository. The package may be installed elsewhere.
REPOSITORY = Path(__file__).parents[2]

PAGE = (REPOSITORY / 'docs' / 'architecture.rst').read_text('utf-8')

#: A module of the package or an object in one, without the package's name.
NAME = re.compile(r'``([a-z_]+(?:\.[A-Za-z_]+)+)(?:\(\))?``')

#: A file, from the root of the repository.
FILE = re.compile(r'``((?:tests|docs|examples|redis_streams_adapter)/'
                  r'[\w/.]+)``')


def named() -> List[str]:
    return sorted({name for name in NAME.findall(PAGE)
                   if not name.endswith(('.py', '.rst'))})


def resolve(name: str) -> Any:
    """The object of a name.

    :raises AttributeError: the name has no object.
    """
    parts = name.split('.')
    for count in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:count])
        if path.is_dir() or path.with_suffix('.py').exists():
            found: Any = importlib.import_module(
                '.'.join([PACKAGE, *parts[:count]]))
            for part in parts[count:]:
                found = _member(found, part)
            return found
    raise AttributeError(name)


def _member(owner: Any, name: str) -> Any:
    if hasattr(owner, name):
        return getattr(owner, name)
    if not isinstance(owner, type):
        raise AttributeError(f'{owner} has no {name}')
    source = Path(importlib.import_module(owner.__module__).__file__ or '')
    # An attribute of instances.
    if re.search(rf'self\.{name}\b.* = ', source.read_text('utf-8')):
        return None
    raise AttributeError(f'{owner} has no {name}')


def test_page_names_something() -> None:
    assert len(named()) > 50


@pytest.mark.parametrize('name', named())
def test_named_objects_exist(name: str) -> None:
    resolve(name)


@pytest.mark.parametrize('path', sorted(set(FILE.findall(PAGE))))
def test_named_files_exist(path: str) -> None:
    assert (REPOSITORY / path).exists()


@pytest.mark.parametrize('name', ['stream.writer.Writer.no_such', 'no.such',
                                  'stream.no_such'])
def test_missing_name_is_detected(name: str) -> None:
    with pytest.raises(AttributeError):
        resolve(name)


def classes_with_locks() -> List[str]:
    """Each class that creates a lock for itself, with its module."""
    found = []
    for module in LIBRARY:
        if module.top in ('testing', 'concurrency') \
                and module.name != 'concurrency.availability':
            # Fakes, and modules that create locks for others.
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and re.search(
                    r'self\.\w+ = (?:cast\(Any, )?(?:\w+\.lock|Lock)\(\)',
                    ast.unparse(node)):
                found.append(f'{module.name}.{node.name}')
    return found


def test_page_lists_every_lock() -> None:
    classes = classes_with_locks()
    assert len(classes) > 8
    assert [each for each in classes if f'``{each}``' not in PAGE] == []


def test_page_names_every_module() -> None:
    missing = [each.name for each in LIBRARY
               if each.name not in ('__init__', '__main__')
               and f'``{each.name}``' not in PAGE]
    assert missing == []
