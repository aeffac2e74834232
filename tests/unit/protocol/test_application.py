"""The application that a message over PUB/SUB or a session belongs to."""
from typing import Any

import pytest

from redis_streams_adapter.protocol.application import Application


@pytest.mark.parametrize('other', [
    Application('chat', 1), Application('chats', 0), Application('', 0),
    Application('0:chat', 0), Application('chat ', 0)])
def test_names_differ(other: Application) -> None:
    """By the stream's name and by the number of the database."""
    application = Application('chat', 0)
    assert other.name != application.name
    assert application.is_foreign(other.name)
    assert other.is_foreign(application.name)
    assert not application.is_foreign(Application('chat', 0).name)


@pytest.mark.parametrize('stream', ['a#b', '{a}b', 'ü', 'a:b', 'a/b', '%7B'])
def test_name_in_a_channel(stream: str) -> None:
    name = Application(stream, 15).name
    assert name.isascii()
    assert not set('#{}') & set(name)


def test_quoted_names_stay_distinct() -> None:
    assert Application('{', 0).name != Application('%7B', 0).name


def test_missing_name() -> None:
    """Servers in Node.js send none, and must be heard."""
    assert not Application('chat', 0).is_foreign(None)


@pytest.mark.parametrize('name', ['', 0, b'0:chat', ['0:chat'], {}, True])
def test_invalid_name_is_foreign(name: Any) -> None:
    assert Application('chat', 0).is_foreign(name)
