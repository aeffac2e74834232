"""Who may see the page. Pure.

Without a token: everyone who reaches it. With one, a request shows it in one
of these ways:

- ``?token=…`` in the URL; the answer is a cookie, and the same page without
  the token in its address,
- the form of the page that refuses, with the same answer,
- ``Authorization: Bearer …``, for programs,
- the cookie, which does not contain the token.

The token is compared in constant time, and is in no text that is logged or
raised.
"""
from __future__ import annotations

from collections.abc import Mapping
import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qs

from ..errors import ConfigurationError

#: The name of the cookie begins with this. The port follows: cookies are for
#: a host with all its ports.
COOKIE = 'redis_streams_dashboard_'

#: The name of the parameter and of the form's field.
PARAMETER = 'token'


class Access:
    """Checks requests.

    :param token: what a request has to show; ``None``: nothing.
    :raises ConfigurationError: it is no text, or empty.
    """

    def __init__(self, token: str | None) -> None:
        if token is not None and (not isinstance(token, str) or not token):
            raise ConfigurationError(
                'token: must be a text that is not empty')
        self._token = None if token is None else token.encode()
        #: What the cookie contains: it does not tell the token.
        self._proof = hmac.new(
            self._token or b'', b'dashboard', hashlib.sha256).hexdigest()

    def allows(self, environ: Mapping[str, Any]) -> bool:
        """Whether a request may see the page."""
        if self._token is None or self.is_token(self.in_query(environ)):
            return True
        scheme, _, given = str(
            environ.get('HTTP_AUTHORIZATION', '')).partition(' ')
        # A WSGI server decodes headers as Latin-1.
        if scheme.lower() == 'bearer' and self.is_token(
                given.strip().encode('latin-1', 'replace').decode(
                    'utf-8', 'surrogateescape')):
            return True
        # Not SimpleCookie: it drops what follows a cookie of another
        # application that is not well formed.
        for each in str(environ.get('HTTP_COOKIE', '')).split(';'):
            name, _, value = each.strip().partition('=')
            if name == self._name(environ) and hmac.compare_digest(
                    value.encode('utf-8', 'surrogateescape'),
                    self._proof.encode()):
                return True
        return False

    def is_token(self, given: str | None) -> bool:
        """Whether this is the token."""
        return self._token is not None and given is not None \
            and hmac.compare_digest(
                given.encode('utf-8', 'surrogateescape'), self._token)

    @staticmethod
    def in_query(environ: Mapping[str, Any]) -> str | None:
        """The token in the URL of a request."""
        return in_form(str(environ.get('QUERY_STRING', '')))

    @staticmethod
    def _name(environ: Mapping[str, Any]) -> str:
        return f"{COOKIE}{environ.get('SERVER_PORT', '')}"

    def cookie(self, environ: Mapping[str, Any]) -> str:
        """The header that makes a browser show the cookie from now on."""
        path = str(environ.get('SCRIPT_NAME', '')) or '/'
        if any(each in path for each in ';,\r\n'):
            path = '/'
        secure = '; Secure' * (environ.get('wsgi.url_scheme') == 'https')
        # Not "Strict": a link to the page in a mail would not work.
        return (f'{self._name(environ)}={self._proof}; Path={path}; '
                f'HttpOnly; SameSite=Lax{secure}')


def in_form(form: str) -> str | None:
    """The token in a form, or in the query of a URL."""
    found = parse_qs(form, max_num_fields=20, errors='surrogateescape') \
        if form.count('&') < 20 else {}
    return found.get(PARAMETER, [None])[0]
