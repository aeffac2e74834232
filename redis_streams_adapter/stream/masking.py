"""Keeps the password of a URL out of what is shown and logged."""
import re
from urllib.parse import parse_qsl, unquote

#: Replaces a password.
MASK = '***'

#: Query options whose value is secret.
SECRET_OPTION = re.compile('pass|secret|token')

#: From the beginning of a URL to its last at sign, in a text. More is taken
#: than a login where a text names several URLs: a password may hold anything.
_LOGIN = re.compile('(://).*@', re.DOTALL)


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


def hide_logins(text: str) -> str:
    """Return the text with the login of any URL in it masked."""
    return _LOGIN.sub(rf'\1{MASK}@', text)
