"""Redis URLs: to connect to, to show, and to keep out of logs."""
from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

from ..options import NAMES

#: Replaces a password.
MASK = '***'

#: Query options whose value is secret.
SECRET_OPTION = re.compile('pass|secret|token')


def message_queue(url: str) -> str:
    """Return the URL as Flask-SocketIO's ``message_queue`` takes it.

    ``redis://host`` becomes ``redis+streams://host``, and the same with
    every other scheme.
    """
    scheme, separator, rest = url.partition('://')
    if not scheme.endswith('+streams'):
        scheme += '+streams'
    return scheme + separator + rest


def plain(url: str) -> str:
    """Return the URL without the manager's own options in its query.

    What is left is what a connection is made from.
    """
    place, _, query = url.partition('?')
    theirs = [each for each in query.split('&')
              if each.partition('=')[0] not in NAMES]
    scheme, separator, rest = place.partition('://')
    return (scheme.removesuffix('+streams') + separator + rest
            + '?' * any(theirs) + '&'.join(theirs))


def shown(url: str) -> str:
    """Return the URL without user, password and query."""
    scheme, separator, rest = url.partition('://')
    place, _, query = rest.partition('?')
    place = place.rpartition('@')[2]
    # The end of a password is unknown if it has an unescaped question mark,
    # or if no host follows it.
    if '@' in query or place.startswith(':'):
        place = MASK
    return scheme + separator + place


def hide_secrets(text: str, url: str) -> str:
    """Return the text with the URL's password masked wherever it stands."""
    rest = url.partition('://')[2]
    # If no host follows, a password is taken for a port.
    userinfo = rest.rpartition('@')[0] or (
        rest if rest.startswith(':') else '')
    secrets = {userinfo, userinfo.partition(':')[2]}
    secrets |= {value for name, value in parse_qsl(rest.partition('?')[2])
                if SECRET_OPTION.search(name)}
    secrets |= {unquote(secret) for secret in secrets}
    # The longest first, so that no part of it is left over.
    for secret in sorted(secrets - {''}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
