"""Who may see the page."""
from typing import Any, Dict

import pytest

from redis_streams_adapter.dashboard.access import Access
from redis_streams_adapter.errors import ConfigurationError

TOKEN = 'seсret & 100 %'  # with a letter that is not ASCII


def environ(**values: str) -> Dict[str, Any]:
    return {'SERVER_PORT': '80', 'SCRIPT_NAME': '', 'QUERY_STRING': '',
            'wsgi.url_scheme': 'http', **values}


def test_without_a_token_all_may() -> None:
    access = Access(None)
    assert access.allows(environ())
    assert not access.is_token('')
    assert not access.is_token(None)


@pytest.mark.parametrize('values', [
    {'QUERY_STRING': 'token=se%D1%81ret+%26+100+%25'},
    {'QUERY_STRING': 'a=b&token=se%D1%81ret+%26+100+%25'}])
def test_token_in_the_url(values: Dict[str, str]) -> None:
    assert Access(TOKEN).allows(environ(**values))


def test_token_in_a_header() -> None:
    assert Access('plain').allows(environ(HTTP_AUTHORIZATION='Bearer plain'))
    assert Access('plain').allows(environ(HTTP_AUTHORIZATION='bearer  plain'))


@pytest.mark.parametrize('values', [
    {}, {'QUERY_STRING': 'token='}, {'QUERY_STRING': 'token=other'},
    {'QUERY_STRING': 'token=%FF%00'}, {'QUERY_STRING': '&' * 10_000},
    {'HTTP_AUTHORIZATION': 'Basic plain'}, {'HTTP_AUTHORIZATION': 'Bearer'},
    {'HTTP_AUTHORIZATION': 'Bearer \xff'},
    {'HTTP_COOKIE': 'redis_streams_dashboard_80=plain'},
    {'HTTP_COOKIE': 'redis_streams_dashboard_80=\xff'},
    {'HTTP_COOKIE': '[]=;;,"'}])
def test_refused(values: Dict[str, str]) -> None:
    assert not Access('plain').allows(environ(**values))


def test_cookie() -> None:
    access = Access(TOKEN)
    cookie = access.cookie(environ(SCRIPT_NAME='/watch'))
    pair, *flags = cookie.split('; ')
    assert flags == ['Path=/watch', 'HttpOnly', 'SameSite=Lax']
    assert TOKEN not in cookie
    assert access.allows(environ(HTTP_COOKIE=f'other=1; {pair}'))
    assert not Access('another one').allows(environ(HTTP_COOKIE=pair))
    # The same host with another port is another server.
    assert not access.allows(environ(HTTP_COOKIE=pair, SERVER_PORT='81'))


def test_cookie_for_https_alone() -> None:
    cookie = Access(TOKEN).cookie({
        **environ(), 'wsgi.url_scheme': 'https'})
    assert cookie.endswith('; Secure')


def test_cookie_with_an_odd_place() -> None:
    assert '; Path=/; ' in Access(TOKEN).cookie(environ(
        SCRIPT_NAME='/a; Domain=elsewhere'))


@pytest.mark.parametrize('token', ['', b'bytes', 5])
def test_wrong_token(token: Any) -> None:
    with pytest.raises(ConfigurationError, match='token: must be') as raised:
        Access(token)
    assert 'bytes' not in str(raised.value)


@pytest.mark.parametrize('foreign', ['prefs={"a":1}', 'x[0]=1', 'a b=1', '='])
def test_cookies_of_other_applications(foreign: str) -> None:
    """Browsers send those of all ports of a host."""
    access = Access(TOKEN)
    ours = access.cookie(environ()).partition(';')[0]
    for cookies in f'{foreign}; {ours}', f'{ours}; {foreign}':
        assert access.allows(environ(HTTP_COOKIE=cookies))


def test_any_token_in_a_header() -> None:
    header = f'Bearer {TOKEN}'.encode().decode('latin-1')
    assert Access(TOKEN).allows(environ(HTTP_AUTHORIZATION=header))
