"""Redis URLs: to connect to."""
from __future__ import annotations

from ..options import NAMES


#: The option that has clients recovered, as it stands in a URL.
RECOVERY = 'connection_state_recovery'


def message_queue(url: str, recovery: bool = False) -> str:
    """Return the URL as Flask-SocketIO's ``message_queue`` takes it.

    :param recovery: whether it turns connection state recovery on, unless it
                     already says something of that.

    ``redis://host`` becomes ``redis+streams://host``, and the same with
    every other scheme.
    """
    scheme, separator, rest = url.partition('://')
    if not scheme.endswith('+streams'):
        scheme += '+streams'
    if recovery and f'{RECOVERY}=' not in rest:
        rest += f'{"&" if "?" in rest else "?"}{RECOVERY}=true'
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
