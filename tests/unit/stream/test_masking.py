"""Passwords in URLs, and in texts about them."""
import pytest

from redis_streams_adapter.stream.masking import hide_logins, \
    hide_secrets, shown


@pytest.mark.parametrize('url, expected', [
    ('redis://host:6379/0', 'redis://host:6379/0'),
    ('redis://user:word@host/0?max_len=5', 'redis://host/0'),
    ('redis://:wo?rd@host', 'redis://***'),
    ('redis://:word', 'redis://***')])
def test_shown(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize('url', [
    'redis://user:w%2Ford@host/0', 'redis://:w/ord@host',
    'redis://host?password=w/ord', 'redis://host?ssl_password=w%2Ford'])
def test_hidden(url: str) -> None:
    assert hide_secrets('cannot use w/ord, w%2Ford', url).count('ord') <= 1
    assert 'w/ord' not in hide_secrets('with w/ord', url)
    assert hide_secrets('other', url) == 'other'


@pytest.mark.parametrize('text, expected', [
    ('no URL, me@home', 'no URL, me@home'),
    ('at redis://host/0, again', 'at redis://host/0, again'),
    ('at redis://user:w/o r?d@host/0', 'at redis://***@host/0'),
    # What is between two of them goes, too.
    ('redis://a:b@one, redis://c:d@two', 'redis://***@two')])
def test_logins_of_any_url(text: str, expected: str) -> None:
    assert hide_logins(text) == expected
